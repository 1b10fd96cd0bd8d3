"""Rows of a batch taken a few at a time on a CPU, whose caches the activations of all would not fit."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax

from lift_jax.models.vit import VisionTransformer

CACHE = 10 * 2**20
"""Bytes of the largest activation of a micro-batch on a CPU."""


def suitable(vision: nn.Module, shape: tuple[int, ...], platform: str) -> int:
    """Gives how many micro-batches of equal size suit a device: the least whose largest activation fits into `CACHE`.

    A CPU computes from larger arrays at the speed of its memory, which the system moreover takes back after each
    program and gives anew, page by page. An accelerator is fastest with all rows at once. ResNets were not measured,
    and are not cut.

    Args:
        vision: the network.
        shape: of the device's images (b, h, w, 3).
        platform: of the device, "cpu" or another.
    """
    if platform != "cpu" or not isinstance(vision, VisionTransformer):
        return 1
    rows, height, width, _ = shape
    row = (height // vision.patch_size) * (width // vision.patch_size) * vision.mlp_dim * 4
    return next(n for n in range(1, rows + 1) if rows % n == 0 and (rows // n * row <= CACHE or n == rows))


def map_rows(function: Callable[[Any], Any], images: jax.Array, count: int) -> Any:
    """Applies a function of images (b, h, w, 3), which gives a row for each, in so many micro-batches."""
    if count == 1:
        return function(images)
    rows = jax.lax.map(function, images.reshape(count, -1, *images.shape[1:]))
    return rows.reshape(len(images), *rows.shape[2:])
