"""Finds in a run's data what a person should look at: labels that look wrong, copies, and images it is unsure of."""

import dataclasses
import functools
import logging
from collections.abc import Sequence

import numpy as np
from etils import epath
from jaxtyping import Float, UInt8

from lift_jax import data
from lift_jax.data import Dataset, corrections, named_images
from lift_jax.data.dataset import FileSource
from lift_jax.data.hub_datasets import located
from lift_jax.data.workers import pixels
from lift_jax.errors import UserError
from lift_jax.evaluation import confident_learning, near_duplicates
from lift_jax.evaluation.findings import Finding, Review
from lift_jax.files import expand, place
from lift_jax.inference import cross_fitting, out_of_fold
from lift_jax.inference.cross_fitting import LEAST, Rows
from lift_jax.inference.load import load
from lift_jax.inference.model import Model
from lift_jax.training import losses
from lift_jax.workdir import config_file, one_label, record
from lift_jax.workdir.logs import Logs

_LOGGER = logging.getLogger(__name__)

METHOD = (
    "The probabilities are not the run's, whose training has seen these labels. They are of Gaussian discriminant "
    "analysis on the features of the backbone as it was before the training{mixed}: each image is judged by the images "
    "of the other four fifths of the training set."
)
_ROWS = 1024
"""Images whose zero-shot logits are computed at once."""


def review(
    workdir: epath.PathLike,
    images: Sequence[str] = (),
    *,
    top: int = 100,
    checkpoint: str | None = None,
    backbone: str | None = None,
) -> Review:
    """Finds what a person should look at.

    Args:
        workdir: the run's folder; its data must be where its config says.
        images: new images, or folders of them, of which the least certain are found.
        top: how many of the new images are found.
        checkpoint, backbone: see `lift_jax.inference.load.load`.

    Raises:
        UserError: if the folder is no run, its data set is not there or another one, or has too few images.
    """
    folder = place(workdir, "--workdir")
    config = config_file.read(folder)
    one_label.require(config, "The review")
    train, test = data.load(config.data, config.seed)
    if len(train) < LEAST:
        raise UserError(f"{train.name} has {len(train)} images, and to review labels takes at least {LEAST}.")
    new = named_images.find_images([expand(each, "--images") for each in images]) if images else []
    model = load(folder, checkpoint=checkpoint, backbone=backbone)
    if model.class_names != train.class_names:
        raise UserError(
            f"The data set of config.data has other classes than the run {folder}; restore the one that it was trained "
            "on, or name the run that belongs to it."
        )
    root, turned = located(config.data.root, "config.data.root"), config.data.exif_rotate
    with Logs(None, to_stderr=True) as logs:
        features = [_features(model, each, logs) for each in (train, test)]
        suspected, method = _suspected(model, _Images(train, root, turned), features[0], record.read(folder))
        copies = _copies(_Images(train, root, turned), _Images(test, root, turned), np.concatenate(features))
        uncertain = _uncertain(model, _Images(model.dataset(FileSource("", new), "new images"), "", turned), top, logs)
    title = f"{config.data.name}: images to look at"
    return Review(title, method, model.class_names, suspected, copies, uncertain)


def _features(model: Model, dataset: Dataset, logs: Logs) -> Float[np.ndarray, "n d"]:
    """Gives the features of the backbone as it was; rows of images that cannot be read are NaN."""
    found = model.dataset_features(dataset, logs, dataset.name, tuned=False)
    rows = np.full((len(dataset), found.rows.shape[1]), np.nan, np.float32)
    rows[found.index] = found.rows
    return rows


@dataclasses.dataclass(frozen=True)
class _Images:
    """Images with what a person calls them.

    Attributes:
        dataset: the images.
        root: the folder that their names start from.
        exif_rotate: whether they are turned by their EXIF tag.
    """

    dataset: Dataset
    root: str
    exif_rotate: bool

    def name(self, index: int) -> str:
        return corrections.name(self.dataset, index, self.root) or self.dataset.path(index)

    def given(self, index: int) -> str:
        return self.dataset.class_names[self.dataset.labels[index]]

    def pixels(self, index: int) -> UInt8[np.ndarray, "height width 3"]:
        return pixels(self.dataset, index, self.exif_rotate)


