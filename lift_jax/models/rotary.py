"""Rotary positions (Su et al. 2021, arXiv 2104.09864) on the two axes of an image, as DINOv3 has them (2508.10104)."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def axial_angles(rows: int, columns: int, head_dim: int, theta: float) -> Float[np.ndarray, "n r"]:
    """Returns the angles of a grid of patches, row by row, in radians; r is half of `head_dim`.

    With y and x the place of a patch's centre, from -1 to 1 on each axis, they are 2 pi y / theta^(4 i / head_dim) for
    i from 0 to head_dim / 4 - 1, and then the same of x. So the outermost patches are as far apart at every resolution.

    Args:
        rows, columns: of the grid.
        head_dim: the width of an attention head; a multiple of 4.
        theta: the base of the frequencies.
    """
    frequencies = theta ** -np.arange(0, 1, 4 / head_dim)
    centres = [2 * (np.arange(n) + 0.5) / n - 1 for n in (rows, columns)]
    places = np.stack(np.meshgrid(*centres, indexing="ij"), axis=-1).reshape(-1, 2, 1)
    return (2 * np.pi * places * frequencies).reshape(len(places), -1).astype(np.float32)


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
