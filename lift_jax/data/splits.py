"""Splitting one set of labelled images into training and test."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from lift_jax.data.image_groups import draw_whole
from lift_jax.errors import UserError

_CAP = 0x636170  # keeps the choice apart from the others that are made by the same seed


def hold_out(
    labels: Int[np.ndarray, " images"],
    fraction: float,
    seed: int,
    image_groups: Int[np.ndarray, " images"] | None = None,
) -> tuple[Int[np.ndarray, " train"], Int[np.ndarray, " test"]]:
    """Divides images into a training and a test split in which each class has the same share.

    Of n images of a class, round(fraction * n) are held out, but at least one stays in training; so a class of one
    image is not tested.

    Args:
        labels: one integer an image.
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
    counts = [max(0, min(round(fraction * count), count - 1)) for count in np.bincount(labels).tolist()]
    held_out = draw(labels, counts, np.random.default_rng(seed), image_groups)
    if not held_out.size:
        raise UserError(f"config.data.val_fraction={fraction} holds out no image at all; give a larger share.")
    return np.setdiff1d(np.arange(len(labels)), held_out), held_out


def capped(labels: Int[np.ndarray, " images"], cap: int, seed: int) -> Int[np.ndarray, " kept"]:
    """Draws at most `cap` images of each class; the indices are ascending.

    With the same seed, what a smaller cap draws is a part of what a larger one does.
    """
    generator = np.random.default_rng((seed, _CAP))
    return draw(labels, np.minimum(np.bincount(labels), cap).tolist(), generator)


def draw(
    labels: Int[np.ndarray, " images"],
    counts: Sequence[int],
    generator: np.random.Generator,
    image_groups: Int[np.ndarray, " images"] | None = None,
) -> Int[np.ndarray, " drawn"]:
    """Draws so many images of each class; the indices are ascending.

    Args:
        labels: the class of each image.
        counts: how many images of each class are drawn [classes].
        generator: draws them.
        image_groups: the group of each image; the numbers are then met as nearly as whole groups do.
    """
    if image_groups is not None:
        return draw_whole(labels, image_groups, counts, generator)
    drawn = [generator.permutation(np.flatnonzero(labels == label))[:count] for label, count in enumerate(counts)]
    return np.sort(np.concatenate(drawn))
