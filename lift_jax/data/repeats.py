"""Images that a split has more than once, under one label or under several, or that both splits have."""

import logging
import os
from collections.abc import Collection, Sequence

import numpy as np

from lift_jax.data.dataset import Dataset, source_path
from lift_jax.data.reading import printable
from lift_jax.data.shown import some

_LOGGER = logging.getLogger(__name__)


def warn_of_repeats(train: Dataset, test: Dataset) -> None:
    """Warns of images that are in both splits, or in one of them several times, by the paths of their files.

    Those with the same labels are not refused, for images of rare classes are repeated on purpose; nor are those with
    different ones, of which a large data set may well have a few.
    """
    trained, tested = _paths(train), _paths(test)
    if both := set(trained) & set(tested):
        _LOGGER.warning(
            "%s in both %s and %s, for example %s; the test accuracy is too high by them.",
            _images_are(both), train.name, test.name, printable(min(both)),
        )  # fmt: skip
    for split, paths in (train, trained), (test, tested):
        _warn_within(split, paths)


def _warn_within(split: Dataset, paths: Sequence[str]) -> None:
    """Warns of images that a split has several times."""
    first: dict[str, int] = {}
    alike: set[str] = set()
    unlike: dict[str, tuple[int, int]] = {}
    for index, path in enumerate(paths):
        before = first.setdefault(path, index)
        if before == index:
            continue
        if np.array_equal(split.labels[before], split.labels[index]):
            alike.add(path)
        else:
            unlike[path] = before, index
    if unlike:
        path, pair = min(unlike.items())
        labels = " and ".join(_label(split, index) for index in pair)
        remedy = "write all labels of an image into one row" if split.labels.ndim == 2 else "leave each the right one"
        _LOGGER.warning(
            "%s in %s with different labels, for example %s (%s); %s.",
            _images_are(unlike), split.name, printable(path), labels, remedy,
        )  # fmt: skip
    if alike:
        _LOGGER.warning(
            "%s in %s more than once, for example %s; each counts as often.",
            _images_are(alike), split.name, printable(min(alike)),
        )  # fmt: skip


def _paths(split: Dataset) -> list[str]:
    """Gives the paths of a split's images, "./a.jpg" like "a.jpg"; none where its images are no files."""
    paths = []
    for index in range(len(split)):
        if (path := source_path(split.source, index)) is None:
            return []
        paths.append(os.path.normpath(path))
    return paths


def _images_are(paths: Collection[str]) -> str:
    return "1 image is" if len(paths) == 1 else f"{len(paths)} images are"


def _label(split: Dataset, index: int) -> str:
    """Names the class of an image, or its classes."""
    if split.labels.ndim == 1:
        return some([split.class_names[split.labels[index]]])
    return some([split.class_names[label] for label in np.flatnonzero(split.labels[index])]) or "none"
