"""Image geometry on the host, equal to torchvision's on Pillow images.

A box is (top, left, height, width) in pixels. Random flips are not here: the device does them.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Protocol

import numpy as np

from lift_jax.data.resampling import Pixels, resample
from lift_jax.errors import UserError

Box = tuple[int, int, int, int]


def resized_shape(height: int, width: int, short_side: int) -> tuple[int, int]:
    """Gives (height, width) once the short side is `short_side`; the long one is rounded down, as in torchvision."""
    long_side = int(short_side * max(height, width) / min(height, width))
    return (short_side, long_side) if height <= width else (long_side, short_side)


def resize(image: Pixels, short_side: int, interpolation: str, fidelity: str = "exact") -> Pixels:
    """Resizes so that the short side becomes `short_side`, keeping the aspect ratio; see `resample`."""
    height, width = resized_shape(image.shape[0], image.shape[1], short_side)
    return resample(image, height, width, interpolation, fidelity)


def crop(image: Pixels, box: Box) -> Pixels:
    """Cuts out the part of the image inside a box."""
    top, left, height, width = box
    return image[top : top + height, left : left + width]


def scaled(box: Box, before: tuple[int, int], after: tuple[int, int]) -> Box:
    """Scales a box to an image that was resized from (height, width) `before` to `after`, in whole pixels."""
    result = []
    for start, length, old, new in zip(box[:2], box[2:], before, after, strict=True):
        first = min(round(start * new / old), new - 1)
        result.append((first, max(1, round((start + length) * new / old) - first)))
    (top, height), (left, width) = result
    return top, left, height, width


def resized_crop(image: Pixels, box: Box, resolution: int, interpolation: str, fidelity: str = "exact") -> Pixels:
    """Resizes the part inside a box to a square of `resolution`; pixels outside the box have no influence."""
    return resample(crop(image, box), resolution, resolution, interpolation, fidelity)


def center_offset(size: int, resolution: int) -> int:
    """Says where a centred crop starts along one axis (rounds half to even, as torchvision does)."""
    return round((size - resolution) / 2)


def center_crop(image: Pixels, resolution: int) -> Pixels:
    """Cuts out the central square of side `resolution`; the image is at least that large."""
    height, width = image.shape[:2]
    return crop(image, (center_offset(height, resolution), center_offset(width, resolution), resolution, resolution))


def five_corners(height: int, width: int, resolution: int) -> list[tuple[int, int]]:
    """Gives (top, left) of the five crops: top left, top right, bottom left, bottom right, centre."""
    bottom, right = height - resolution, width - resolution
    return [(0, 0), (0, right), (bottom, 0), (bottom, right), (round(bottom / 2), round(right / 2))]


class TrainCrop(Protocol):
    """A way to choose the part of an image that a training step sees."""

    def box(self, rng: np.random.Generator, height: int, width: int, progress: float) -> Box:
        """Chooses a box inside an image of that size; `progress` is epoch / (epochs - 1), from 0 to 1."""
        ...


@dataclasses.dataclass(frozen=True)
class RandomResizedCrop:
    """torchvision's random resized crop (Szegedy et al. 2015): random area and aspect ratio, ten tries, then the
    centre.

    Args:
        scale: smallest and largest share of the image's area.
        ratio: smallest and largest width over height, drawn log-uniformly.
    """

    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)

    def box(self, rng: np.random.Generator, height: int, width: int, progress: float = 0.0) -> Box:
        """Chooses a random box; `progress` has no influence."""
        for _ in range(10):
            area = height * width * rng.uniform(*self.scale)
            aspect = math.exp(rng.uniform(math.log(self.ratio[0]), math.log(self.ratio[1])))
            box_width, box_height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if 0 < box_width <= width and 0 < box_height <= height:
                top = int(rng.integers(0, height - box_height + 1))
                left = int(rng.integers(0, width - box_width + 1))
                return top, left, box_height, box_width
        box_height, box_width = height, width
        if width / height < self.ratio[0]:
            box_height = min(height, max(1, round(width / self.ratio[0])))
        elif width / height > self.ratio[1]:
            box_width = min(width, max(1, round(height * self.ratio[1])))
        return (height - box_height) // 2, (width - box_width) // 2, box_height, box_width


SCHEDULES: dict[str, Callable[[float], float]] = {
    "min": lambda t: 0.0,
    "linear": lambda t: t,
    "convex": lambda t: 1 - math.sqrt(1 - t * t),
    "concave": lambda t: math.sqrt(1 - (1 - t) ** 2),
    "max": lambda t: 1.0,
}
"""How the smallest crop of LIFT+ grows over the epochs: f(t) for t = epoch / (epochs - 1)."""


@dataclasses.dataclass(frozen=True)
class SquareCrop:
    """LIFT+'s minimalist augmentation (arXiv 2504.13282): a square whose smallest area grows over the epochs.

    The area is uniform between s_min and 1 of the image's area, both capped by the largest square, with
    s_min = min_scale + (1 - min_scale) f(t).

    Args:
        schedule: f, one of `SCHEDULES`.
        min_scale: smallest share of the image's area at the beginning.
    """

    schedule: str = "convex"
    min_scale: float = 0.08

    def __post_init__(self):
        if self.schedule not in SCHEDULES:
            raise UserError(f"The crop schedule is {self.schedule!r}; write one of {', '.join(SCHEDULES)}.")

    def box(self, rng: np.random.Generator, height: int, width: int, progress: float) -> Box:
        """Chooses a random square; `progress` is t, from 0 to 1."""
        area, largest = height * width, min(height, width)
        smallest_share = self.min_scale + (1 - self.min_scale) * SCHEDULES[self.schedule](progress)
        low, high = min(smallest_share * area, largest**2), min(area, largest**2)
        side = min(largest, max(1, round(math.sqrt(rng.uniform(low, high)))))
        return int(rng.integers(0, height - side + 1)), int(rng.integers(0, width - side + 1)), side, side
