"""Which labels look wrong, by probabilities of a classifier that has not seen the image (confident learning).

Northcutt, Jiang and Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels" (arXiv 1911.00068),
section 3.1.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int


class Suspects(NamedTuple):
    """Images whose labels look wrong, the most suspicious first.

    Attributes:
        index: their indices.
        suggested: the class that each is confidently of instead.
        margin: the probability of the given class less that of the suggested one, from -1 to 0.
    """

    index: Int[np.ndarray, " m"]
    suggested: Int[np.ndarray, " m"]
    margin: Float[np.ndarray, " m"]


def thresholds(
    labels: Int[np.ndarray, " n"], probabilities: Float[np.ndarray, "n classes"]
) -> Float[np.ndarray, " classes"]:
    """Gives the mean probability of each class over the images that are labelled so (eq. 2); 1 where there are none."""
    own = np.take_along_axis(probabilities, labels[:, None], axis=1)[:, 0].astype(np.float64)
    classes = probabilities.shape[1]
    counts = np.bincount(labels, minlength=classes)
    return np.where(counts > 0, np.bincount(labels, own, classes) / np.maximum(counts, 1), 1.0)


def suspects(labels: Int[np.ndarray, " n"], probabilities: Float[np.ndarray, "n classes"]) -> Suspects:
    """Finds the images that the confident joint has off its diagonal (eq. 1).

    An image is confidently of the class with the largest probability among those whose probability is at least the
    threshold. Where that is not the class of its label, the label is suspected, unless it is the most probable one.

    Args:
        labels: as they are given.
        probabilities: of a classifier that was trained without the image, whose label it would else repeat.
    """
    confident = probabilities >= thresholds(labels, probabilities) - 1e-9
    among = np.where(confident, probabilities, -1)
    best = among.argmax(axis=1)
    wrong = confident.any(axis=1) & (best != labels) & (probabilities.argmax(axis=1) != labels)
    index = np.flatnonzero(wrong)
    margin = probabilities[index, labels[index]] - probabilities[index, best[index]]
    order = np.argsort(margin, kind="stable")
    return Suspects(index[order], best[index][order], margin[order])
