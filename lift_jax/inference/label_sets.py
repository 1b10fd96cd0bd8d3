"""From the logits of images that may be of several classes to what a person is told of them."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from lift_jax.evaluation.thresholds import Thresholds
from lift_jax.inference.predictions import Prediction


@dataclasses.dataclass(frozen=True)
class LabelSets:
    """Makes predictions of logits: every class whose threshold is reached, the most probable first.

    Attributes:
        thresholds: those of the run.
    """

    thresholds: Thresholds

    def __call__(self, paths: Sequence[str], logits: Float[np.ndarray, "n classes"]) -> list[Prediction]:
        """Gives the prediction of each image.

        Args:
            paths: what the images are called.
            logits: a row for each.
        """
        predictions = []
        for path, row, reached in zip(paths, logits, self.thresholds.of(logits), strict=True):
            order = [label for label in np.argsort(-row, kind="stable").tolist() if reached[label]]
            predictions.append(Prediction(path, order, probabilities(row[order]).tolist()))
        return predictions


def probabilities(logits: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Gives the sigmoid of logits, float64, which of large ones rounds to 1 later than that of float32 does."""
    return 0.5 * (1 + np.tanh(0.5 * logits.astype(np.float64)))
