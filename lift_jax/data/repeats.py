"""Images that a split has more than once, under one label or under several."""

import logging

import numpy as np

from lift_jax.data.dataset import Dataset, source_key
from lift_jax.data.reading import printable
from lift_jax.data.shown import some

_LOGGER = logging.getLogger(__name__)


def warn_of_repeats(split: Dataset) -> None:
    """Warns of images that a split has several times, by the path of their file.

    Those with the same labels are not refused, for images of rare classes are repeated on purpose; nor are those with
    different ones, of which a large data set may well have a few.
    """
    first: dict[str, int] = {}
    alike: dict[str, int] = {}
    unlike: dict[str, tuple[int, int]] = {}
    for index in range(len(split)):
        path = source_key(split.source, index)
        if path is None:
            return
        before = first.setdefault(path, index)
        if before == index:
            continue
        if np.array_equal(split.labels[before], split.labels[index]):
            alike[path] = index
        else:
            unlike[path] = before, index
    if unlike:
        path, both = min(unlike.items())
        remedy = "write all labels of an image into one row" if split.labels.ndim == 2 else "leave each the right one"
        _LOGGER.warning(
            "%d images are in %s with different labels, for example %s (%s); %s.",
            len(unlike), split.name, printable(path), " and ".join(_label(split, each) for each in both), remedy,
        )  # fmt: skip
    if alike:
        _LOGGER.warning(
            "%d images are in %s more than once, for example %s; each counts as often.",
            len(alike), split.name, printable(min(alike)),
        )  # fmt: skip


def _label(split: Dataset, index: int) -> str:
    """Names the class of an image, or its classes."""
    if split.labels.ndim == 1:
        return some([split.class_names[split.labels[index]]])
    return some([split.class_names[label] for label in np.flatnonzero(split.labels[index])]) or "none"
