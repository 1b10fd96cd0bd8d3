"""The training images of a run that are most like an image, by the cosine of their features.

model = lift_jax.load("runs/birds")
images = nearest.load(model)
for found in images.nearest("wren.jpg", k=5)[0]:
    print(found.path, model.class_names[found.label], found.similarity)
"""

import dataclasses
import functools
import hashlib
import logging
import os
from collections.abc import Callable, Sequence

import numpy as np
from etils import epath
from jaxtyping import Float

from lift_jax.data import Dataset, RunData, corrections, load_run_data, thumbnails
from lift_jax.data.given_images import GivenImages, ImageLike
from lift_jax.data.hub_datasets import located
from lift_jax.data.workers import pixels
from lift_jax.errors import UserError
from lift_jax.evaluation.features import Features, frozen_features, place_of
from lift_jax.evaluation.similar_rows import SimilarRows
from lift_jax.files import place
from lift_jax.inference import hub
from lift_jax.inference.model import Model
from lift_jax.inference.predictions import Neighbour
from lift_jax.models.unit_rows import unit_rows
from lift_jax.training.head_start import STORE
from lift_jax.workdir.logs import Logs

_LOGGER = logging.getLogger(__name__)

Search = Callable[[Float[np.ndarray, "n d"]], list[list[Neighbour]]]
"""Finds the training images nearest to each image by its features, the most similar first."""


@dataclasses.dataclass(frozen=True)
class TrainingImages:
    """The training images of a run, among which the nearest to other images are found; `load` makes it.

    Attributes:
        model: the run's classifier.
        dataset: its training images, without those that were held out.
        features: those that the run gives to the images that can be read, divided by their lengths.
        root: the folder that their names start from.
    """

    model: Model
    dataset: Dataset
    features: Features
    root: str = ""

    def nearest(self, images: ImageLike | Sequence[ImageLike] | np.ndarray, k: int = 5) -> list[list[Neighbour]]:
        """Finds the training images nearest to each image.

        Args:
            images: as for `lift_jax.Model.predict`; each is seen in one view.
            k: how many are found of each, at least 1; there are no more than training images.

        Returns:
            A list for each image, the most similar first.

        Raises:
            UserError: if an image cannot be read, or is none, or if `k` is less than 1.
        """
        search = self.search(k)
        dataset = self.model.dataset(GivenImages(images), "images")
        loader = self.model.loader(dataset, tte=False)
        seen = self.model.extractor(self.model.params, loader, Logs(None, enabled=False), "features")
        for problem in loader.problems.values():
            raise UserError(problem)
        return search(seen.rows)

    def search(self, k: int = 5) -> Search:
        """Gives what finds the training images nearest to others by their features, as the run's network gives them.

        Args:
            k: see `nearest`.

        Raises:
            UserError: if `k` is less than 1.
        """
        if k < 1:
            raise UserError(f"k is {k}, the number of training images; write a whole number from 1 on.")
        return functools.partial(self._search, k=k)

    @functools.cached_property
    def digest(self) -> str:
        """A hash of the names and classes of the training images."""
        made = hashlib.sha256()
        for row, label in enumerate(self.features.labels.tolist()):
            made.update(os.fsencode(f"{self._path(row)}\0{label}\0"))
        return made.hexdigest()

    def picture(self, index: int) -> str | None:
        """Gives a small picture of a training image as a link with its JPEG in it; None if it cannot be read now."""
        try:
            image = pixels(self.dataset, index, self.model.config.data.exif_rotate)
        except UserError:
            return None
        return thumbnails.data_uri(thumbnails.thumbnail(image))

    @functools.cached_property
    def _rows(self) -> SimilarRows:
        return SimilarRows(self.features.rows)

    def _search(self, features: Float[np.ndarray, "n d"], k: int) -> list[list[Neighbour]]:
        cosines, rows = self._rows(features, k)
        return [
            [self._neighbour(*each) for each in zip(*pair, strict=True)]
            for pair in zip(rows.tolist(), cosines.tolist(), strict=True)
        ]

    def _neighbour(self, row: int, similarity: float) -> Neighbour:
        return Neighbour(int(self.features.index[row]), self._path(row), int(self.features.labels[row]), similarity)

    def _path(self, row: int) -> str:
        index = int(self.features.index[row])
        return corrections.name(self.dataset, index, self.root) or self.dataset.path(index)


def load(model: Model, own: epath.PathLike | None = None) -> TrainingImages:
    """Loads the training images of a run, which must be where its config says, with their features.

    The features that the run's store has (that of `config.features_dir` or of $LIFT_JAX_CACHE) are not computed again;
    others are, with a progress bar on standard error, and are kept there.

    Args:
        model: the run's classifier.
        own: the folder of a store for a run that names none; None keeps its features in memory alone.

    Raises:
        UserError: if the images are not there, cannot be read or are of other classes; if the features cannot be kept;
            or if the run has images of several classes.
    """
    model.require_one_label("The search for the nearest training images")
    config = model.config
    with Logs(None, to_stderr=True) as logs:
        data = load_run_data(config)
        _check(model, data)
        make_loader, desc = functools.partial(model.loader, tte=False), "features, training images"
        features = frozen_features(model.tuned, data.train, make_loader, logs, desc, place_of(config, own))
    if not len(features.index):
        raise UserError(
            f"Not one of the {len(data.train):,} training images can be read; put back those of the training."
        )
    features = features._replace(rows=unit_rows(features.rows))
    return TrainingImages(model, data.train, features, located(config.data.root, "config.data.root"))


def _check(model: Model, data: RunData) -> None:
    """Refuses images of other classes than the run's, and warns of another number of images.

    Raises:
        UserError: if the classes are others.
    """
    if data.train.class_names != model.class_names:
        raise UserError(
            "The data set of config.data has other classes than the run; restore the one that it was trained on."
        )
    if model.record is not None and data.train_counts.tolist() != model.record.train_counts:
        then, now = sum(model.record.train_counts), int(data.train_counts.sum())
        _LOGGER.warning(
            "The training images have changed since the training: there were %s, and there are %s now.",
            f"{then:,}", f"{now:,}",
        )  # fmt: skip


def store_of(workdir: str | os.PathLike[str]) -> epath.Path | None:
    """Gives the folder for features in a run's own folder; None for a run that is a file or on the hub."""
    if str(workdir).startswith(hub.PREFIX):
        return None
    folder = place(workdir, "The run")
    return folder / STORE if folder.is_dir() else None
