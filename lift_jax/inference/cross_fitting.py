"""Chooses how logits are adjusted, by labelled images that the training has not seen.

Up to five things are chosen, one after the other (see `lift_jax.inference.choices`): how strongly the zero-shot logits
are mixed in, the pre-training prior that is taken out of them, how strongly the logits of Gaussians are mixed in, the
strength of the training prior, and the temperature. The images are divided into folds; what is chosen on all folds but
one is measured on that one, so that a gain is never measured on images that chose anything. What does not gain more
than its standard error is left as it was. A mix with zero-shot must gain so much over zero-shot alone, too.

No answer is therefore worse than the run or zero-shot alone by more than the standard error of the difference. After
the first choice this is plain, and the others keep to it: the error of a sum of differences is at most the sum of their
errors, so that a gain above its own error makes up for whatever it adds to that of the whole.

Every class counts the same, however many images it has: this is the mean class accuracy, and the uniform prior that
answers assume.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from lift_jax.data.image_groups import folds
from lift_jax.evaluation.estimates import class_mean
from lift_jax.evaluation.metrics import NUM_BINS
from lift_jax.inference.adjustment import Adjustment
from lift_jax.inference.choices import CHOICES, LEAST, Choice, Rows, predicted_groups, scarce

FOLDS = 5


class Estimate(NamedTuple):
    """A mean over classes and its standard error; both are None where there are too few images."""

    mean: float | None
    error: float | None


class Step(NamedTuple):
    """What was tried.

    Attributes:
        name: of a choice in `lift_jax.inference.choices.CHOICES`.
        tried: the adjustment that all images together would choose.
        gains: by how much the measure gets better, for all classes and for those of each group: the mean class accuracy
            in percentage points, or of temperatures the negative log-likelihood in nats. They are over what was chosen
            before or, of what is not kept, over the simpler answer that it does not beat.
        kept: whether the gain over all classes is larger than its standard error.
    """

    name: str
    tried: Adjustment
    gains: list[Estimate]
    kept: bool


class _Fitted(NamedTuple):
    """An adjustment that all images choose, and for each fold the one that the other folds choose."""

    whole: Adjustment
    by_fold: list[Adjustment]


class _Part(NamedTuple):
    """A fold: its images, their rows, and the rows of all other images."""

    own: Int[np.ndarray, " own"]
    rows: Rows
    others: Rows


class Chosen(NamedTuple):
    """What was chosen.

    Attributes:
        adjustment: by all images.
        shared: the groups whose temperature is that of all images.
        steps: what was tried, in this order.
        before: the logarithms of the probabilities without an adjustment, float64.
        after: with the adjustment that the other folds have chosen.
        parts: the images of each fold, and that adjustment.
    """

    adjustment: Adjustment
    shared: list[int]
    steps: list[Step]
    before: Float[np.ndarray, "n classes"]
    after: Float[np.ndarray, "n classes"]
    parts: list[tuple[Int[np.ndarray, " own"], Adjustment]]


def choose(rows: Rows, seed: int = 0) -> Chosen:
    """Chooses an adjustment.

    Args:
        rows: at least `LEAST` images.
        seed: divides the images into folds.
    """
    fold = folds(rows.labels, FOLDS, seed, rows.image_groups)
    parts = [_Part(np.flatnonzero(fold == k), rows.subset(fold == k), rows.subset(fold != k)) for k in range(FOLDS)]
    known = _Fitted(Adjustment(), [Adjustment()] * FOLDS)
    steps = []
    for choice in CHOICES:
        if not choice.needs or getattr(rows, choice.needs) is not None:
            step, known = _decide(choice, rows, parts, known)
            steps.append(step)
    after = np.empty(rows.logits.shape)
    for part, adjustment in zip(parts, known.by_fold, strict=True):
        after[part.own] = part.rows.log_probabilities(adjustment)
    chosen = [(part.own, adjustment) for part, adjustment in zip(parts, known.by_fold, strict=True)]
    shared, before = scarce(predicted_groups(rows, known.whole)), rows.log_probabilities(Adjustment())
    return Chosen(known.whole, shared, steps, before, after, chosen)


def _decide(choice: Choice, rows: Rows, parts: Sequence[_Part], known: _Fitted) -> tuple[Step, _Fitted]:
    """Tries what may be chosen, and says what is known then."""

    def scores(fitted: _Fitted) -> Float[np.ndarray, " n"]:
        """Scores each image by what the folds that it is not in have chosen."""
        values = np.empty(len(rows.labels))
        for part, adjustment in zip(parts, fitted.by_fold, strict=True):
            values[part.own] = choice.score(part.rows, adjustment)
        return values

    kept, simpler = None, [scores(known)]
    tried, gains = known, []
    for fit in choice.fits:
        by_fold = [fit(part.others, before) for part, before in zip(parts, known.by_fold, strict=True)]
        tried = _Fitted(fit(rows, known.whole), by_fold)
        values = scores(tried)
        gains = [estimates(values - each, rows.labels, rows.groups) for each in simpler]
        if min(map(_margin, gains)) > 0:
            kept = Step(choice.name, tried.whole, gains[0], True), tried
        simpler.append(values)
    return kept or (Step(choice.name, tried.whole, min(gains, key=_margin), False), known)


def _margin(gains: list[Estimate]) -> float:
    """Says by how much a gain over all classes is larger than its standard error."""
    overall = gains[0]
    return -math.inf if overall.mean is None or overall.error is None else overall.mean - overall.error


def estimates(
    values: Float[np.ndarray, " n"], labels: Int[np.ndarray, " n"], groups: Int[np.ndarray, " classes"]
) -> list[Estimate]:
    """Estimates the mean over classes of a value of each image: over all classes, and over those of each group.

    The standard error is that of a weighted mean. A group with fewer than `LEAST` images has none.
    """
    parts = by_group(labels, groups)
    return [_estimate(values[own], labels[own]) for own in parts]


def by_group(labels: Int[np.ndarray, " n"], groups: Int[np.ndarray, " classes"]) -> list[Bool[np.ndarray, " n"]]:
    """Says which images are of all classes, and which are of those of each group."""
    own = groups[labels]
    return [np.ones(len(labels), bool), *(own == group for group in range(3))]


def _estimate(values: Float[np.ndarray, " n"], labels: Int[np.ndarray, " n"]) -> Estimate:
    return Estimate(*class_mean(values, labels)) if len(values) >= LEAST else Estimate(None, None)


def calibration_error(
    confidence: Float[np.ndarray, " n"], right: Float[np.ndarray, " n"], weights: Float[np.ndarray, " n"]
) -> float:
    """Gives the expected calibration error of weighted images, from 0 to 1 (Guo et al. 2017, eq. 3).

    Args:
        confidence: the probability of each prediction.
        right: 1 where it is right, else 0.
        weights: with a sum of one.
    """
    return float(np.abs(np.bincount(_bins(confidence), weights * (right - confidence), NUM_BINS)).sum())


def reliability(
    confidence: Float[np.ndarray, " n"], right: Float[np.ndarray, " n"], weights: Float[np.ndarray, " n"]
) -> list[list[float]]:
    """Gives the bars of a reliability diagram: of each bin its weight, mean confidence and accuracy, from 0 to 1.

    The arguments are those of `calibration_error`; an empty bin has a weight of 0, and 0 for the means.
    """
    which = _bins(confidence)
    weight, *sums = (np.bincount(which, weights * each, NUM_BINS) for each in (1.0, confidence, right))
    means = [each / np.where(weight > 0, weight, 1) for each in sums]
    return np.stack([weight, *means], axis=1).tolist()


def _bins(confidence: Float[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """Gives the bin of each confidence; bins are of equal width, open below and closed above."""
    return np.clip(np.ceil(confidence * NUM_BINS).astype(int) - 1, 0, NUM_BINS - 1)
