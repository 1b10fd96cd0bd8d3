"""Splitting one set of labelled images into training and test."""

import logging
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int

from lift_jax.data.dataset import label_counts
from lift_jax.data.image_groups import draw_whole
from lift_jax.errors import UserError

_LOGGER = logging.getLogger(__name__)

_CAP = 0x636170  # keeps the choice apart from the others that are made by the same seed


def hold_out(
    labels: Int[np.ndarray, " images"] | Bool[np.ndarray, "images classes"],
    fraction: float,
    seed: int,
    image_groups: Int[np.ndarray, " images"] | None = None,
) -> tuple[Int[np.ndarray, " train"], Int[np.ndarray, " test"]]:
    """Divides images into a training and a test split in which each class has the same share.

    Of n images of a class, round(fraction * n) are held out, but at least one stays in training; so a class of one
    image is not tested.

    Args:
        labels: one integer an image; or of which classes it is, and then it takes part in the number of each.
        fraction: share that is held out, between 0 and 1 (both exclusive).
        seed: chooses the images.
        image_groups: the group of each image; groups are then held out as a whole, about as many images. None if each
            image is on its own.

    Returns:
        (training, test) indices, ascending.

    Raises:
        UserError: the fraction is not between 0 and 1, or so small that nothing is held out.
    """
    if not 0 < fraction < 1:
        raise UserError(
            f"There is no test split and config.data.val_fraction is {fraction}; name a test split, or the "
            f"share of the images to hold out, for example 0.2."
        )
    strata = with_unlabelled(labels)
    counts = [max(0, min(round(fraction * n), n - 1)) for n in label_counts(strata, 0).tolist()]
    held_out = draw(strata, counts, np.random.default_rng(seed), image_groups)
    if not held_out.size:
        raise UserError(f"config.data.val_fraction={fraction} holds out no image at all; give a larger share.")
    return np.setdiff1d(np.arange(len(labels)), held_out), held_out


def warn_of_unused(fraction: float, test: str) -> None:
    """Warns that `config.data.val_fraction` holds nothing out where there is a test split.

    Args:
        fraction: the key's value.
        test: what messages call the test split.
    """
    if fraction:
        _LOGGER.warning("config.data.val_fraction=%g is not used: the test split is %s.", fraction, test)


def with_unlabelled(
    labels: Int[np.ndarray, " images"] | Bool[np.ndarray, "images classes"],
) -> Int[np.ndarray, " images"] | Bool[np.ndarray, "images strata"]:
    """Adds to the labels of images that may have several of them a last class, of the images that have none."""
    return labels if labels.ndim == 1 else np.concatenate([labels, ~labels.any(axis=1, keepdims=True)], axis=1)


def capped(labels: Int[np.ndarray, " images"], cap: int, seed: int) -> Int[np.ndarray, " kept"]:
    """Draws at most `cap` images of each class; the indices are ascending.

    With the same seed, what a smaller cap draws is a part of what a larger one does.
    """
    generator = np.random.default_rng((seed, _CAP))
    return draw(labels, np.minimum(np.bincount(labels), cap).tolist(), generator)


def draw(
    labels: Int[np.ndarray, " images"] | Bool[np.ndarray, "images classes"],
    counts: Sequence[int],
    generator: np.random.Generator,
    image_groups: Int[np.ndarray, " images"] | None = None,
) -> Int[np.ndarray, " drawn"]:
    """Draws so many images of each class; the indices are ascending.

    Args:
        labels: the class of each image, or of which classes it is; in the latter case the numbers are met as nearly as
            images of several classes allow.
        counts: how many images of each class are drawn [classes].
        generator: draws them.
        image_groups: the group of each image; the numbers are then met as nearly as whole groups do.
    """
    if image_groups is not None or labels.ndim == 2:
        return draw_whole(labels, image_groups, counts, generator)
    drawn = [generator.permutation(np.flatnonzero(labels == label))[:count] for label, count in enumerate(counts)]
    return np.sort(np.concatenate(drawn))
