"""Whether an exported file says what the run says."""

from collections.abc import Sequence

import jax
import numpy as np

from lift_jax import data
from lift_jax.data import Dataset
from lift_jax.data.dataset import FileSource
from lift_jax.data.images import pixels
from lift_jax.errors import UserError
from lift_jax.export.stablehlo import Run
from lift_jax.inference.model import Model
from lift_jax.workdir.logs import Logs


def images(model: Model, paths: Sequence[str], most: int = 32) -> Dataset:
    """Takes the first images of `paths`, or without any those of the run's test split, spread over it.

    Raises:
        UserError: if the data set is not there.
    """
    if paths:
        return model.dataset(FileSource("", list(paths[:most])), "the images")
    try:
        _, test = data.load(model.config.data, model.config.seed)
    except UserError as error:
        raise UserError(f"The run's test images are not there ({error}); name others after the flags.") from error
    return test.subset(np.unique(np.linspace(0, len(test) - 1, most).astype(int)))


def difference(model: Model, exported: Run, dataset: Dataset, photographs: bool = False) -> float:
    """Finds the largest difference of a probability, over all images and classes, between the file and the run.

    Args:
        model: the run's classifier.
        exported: the file's function.
        dataset: the images.
        photographs: whether the function takes them as they are, instead of the squares of the evaluation.
    """
    loader = model.loader(dataset, tte=False)
    theirs = {}
    for batch in loader:
        indices = batch["index"][batch["mask"]].tolist()
        if photographs:  # they may differ in size
            whole = (pixels(dataset.source[i], dataset.path(i), model.config.data.exif_rotate) for i in indices)
            logits = np.concatenate([exported(image[None]) for image in whole])
        else:
            logits = exported(batch["image"][batch["mask"]])
        theirs.update(zip(indices, np.asarray(jax.nn.softmax(logits)), strict=True))
    own = {}
    prior = model.logit_prior.known if model.calibration is None else None
    for indices, rows in model.stream(loader, Logs(None, enabled=False), prior=prior):
        own.update(zip(indices.tolist(), rows, strict=True))
    if not own:
        raise UserError("None of the images could be read, so that nothing was checked.")
    return float(np.max([np.abs(theirs[index] - own[index]).max() for index in own]))
