"""How well scores rank the images of a class before the others, and where the line between them is best drawn."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int


class Ranked(NamedTuple):
    """What is above each line that can be drawn through scores, from the highest line to the lowest.

    Attributes:
        scores: the lowest score above each line, descending and distinct.
        above: how many images are above it.
        positive: how many of these are of the class.
    """

    scores: Float[np.ndarray, " lines"]
    above: Int[np.ndarray, " lines"]
    positive: Int[np.ndarray, " lines"]


def ranked(labels: Bool[np.ndarray, " n"], scores: Float[np.ndarray, " n"]) -> Ranked:
    """Ranks images by their scores; no line divides those of equal score.

    Args:
        labels: whether each image is of the class.
        scores: of the class, finite.
    """
    order = np.argsort(-scores, kind="stable")
    descending = scores[order]
    ends = np.flatnonzero(np.append(descending[1:] != descending[:-1], True)) if len(scores) else np.zeros(0, int)
    return Ranked(descending[ends], ends + 1, np.cumsum(labels[order])[ends])


def average_precision(
    labels: Bool[np.ndarray, "n classes"], scores: Float[np.ndarray, "n classes"]
) -> Float[np.ndarray, " classes"]:
    """Computes the average precision of each class, from 0 to 1; NaN where no image is of the class.

    It is the sum of the precisions at all lines, each times the gain in recall there, without interpolation, as
    scikit-learn's `average_precision_score`.
    """
    result = np.full(labels.shape[1], np.nan)
    for label in np.flatnonzero(labels.any(axis=0)).tolist():
        _, above, positive = ranked(labels[:, label], scores[:, label])
        gains = np.diff(positive, prepend=0)
        result[label] = np.sum(positive / above * gains) / positive[-1]
    return result


def best_threshold(labels: Bool[np.ndarray, " n"], scores: Float[np.ndarray, " n"]) -> float:
    """Finds the threshold with the largest F1 of "the score is at least that"; of several, the highest.

    It is in the middle between the scores on both sides of it, or the lowest score, if all are above it.

    Args:
        labels: whether each image is of the class; at least one is.
        scores: of the class.
    """
    values, above, positive = ranked(labels, scores.astype(np.float64))
    best = int(np.argmax(2 * positive / (above + positive[-1])))
    return float(values[best] if best + 1 == len(values) else (values[best] + values[best + 1]) / 2)
