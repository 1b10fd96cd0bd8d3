"""Calibrates a run by labelled images that it was not trained on."""

import logging
from typing import NamedTuple

import ml_collections
import numpy as np
from etils import epath
from jaxtyping import Float, Int

from lift_jax import data
from lift_jax.data import Dataset, RunData
from lift_jax.data.hub_datasets import located
from lift_jax.data.reading import is_remote
from lift_jax.errors import UserError
from lift_jax.evaluation.estimates import class_weights
from lift_jax.files import check_file, place, writing
from lift_jax.inference import (
    calibration,
    cross_fitting,
    gaussian_file,
    held_out_logits,
    labelled_images,
    unknown_scores,
)  # fmt: skip
from lift_jax.inference.calibration import Calibration, Estimated, HeldOut, Measures, Tried
from lift_jax.inference.cross_fitting import FOLDS, LEAST, Chosen, Rows
from lift_jax.inference.frozen_classifiers import GaussianArrays
from lift_jax.inference.load import load
from lift_jax.inference.model import Model
from lift_jax.weights.backbone import content_hash
from lift_jax.workdir import config_file, one_label, record
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
    gaussians: bool = True,
    checkpoint: str | None = None,
    backbone: str | None = None,
) -> Calibrated:
    """Chooses how the logits of a run are adjusted, and writes it into the run's folder as calibration.json.

    Args:
        workdir: the run's folder.
        images: a folder, list or table of labelled images (see `lift_jax.inference.labelled_images`); None takes those
            that the run has held out of its training images by `config.validation`.
        gaussians: whether Gaussians of the training images are tried, which takes the features of all of these.
        checkpoint, backbone: see `lift_jax.inference.load.load`.

    Raises:
        UserError: if the folder is no run, there are no images or fewer than `LEAST`, or the file cannot be written;
            the last is known before anything is computed.
    """
    folder = place(workdir, "--workdir")
    if folder.suffix == ".safetensors":
        raise UserError(f"--workdir is {folder}, an exported file; name the folder of the run, and export it again.")
    known, config = record.read(folder), config_file.read(folder)
    one_label.require(config, "A calibration", "its thresholds are in its folder already")
    held_out, train = _data(config, tuple(known.class_names), images, gaussians, folder)
    _check_number(len(held_out), held_out)
    check_file(folder / calibration.FILE, _REMEDY)
    model = load(folder, checkpoint=checkpoint, backbone=backbone, raw=True)
    with Logs(None, to_stderr=True) as logs:
        fitted = None if train is None else held_out_logits.fit_gaussians(model, train, logs)
        rows = _rows(model, held_out, fitted, np.asarray(known.class_groups), logs)
    _check_groups(rows, held_out, model.config.data.group_column)
    chosen = cross_fitting.choose(rows, model.config.seed)
    mixed_in = fitted if chosen.adjustment.gaussians else None
    made = Calibration(
        owner=calibration.owner(model.config, model.network, model.backbone),
        held_out=_described(held_out.name, chosen, rows),
        class_groups=known.class_groups,
        adjustment=chosen.adjustment,
        shared=chosen.shared,
        steps=_steps(chosen),
        before=_measures(chosen.before, rows),
        after=_measures(chosen.after, rows),
        gaussians=None if mixed_in is None else content_hash(mixed_in),
        separation=unknown_scores.separation(rows, chosen.parts, model.config.seed),
    )
    with writing(folder / calibration.FILE, _REMEDY):
        if mixed_in is not None:
            gaussian_file.write(folder, mixed_in)
        file = calibration.write(folder, made)
        gaussian_file.remove_others(folder, made)
    return Calibrated(made, file)


