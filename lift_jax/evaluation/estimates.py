"""Means over the classes of a value of each image, with their standard errors."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from lift_jax.text import aligned


class ClassMean(NamedTuple):
    """A mean in which every class counts the same, and its standard error."""

    mean: float
    error: float


def class_weights(labels: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Gives the weight of each image in a mean over the classes that have images; their sum is one."""
    counts = np.bincount(labels)
    return 1 / counts[labels] / np.count_nonzero(counts)


def class_mean(values: Float[np.ndarray, " n"], labels: Int[np.ndarray, " n"]) -> ClassMean:
    """Estimates the mean over classes of a value of each image; the standard error is that of a weighted mean.

    Args:
        values: one for each image.
        labels: the class of each image; of fewer than two images the error is infinite.
    """
    weights, count = class_weights(labels), len(values)
    mean = weights @ values
    if count < 2:
        return ClassMean(float(mean), float("inf"))
    return ClassMean(float(mean), float(np.sqrt(count / (count - 1) * np.sum((weights * (values - mean)) ** 2))))


def table(head: Sequence[str], rows: Sequence[tuple[Sequence[str], Sequence[ClassMean | None]]]) -> str:
    """Formats a line for each row: its cells, and then each mean with its error; nothing for a mean that is None."""
    lines = [list(head)]
    for cells, means in rows:
        lines.append([*cells, *("" if each is None else f"{each.mean:.1f} ± {each.error:.1f}" for each in means)])
    return aligned(lines)
