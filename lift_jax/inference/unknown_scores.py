"""How images of no known class are told: by the highest probability, or by the energy of the adjusted logits.

The energy (Liu et al. 2020, "Energy-based out-of-distribution detection", eq. 4; here its negative) is the logarithm of
the sum of the exponentials of the logits. Unlike the probability, it is low where all logits are.
"""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool, Float, Int

from lift_jax.evaluation.estimates import class_weights
from lift_jax.inference.adjustment import Adjustment
from lift_jax.inference.choices import Rows, log_softmax

Score = Literal["probability", "energy"]
_FOLDS = 5


def energies(logits: Float[np.ndarray, "n classes"]) -> Float[np.ndarray, " n"]:
    """Gives the logarithm of the sum of the exponentials of each row."""
    largest = logits.max(axis=1)
    return largest - log_softmax(logits).max(axis=1)


def separation(
    rows: Rows, parts: Sequence[tuple[Int[np.ndarray, " own"], Adjustment]], seed: int = 0
) -> dict[Score, float] | None:
    """Measures how well each score tells images of known classes from others, by leaving classes out of the known ones.

    The classes are divided into folds. With the columns of a fold's classes left out, the images of these are of no
    known class. Every class counts the same.

    Args:
        rows: the labelled images.
        parts: the images of each fold of them, and the adjustment that the other ones have chosen.
        seed: divides the classes.

    Returns:
        The area under the ROC curve of each score, from 0 to 1, averaged over the folds of classes; None where the
        images are of one class.
    """
    from sklearn.metrics import roc_auc_score  # slow to import

    classes = np.random.default_rng(seed).permutation(np.unique(rows.labels))
    if len(classes) < 2:
        return None
    weights, found = class_weights(rows.labels), []
    for left_out in np.array_split(classes, min(_FOLDS, len(classes))):
        hidden = np.isin(np.arange(len(rows.groups)), left_out)
        is_known, scores = ~hidden[rows.labels], _scores(rows, parts, hidden)
        found.append([roc_auc_score(is_known, scores[name], sample_weight=weights) for name in get_args(Score)])
    means = np.mean(found, axis=0).tolist()
    return dict(zip(get_args(Score), means, strict=True))


def _scores(
    rows: Rows, parts: Sequence[tuple[Int[np.ndarray, " own"], Adjustment]], hidden: Bool[np.ndarray, " classes"]
) -> dict[Score, Float[np.ndarray, " n"]]:
    """Gives the scores of each image without some classes."""
    scores: dict[Score, Float[np.ndarray, " n"]] = {name: np.empty(len(rows.labels)) for name in get_args(Score)}
    for own, adjustment in parts:
        sums = np.where(hidden, -np.inf, rows.subset(own).summed(adjustment))
        logits = adjustment.divided(sums, rows.groups)
        scores["probability"][own] = log_softmax(logits).max(axis=1)
        scores["energy"][own] = energies(logits)
    return scores
