"""Position embeddings for another resolution."""

import math

import jax
import numpy as np
from jaxtyping import Float


def resize_positions(embedding: Float[np.ndarray, "t d"], side: int, num_extra: int = 1) -> Float[np.ndarray, "s d"]:
    """Resizes the grid of positions by antialiased bicubic interpolation; the extra tokens' positions stay.

    Args:
        embedding: the positions of `num_extra` tokens outside the grid, then the grid's, row by row.
        side: the side of the new square grid, in patches.
        num_extra: the number of positions that are not of the grid, such as the class token's.
    """
    extra, grid = embedding[:num_extra], embedding[num_extra:]
    old = math.isqrt(len(grid))
    square = grid.reshape(old, old, -1)
    square = jax.image.resize(square, (side, side, grid.shape[-1]), method="cubic", antialias=True)
    return np.concatenate([extra, np.asarray(square, np.float32).reshape(side * side, -1)])
