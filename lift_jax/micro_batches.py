"""Rows of a batch taken a few at a time on a CPU, whose caches the activations of all would not fit."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax

from lift_jax.models.vit import VisionTransformer

CACHE = 10 * 2**20
"""Bytes of the largest activation of a micro-batch on a CPU."""


def on_cpu(vision: nn.Module, shape: tuple[int, ...]) -> int:
    """The number of micro-batches of equal size for images of `shape` (b, h, w, 3): the least that keeps to `CACHE`.

    A CPU computes from larger arrays at the speed of its memory, which the system moreover takes back after each
    program and gives anew, page by page. An accelerator is fastest with all rows at once. ResNets were not measured,
    and are not cut.
    """
    if not isinstance(vision, VisionTransformer):
        return 1
    rows, height, width, _ = shape
    row = (height // vision.patch_size) * (width // vision.patch_size) * vision.mlp_dim * 4
    return next(n for n in range(1, rows + 1) if rows % n == 0 and (rows // n * row <= CACHE or n == rows))


def mapped(function: Callable[[Any], Any], vision: nn.Module, images: jax.Array) -> Any:
    """`function` of images (b, h, w, 3), which gives a row for each."""
    parts = on_cpu(vision, images.shape)

    def in_parts(images: jax.Array) -> jax.Array:
        rows = jax.lax.map(function, images.reshape(parts, -1, *images.shape[1:]))
        return rows.reshape(len(images), *rows.shape[2:])

    return function(images) if parts == 1 else jax.lax.platform_dependent(images, cpu=in_parts, default=function)
