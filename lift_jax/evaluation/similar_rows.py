"""The rows of a large matrix that are most similar to others, found on the device.

They are exact: of equal similarities the row that comes first is taken first.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from lift_jax.models.heads import product
from lift_jax.models.unit_rows import unit_rows

_ROWS = 1 << 16
"""Rows that are searched together."""

_QUERIES = 256
"""Queries whose similarities to a block are in memory together: 64 MiB."""


class SimilarRows:
    """Finds the rows that are most similar to others; the rows stay on the device.

    Args:
        rows: of length one (see `lift_jax.models.unit_rows`), at least one.
        block: how many of them are searched together.
    """

    def __init__(self, rows: Float[np.ndarray, "n d"], block: int = _ROWS):
        self._starts = range(0, len(rows), block)
        self._blocks = [jnp.asarray(rows[start : start + block]) for start in self._starts]

    def __call__(
        self, queries: Float[np.ndarray, "q d"], k: int
    ) -> tuple[Float[np.ndarray, "q k"], Int[np.ndarray, "q k"]]:
        """Finds the most similar rows of each query.

        Args:
            queries: of any lengths.
            k: how many are found, at least 1; there are no more than rows.

        Returns:
            Cosines in descending order, from -1 to 1, and the places of their rows.
        """
        parts = [self._some(queries[start : start + _QUERIES], k) for start in range(0, max(1, len(queries)), _QUERIES)]
        cosines, places = (np.concatenate(each) for each in zip(*parts, strict=True))
        return np.clip(cosines, -1, 1), places

    def _some(self, queries: Float[np.ndarray, "q d"], k: int) -> tuple[np.ndarray, np.ndarray]:
        count = len(queries)
        # Powers of two, so that a few sizes are compiled whatever the number of queries.
        padded = np.zeros((1 << max(0, count - 1).bit_length(), queries.shape[1]), np.float32)
        padded[:count] = unit_rows(queries)
        found = [_largest(padded, block, min(k, len(block))) for block in self._blocks]
        cosines = np.concatenate([np.asarray(values)[:count] for values, _ in found], axis=1)
        own = zip(self._starts, found, strict=True)
        places = np.concatenate([np.asarray(row)[:count] + start for start, (_, row) in own], axis=1)
        order = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(cosines, order, axis=1), np.take_along_axis(places, order, axis=1)


@functools.partial(jax.jit, static_argnames="k")
def _largest(
    queries: Float[Array, "q d"], rows: Float[Array, "n d"], k: int
) -> tuple[Float[Array, "q k"], Int[Array, "q k"]]:
    cosines, places = jax.lax.top_k(product(queries, rows.T), k)
    return cosines, places
