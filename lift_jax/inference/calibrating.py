"""Calibrates a run by labelled images that it was not trained on."""

import logging
from typing import NamedTuple

import numpy as np
from etils import epath
from jaxtyping import Float, Int

from lift_jax import data
from lift_jax.data import Dataset
from lift_jax.errors import UserError
from lift_jax.files import check_file, expand, place, writing
from lift_jax.inference import calibration, cross_fitting, labelled_images
from lift_jax.inference.calibration import Calibration, Estimated, HeldOut, Measures, Tried
from lift_jax.inference.cross_fitting import LEAST, Chosen, Rows
from lift_jax.inference.load import load
from lift_jax.inference.model import Model
from lift_jax.workdir import record
from lift_jax.workdir.logs import Logs

_LOGGER = logging.getLogger(__name__)
_REMEDY = "free the run's folder"


class Calibrated(NamedTuple):
    """A calibration, and the file that it is in."""

    calibration: Calibration
    file: epath.Path


def calibrate(
    workdir: epath.PathLike,
    images: str | None = None,
    *,
    checkpoint: str | None = None,
    backbone: str | None = None,
) -> Calibrated:
    """Chooses how the logits of a run are adjusted, and writes it into the run's folder as calibration.json.

    Args:
        workdir: the run's folder.
        images: a folder or list of labelled images (see `lift_jax.inference.labelled_images`); None takes those that
            the run has held out of its training images by `config.validation`.
        checkpoint, backbone: see `lift_jax.inference.load.load`.

    Raises:
        UserError: if the folder is no run, there are no images or fewer than `LEAST`, or the file cannot be written;
            the last is known before anything is computed.
    """
    folder = place(workdir, "--workdir")
    if folder.suffix == ".safetensors":
        raise UserError(f"--workdir is {folder}, an exported file; name the folder of the run, and export it again.")
    model = load(folder, checkpoint=checkpoint, backbone=backbone, raw=True)
    known = record.read(folder)
    held_out = _held_out(model, images, folder)
    check_file(folder / calibration.FILE, _REMEDY)
    with Logs(None, to_stderr=True) as logs:
        rows = _rows(model, held_out, np.asarray(known.class_groups), logs)
    if len(rows.labels) < LEAST:
        raise UserError(
            f"{held_out.name} has {len(rows.labels)} images that can be read, but a calibration takes at least "
            f"{LEAST}; name more with --images, or hold more out with config.validation in another run."
        )
    chosen = cross_fitting.choose(rows, model.config.seed)
    made = Calibration(
        owner=calibration.owner(model.config, model.network, model.backbone),
        held_out=HeldOut(source=held_out.name, counts=_counts(rows)),
        class_groups=known.class_groups,
        adjustment=chosen.adjustment,
        shared=chosen.shared,
        steps=_steps(chosen),
        before=_measures(chosen.before, rows),
        after=_measures(chosen.after, rows),
    )
    with writing(folder / calibration.FILE, _REMEDY):
        return Calibrated(made, calibration.write(folder, made))


def _held_out(model: Model, images: str | None, folder: epath.Path) -> Dataset:
    """Finds the images that the calibration is chosen by."""
    if images is not None:
        root = expand(model.config.data.root, "config.data.root")
        return labelled_images.read(images, model.class_names, root)
    if not model.config.validation:
        raise UserError(
            f"The run {folder} held out no images to calibrate by (config.validation is empty); name labelled images "
            "that it was not trained on with --images: a folder with a folder for each class, or a list of paths and "
            "labels."
        )
    held_out = data.load_run_data(model.config).validation
    assert held_out is not None
    if held_out.class_names != model.class_names:
        raise UserError(
            f"The data set of config.data has other classes than the run {folder}; restore the one that it was "
            "trained on, or name labelled images with --images."
        )
    return held_out


def _rows(model: Model, dataset: Dataset, groups: Int[np.ndarray, " classes"], logs: Logs) -> Rows:
    """Computes the logits of the images, of those that can be read."""
    loader = model.loader(dataset)
    batches = list(model.logits(loader, logs, "held-out images"))
    for problem in loader.problems.values():
        _LOGGER.warning("%s It is left out.", problem)
    if not batches:
        raise UserError(f"None of the images of {dataset.name} can be read; name others with --images.")
    index, logits = (np.concatenate(column) for column in zip(*batches, strict=True))
    to_uniform = model.log_prior_shift("uniform")
    own = logits[:, 0] if to_uniform is None else logits[:, 0] + to_uniform
    zero_shot = logits[:, 1] if logits.shape[1] > 1 else None
    return Rows(own, zero_shot, dataset.labels[index].astype(np.int64), model.log_prior, groups)


def _counts(rows: Rows) -> list[int]:
    return np.bincount(rows.labels, minlength=len(rows.groups)).tolist()


def _steps(chosen: Chosen) -> list[Tried]:
    return [
        Tried(
            name=step.name,  # pyright: ignore[reportArgumentType]  # pydantic checks it
            tried=step.tried,
            gains=[Estimated(mean=gain.mean, error=gain.error) for gain in step.gains],
            kept=step.kept,
        )
        for step in chosen.steps
    ]


def _measures(log_probabilities: Float[np.ndarray, "n classes"], rows: Rows) -> Measures:
    """Measures answers for all classes, and for those of each group that has enough images."""
    labels = rows.labels
    predicted, confidence = log_probabilities.argmax(axis=1), np.exp(log_probabilities.max(axis=1))
    right = (predicted == labels).astype(np.float64)
    loss = -np.take_along_axis(log_probabilities, labels[:, None], axis=1)[:, 0]
    errors = [
        100 * cross_fitting.calibration_error(confidence[own], right[own], cross_fitting.class_weights(labels[own]))
        if np.count_nonzero(own) >= LEAST
        else None
        for own in cross_fitting.by_group(labels, rows.groups)
    ]
    return Measures(
        accuracy=[each.mean for each in cross_fitting.estimates(100 * right, labels, rows.groups)],
        likelihood=[each.mean for each in cross_fitting.estimates(loss, labels, rows.groups)],
        calibration_error=errors,
        bins=cross_fitting.reliability(confidence, right, rows.weights),
    )