def _suspected(
    model: Model, images: _Images, features: Float[np.ndarray, "n d"], known: record.Record
) -> tuple[list[Finding], str]:
    """Finds labels that look wrong, and says what they are judged by.

    An image that is the only one of its class is not judged: nothing else shows what the class looks like.
    """
    dataset = images.dataset
    readable = np.flatnonzero(np.isfinite(features).all(axis=1))
    labels = dataset.labels[readable].astype(np.int64)
    if len(readable) < LEAST:
        raise UserError(
            f"{dataset.name} has {len(readable)} images that can be read, and to review labels takes at least {LEAST}."
        )
    together = None if dataset.image_groups is None else dataset.image_groups[readable]
    own = out_of_fold.logits(features[readable], labels, dataset.num_classes, model.config.seed, together)
    zero_shot = _zero_shot(model, features[readable])
    groups = np.asarray(known.class_groups)
    rows = Rows(
        own, zero_shot, labels, losses.log_prior(np.bincount(labels, minlength=dataset.num_classes)), groups, together
    )
    chosen = cross_fitting.choose(rows, model.config.seed)
    found = confident_learning.suspects(labels, np.exp(chosen.after))
    alone = np.bincount(labels, minlength=dataset.num_classes) == 1
    findings = [
        Finding(
            image=images.name(index),
            given=images.given(index),
            suggested=dataset.class_names[suggested],
            score=float(np.exp(chosen.after[row, labels[row]])),
            pictures=(functools.partial(images.pixels, index),),
        )
        for row, index, suggested in zip(
            found.index.tolist(), readable[found.index].tolist(), found.suggested.tolist(), strict=True
        )
        if not alone[labels[row]]
    ]
    mixed = ", mixed with zero-shot" if chosen.adjustment.mix else ""
    left_out = f" {alone.sum():,} images that are alone in their class are not judged." if alone.any() else ""
    return findings, METHOD.format(mixed=mixed) + left_out


def _zero_shot(model: Model, features: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n classes"] | None:
    """Gives the logits of the zero-shot classifier, which is linear in the features; None where there is none."""
    classifier = model.classified if model.network.method.zero_shot else model.zero_shot
    if classifier is None:
        return None
    apply = functools.partial(classifier.classifier.apply, {"params": classifier.params}, method="logits")
    parts = [np.asarray(apply(features[i : i + _ROWS])) for i in range(0, len(features), _ROWS)]
    return np.concatenate(parts).astype(np.float32)


def _copies(train: _Images, test: _Images, features: Float[np.ndarray, "n d"]) -> list[Finding]:
    """Finds training images that are nearly the same as another training or test image."""
    count = len(train.dataset)

    def split(index: int) -> tuple[_Images, int]:
        return (train, index) if index < count else (test, index - count)

    def read(index: int) -> UInt8[np.ndarray, "height width 3"]:
        images, own = split(index)
        return images.pixels(own)

    findings = []
    for pair in near_duplicates.pairs(features, read):
        if pair.first >= count:
            continue  # both are test images
        images, other = split(pair.second)
        findings.append(
            Finding(
                image=train.name(pair.first),
                given=train.given(pair.first),
                suggested=images.given(other),
                score=pair.correlation,
                beside=images.name(other),
                where="training" if images is train else "test",
                pictures=tuple(functools.partial(read, index) for index in (pair.first, pair.second)),
            )
        )
    return findings


def _uncertain(model: Model, images: _Images, top: int, logs: Logs) -> list[Finding]:
    """Finds the new images whose most probable class has the lowest probability."""
    if not len(images.dataset):
        return []
    loader = model.loader(images.dataset)
    rows = [(index, p.argmax(axis=1), p.max(axis=1)) for index, p in model.stream(loader, logs, desc="new images")]
    for problem in loader.problems.values():
        _LOGGER.warning("%s It is left out.", problem)
    if not rows:
        raise UserError("None of the new images can be read; name others with --images.")
    index, best, confidence = (np.concatenate(column) for column in zip(*rows, strict=True))
    return [
        Finding(
            image=images.name(int(index[row])),
            given="",
            suggested=model.class_names[best[row]],
            score=float(confidence[row]),
            pictures=(functools.partial(images.pixels, int(index[row])),),
        )
        for row in np.argsort(confidence, kind="stable")[:top].tolist()
    ]
