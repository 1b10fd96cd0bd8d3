"""Batches of features in the place of images, for images whose features are known."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float, Int

from lift_jax.data.evaluation_loader import TestLoader
from lift_jax.data.workers import Batch


class FeatureLoader:
    """Gives the features of images once each, in the order of the data set, in batches as `TestLoader` has them.

    A batch has "features" float32 [b, 1, d] in the place of canvas and views.

    Args:
        features: of the images, one row each.
        labels: of the images.
        index: of the images in their data set.
        batch_size: images of a batch, of which the last is padded.
    """

    num_views = 1

    def __init__(
        self,
        features: Float[np.ndarray, "n d"],
        labels: Int[np.ndarray, " n"] | Bool[np.ndarray, "n classes"],
        index: Int[np.ndarray, " n"],
        batch_size: int,
    ):
        self._columns = {
            "features": features[:, None].astype(np.float32, copy=False),
            "label": labels if labels.ndim == 2 else labels.astype(np.int32),
            "index": index.astype(np.int32),
        }
        self._batch_size = batch_size
        self.num_examples = len(index)
        self.bytes_per_image = 4.0 * features.shape[1]
        self.problems: dict[int, str] = {}

    def no_labels(self, rows: int) -> np.ndarray:
        """Makes labels of so many rows that are padding."""
        labels = self._columns["label"]
        return np.zeros((rows, *labels.shape[1:]), labels.dtype)

    def __iter__(self) -> Iterator[Batch]:
        size = self._batch_size
        for start in range(0, self.num_examples, size):
            rows = min(size, self.num_examples - start)
            batch = {}
            for name, column in self._columns.items():
                batch[name] = np.zeros((size, *column.shape[1:]), column.dtype)
                batch[name][:rows] = column[start : start + rows]
            batch["mask"] = np.arange(size) < rows
            batch["index"][rows:] = -1
            yield batch


Examples = TestLoader | FeatureLoader
"""What an evaluation goes through: images, or the features of images."""
