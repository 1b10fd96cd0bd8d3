"""Rotary positions (Su et al. 2021, arXiv 2104.09864) on the two axes of an image."""

import dataclasses

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


@dataclasses.dataclass(frozen=True)
class Grid:
    """Where patches are on an axis of the image, in the units of EVA02 and of Perception Encoder.

    Patch i of n is at (first + i) side / n, so that the outermost patches are as far apart at every resolution.

    Attributes:
        side: of the pre-training's grid, in patches.
        first: the place of the first patch at the pre-training's resolution.
    """

    side: int
    first: float = 0.0


def axial_angles(
    rows: int, columns: int, head_dim: int, theta: float, grid: Grid | None = None
) -> Float[np.ndarray, "n r"]:
    """Returns the angles of a grid of patches, row by row, in radians; r is half of `head_dim`.

    With y and x the place of a patch, they are y / theta^(4 i / head_dim) for i from 0 to head_dim / 4 - 1, and then
    the same of x.

    Args:
        rows, columns: of the patches.
        head_dim: the width of an attention head; a multiple of 4.
        theta: the base of the frequencies.
        grid: how places are counted; None for DINOv3's (arXiv 2508.10104), 2 pi times the patch's centre, which is
            from -1 to 1 on each axis.
    """
    frequencies = theta ** -np.arange(0, 1, 4 / head_dim)
    axes = [_places(n, grid) for n in (rows, columns)]
    places = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2, 1)
    return (places * frequencies).reshape(len(places), -1).astype(np.float32)


def _places(n: int, grid: Grid | None) -> Float[np.ndarray, " n"]:
    if grid is None:
        return 2 * np.pi * (2 * (np.arange(n) + 0.5) / n - 1)
    return (grid.first + np.arange(n)) * grid.side / n


def rotate(x: Float[Array, "m t d"], angles: Float[Array, "n r"]) -> Float[Array, "m t d"]:
    """Turns the first n tokens: channels i and i + d / 2 are a point of the plane, turned by angle i, in float32.

    Args:
        x: queries or keys of one head.
        angles: in radians; the tokens beyond the n-th, which a tuner put in, stay as they are.
    """
    angles = jnp.pad(angles, ((0, x.shape[1] - len(angles)), (0, 0)))
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    one, other = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    return jnp.concatenate([one * cos - other * sin, other * cos + one * sin], axis=-1).astype(x.dtype)
