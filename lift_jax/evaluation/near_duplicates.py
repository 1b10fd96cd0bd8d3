"""Images that are in a data set twice, perhaps in another size or compressed anew."""

import functools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from lift_jax.models.unit_rows import unit_rows

SIMILAR = 0.9
"""Cosine of the features from which two images are compared by their pixels."""

ALIKE = 0.95
"""Correlation of their small grey pictures from which they are taken for copies."""

_NEIGHBOURS = 5
"""How many of the most similar images each one is compared with."""

_SIDE = 16
_ROWS = 1024
"""Images whose similarities to all others are in memory together."""


class Pair(NamedTuple):
    """Two images that are nearly the same: their indices, and the correlation of their pixels, up to 1."""

    first: int
    second: int
    correlation: float


def pairs(features: Float[np.ndarray, "n d"], read: Callable[[int], UInt8[np.ndarray, "h w 3"]]) -> list[Pair]:
    """Finds for each image the most similar others, and keeps the pairs that are nearly the same pixel by pixel.

    Similar features alone do not make copies: other images of the same thing have them as well.

    Args:
        features: of all images; those of an image that cannot be read are NaN.
        read: gives the pixels of an image; it is called once for each that is similar to another.

    Returns:
        Each pair once, the smaller index first, the most alike before the others.
    """
    picture = functools.cache(lambda index: small(read(index)))
    found = []
    for first, second in sorted(set(_similar(features))):
        likeness = correlation(picture(first), picture(second))
        if likeness >= ALIKE:
            found.append(Pair(first, second, likeness))
    return sorted(found, key=lambda pair: -pair.correlation)


def _similar(features: Float[np.ndarray, "n d"]) -> Iterator[tuple[int, int]]:
    """Gives each image with those whose features are the nearest, if they are near, the smaller index first."""
    known = np.flatnonzero(np.isfinite(features).all(axis=1))
    unit = unit_rows(features[known])
    count = min(_NEIGHBOURS, len(known) - 1)
    for start in range(0, len(known) if count > 0 else 0, _ROWS):
        cosine = unit[start : start + _ROWS] @ unit.T
        rows = np.arange(len(cosine))
        cosine[rows, start + rows] = -1
        nearest = np.argpartition(cosine, -count, axis=1)[:, -count:]
        for row, place in zip(*np.nonzero(np.take_along_axis(cosine, nearest, axis=1) >= SIMILAR), strict=True):
            first, second = sorted((int(known[start + row]), int(known[nearest[row, place]])))
            yield first, second


def small(image: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, " pixels"]:
    """Makes a small grey picture of the whole image."""
    grey = Image.fromarray(image).convert("L").resize((_SIDE, _SIDE), Image.Resampling.BOX)
    return np.asarray(grey).ravel()


def correlation(first: UInt8[np.ndarray, " pixels"], second: UInt8[np.ndarray, " pixels"]) -> float:
    """Gives the correlation of two pictures, from -1 to 1; where one has no contrast, 1 if they are equal, else 0."""
    a, b = (each - each.mean(dtype=np.float64) for each in (first, second))
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / norms if norms else float(np.array_equal(first, second))
