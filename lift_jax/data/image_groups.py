"""Images that belong together, such as those of one patient or camera: no split and no fold divides them."""

import logging
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from lift_jax.data.dataset import label_counts
from lift_jax.data.shown import shown

_LOGGER = logging.getLogger(__name__)


class ImageGroup(NamedTuple):
    """Images that belong together.

    Attributes:
        images: their indices, ascending.
        classes: their different classes, ascending.
        counts: how many of them each of these classes has.
    """

    images: Int[np.ndarray, " images"]
    classes: Int[np.ndarray, " classes"]
    counts: Int[np.ndarray, " classes"]


def draw_whole(
    labels: Int[np.ndarray, " images"] | Bool[np.ndarray, "images classes"],
    image_groups: Int[np.ndarray, " images"] | None,
    wanted: Sequence[int],
    generator: np.random.Generator,
) -> Int[np.ndarray, " drawn"]:
    """Draws groups, about so many images of each class; every class keeps an image. The indices are ascending.

    The groups come in random order, and each is drawn if it brings the numbers of its classes nearer to what is wanted.

    Args:
        labels: the class of each image, or of which classes it is.
        image_groups: the group of each image; None if each is on its own.
        wanted: how many images of each class are to be drawn [classes].
        generator: gives the order.
    """
    groups = _groups(labels, np.arange(len(labels)) if image_groups is None else image_groups)
    missing, left = np.array(wanted), label_counts(labels, len(wanted))
    drawn = [np.zeros(0, np.int64)]
    for index in generator.permutation(len(groups)):
        images, classes, counts = groups[index]
        after = missing[classes] - counts
        is_nearer = np.abs(after).sum() < np.abs(missing[classes]).sum()
        if is_nearer and (left[classes] > counts).all():
            missing[classes], left[classes] = after, left[classes] - counts
            drawn.append(images)
    return np.sort(np.concatenate(drawn))


def folds(
    labels: Int[np.ndarray, " images"], count: int, seed: int, image_groups: Int[np.ndarray, " images"] | None = None
) -> Int[np.ndarray, " images"]:
    """Divides images into folds of nearly the same size, in each of which a class has nearly the same share.

    Whole groups, the largest first, each go to the fold that has least of their classes so far.

    Args:
        labels: the class of each image.
        count: the number of folds.
        seed: chooses among equal divisions.
        image_groups: the group of each image; None if each is on its own.

    Returns:
        The fold of each image, from 0 to count - 1.
    """
    generator, fold = np.random.default_rng(seed), np.empty(len(labels), np.int64)
    if image_groups is None:
        order = np.lexsort((generator.random(len(labels)), labels))
        fold[order] = np.arange(len(labels)) % count
        return fold
    groups, totals = _groups(labels, image_groups), np.bincount(labels)
    shares, sizes = np.zeros((count, len(totals))), np.zeros(count, np.int64)
    largest_first = np.array([-len(group.images) for group in groups])
    for index in np.lexsort((generator.random(len(groups)), largest_first)):
        images, classes, counts = groups[index]
        own = counts / totals[classes]
        chosen = np.lexsort((sizes, np.round(shares[:, classes] @ own, 9)))[0]
        fold[images] = chosen
        shares[chosen, classes] += own
        sizes[chosen] += len(images)
    return fold


def _groups(
    labels: Int[np.ndarray, " images"] | Bool[np.ndarray, "images classes"], image_groups: Int[np.ndarray, " images"]
) -> list[ImageGroup]:
    order = np.argsort(image_groups, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(image_groups[order])) + 1)
    return [ImageGroup(images, *_present(labels[images])) for images in parts if len(images)]


def _present(
    labels: Int[np.ndarray, " images"] | Bool[np.ndarray, "images classes"],
) -> tuple[Int[np.ndarray, " present"], Int[np.ndarray, " present"]]:
    """Gives the classes that some images have, ascending, and how many of them each has."""
    if labels.ndim == 1:
        return np.unique(labels, return_counts=True)
    counts = labels.sum(axis=0)
    present = np.flatnonzero(counts)
    return present, counts[present]


def warn_of_divided(train: Iterable[str], test: Iterable[str], column: str) -> None:
    """Warns of groups that given splits divide.

    Args:
        train, test: the groups of the images of both splits.
        column: the column that says them.
    """
    if both := set(train) & set(test):
        _LOGGER.warning(
            "%d of config.data.group_column=%s are in the training and the test split, for example %s; the test "
            "accuracy is too high by them.", len(both), column, shown(min(both)),
        )  # fmt: skip
