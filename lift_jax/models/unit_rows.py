"""Features and weights of length one, whose products are cosines, on the host."""

import numpy as np
from jaxtyping import Float


def unit_rows(rows: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    """Divides rows by their lengths; one of zeros stays as it is."""
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