def _data(
    config: ml_collections.FrozenConfigDict, class_names: tuple[str, ...], images: str | None, train: bool,
    folder: epath.Path,
) -> tuple[Dataset, Dataset | None]:  # fmt: skip
    """Finds the images that the calibration is chosen by, and the training images, if `train` asks for them.

    Where the held-out images are named, the data set of the run need not be there; it is told if that is so. Else those
    of them that the run was trained on are left out.
    """
    if images is None:
        if not config.validation:
            raise UserError(
                f"The run {folder} held out no images to calibrate by (config.validation is empty); name labelled "
                "images that it was not trained on with --images: a folder with a folder for each class, or a list or "
                "table of paths and labels."
            )
        own = _run_data(config, class_names, folder)
        assert own.validation is not None
        return own.validation, own.train if train else None
    root = located(config.data.root, "config.data.root")
    held_out = labelled_images.read(images, class_names, root, config.data.label_column)
    if not train and is_remote(root):  # to look whether an image was trained on is not worth fetching all of them
        return held_out, None
    try:
        trained = _run_data(config, class_names, folder).train
    except UserError as error:
        untried = ", and Gaussians of the training images are not tried" if train else ""
        _LOGGER.warning("It is not known whether the images were trained on%s: %s", untried, error)
        return held_out, None
    return labelled_images.without_training_images(held_out, trained), trained if train else None


def _run_data(config: ml_collections.FrozenConfigDict, class_names: tuple[str, ...], folder: epath.Path) -> RunData:
    """Loads the data set of the run."""
    own = data.load_run_data(config)
    if own.train.class_names != class_names:
        raise UserError(
            f"The data set of config.data has other classes than the run {folder}; restore the one that it was "
            "trained on, or name labelled images with --images."
        )
    return own


def _check_number(count: int, held_out: Dataset) -> None:
    """Refuses too few images.

    Args:
        count: how many images there are, or how many of them can be read.
        held_out: the images.
    """
    if count < LEAST:
        raise UserError(
            f"{held_out.name} has {count} images to calibrate by, and it takes at least {LEAST}; name more with "
            "--images, or hold more out with config.validation in another run."
        )


def _check_groups(rows: Rows, held_out: Dataset, column: str) -> None:
    """Refuses images of too few groups, which no folds could keep whole."""
    if rows.image_groups is not None and (count := len(np.unique(rows.image_groups))) < FOLDS:
        raise UserError(
            f"{held_out.name} has images of {count} {column} alone (config.data.group_column), which cannot be divided "
            f"into {FOLDS} folds; hold more out with config.validation in another run, or name others with --images."
        )


def _rows(
    model: Model, dataset: Dataset, gaussians: GaussianArrays | None, groups: Int[np.ndarray, " classes"], logs: Logs
) -> Rows:
    """Computes the logits of the images, of those that can be read."""
    found = held_out_logits.compute(model, dataset, gaussians, logs)
    _check_number(len(found.index), dataset)
    if not all(each is None or np.isfinite(each).all() for each in found[1:]):
        raise UserError(
            f"The run gives logits that are not finite for images of {dataset.name}; train it again with a smaller "
            "config.lr, or with config.dtype=float32."
        )
    to_uniform = model.log_prior_shift("uniform")
    return Rows(
        logits=found.run if to_uniform is None else found.run + to_uniform,
        zero_shot=found.zero_shot,
        labels=dataset.labels[found.index].astype(np.int64),
        log_prior=model.log_prior,
        groups=groups,
        image_groups=None if dataset.image_groups is None else dataset.image_groups[found.index],
        gaussians=found.gaussians,
    )


def _described(source: str, chosen: Chosen, rows: Rows) -> HeldOut:
    """Writes down the held-out images, with the probabilities and energies that thresholds are made of."""
    log_probabilities = chosen.after
    groups = rows.groups[log_probabilities.argmax(axis=1)]
    true = np.take_along_axis(log_probabilities, rows.labels[:, None], axis=1)[:, 0]
    energies = np.empty(len(rows.labels))
    for own, adjustment in chosen.parts:
        energies[own] = unknown_scores.energies(rows.subset(own).adjusted(adjustment))
    return HeldOut(
        source=source,
        counts=np.bincount(rows.labels, minlength=len(rows.groups)).tolist(),
        confidences=_sorted(np.minimum(np.exp(log_probabilities.max(axis=1)), 1), groups),
        true_probabilities=_sorted(np.minimum(np.exp(true), 1), rows.groups[rows.labels]),
        energies=_sorted(energies, groups),
    )


def _sorted(scores: Float[np.ndarray, " n"], groups: Int[np.ndarray, " n"]) -> list[list[float]]:
    """Sorts the scores of each group."""
    return [np.sort(scores[groups == group]).tolist() for group in range(3)]


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
        100 * cross_fitting.calibration_error(confidence[own], right[own], class_weights(labels[own]))
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
