"""Position embeddings for another resolution."""

import math

import jax
import numpy as np
from jaxtyping import Float


def resize_positions(
    embedding: Float[np.ndarray, "t d"],
    side: int | tuple[int, int],
    num_extra: int = 1,
    antialias: bool = True,
    linear: bool = False,
) -> Float[np.ndarray, "s d"]:
    """Resizes the grid of positions by bicubic or linear interpolation; the extra tokens' positions stay.

    Args:
        embedding: the positions of `num_extra` tokens outside the grid, then the grid's, row by row.
        side: the side of the new square grid, in patches, or its rows and columns.
        num_extra: the number of positions that are not of the grid, such as the class token's.
        antialias: whether a smaller grid averages over what lies between its points. The kernel is then that of
            Pillow's and PyTorch's antialiased interpolation (a = -0.5), and else that of PyTorch's plain one
            (a = -0.75), by which transformers resizes DINOv2's positions.
        linear: whether the interpolation is linear, with antialiasing, as that of SigLIP 2's NaFlex models.
    """
    extra, grid = embedding[:num_extra], embedding[num_extra:]
    old = math.isqrt(len(grid))
    square = grid.reshape(old, old, -1)
    rows, columns = (side, side) if isinstance(side, int) else side
    if antialias or linear:
        method = "linear" if linear else "cubic"
        square = jax.image.resize(square, (rows, columns, grid.shape[-1]), method=method, antialias=True)
    else:
        down, across = _plain_bicubic(old, rows), _plain_bicubic(old, columns)
        square = np.einsum("yi,xj,ijd->yxd", down, across, square, optimize=True)
    return np.concatenate([extra, np.asarray(square, np.float32).reshape(rows * columns, -1)])


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
