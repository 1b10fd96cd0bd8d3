"""Position embeddings for another resolution."""

import math

import jax
import numpy as np
from jaxtyping import Float


def resize_positions(
    embedding: Float[np.ndarray, "t d"], side: int, num_extra: int = 1, antialias: bool = True
) -> Float[np.ndarray, "s d"]:
    """Resizes the grid of positions by bicubic interpolation; the extra tokens' positions stay.

    Args:
        embedding: the positions of `num_extra` tokens outside the grid, then the grid's, row by row.
        side: the side of the new square grid, in patches.
        num_extra: the number of positions that are not of the grid, such as the class token's.
        antialias: whether a smaller grid averages over what lies between its points. The kernel is then that of
            Pillow's and PyTorch's antialiased interpolation (a = -0.5), and else that of PyTorch's plain one
            (a = -0.75), by which transformers resizes DINOv2's positions.
    """
    extra, grid = embedding[:num_extra], embedding[num_extra:]
    old = math.isqrt(len(grid))
    square = grid.reshape(old, old, -1)
    if antialias:
        square = jax.image.resize(square, (side, side, grid.shape[-1]), method="cubic", antialias=True)
    else:
        weights = _plain_bicubic(old, side)
        square = np.einsum("yi,xj,ijd->yxd", weights, weights, square, optimize=True)
    return np.concatenate([extra, np.asarray(square, np.float32).reshape(side * side, -1)])


def _plain_bicubic(old: int, new: int, a: float = -0.75) -> Float[np.ndarray, "new old"]:
    """Returns what each of `new` points takes of each of `old` ones (Keys 1981, eq. 4); the ends are repeated."""
    at = (np.arange(new) + 0.5) * old / new - 0.5
    neighbours = np.floor(at).astype(int)[:, None] + np.arange(-1, 3)
    distance = np.abs(at[:, None] - neighbours)
    near = (a + 2) * distance**3 - (a + 3) * distance**2 + 1
    far = a * (distance**3 - 5 * distance**2 + 8 * distance - 4)
    weights = np.zeros((new, old))
    np.add.at(weights, (np.arange(new)[:, None], neighbours.clip(0, old - 1)), np.where(distance <= 1, near, far))
    return weights
