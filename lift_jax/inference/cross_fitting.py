"""Chooses how logits are adjusted, by labelled images that the training has not seen.

Three things are chosen, one after the other: how strongly the zero-shot logits are mixed in, the strength of the prior,
and the temperature. The images are divided into folds; what is chosen on all folds but one is measured on that one, so
that a gain is never measured on images that chose anything. What does not gain more than its standard error is left as
it was.

Every class counts the same, however many images it has: this is the mean class accuracy, and the uniform prior that
answers assume.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from lift_jax.data.image_groups import folds
from lift_jax.evaluation.estimates import class_mean, class_weights
from lift_jax.evaluation.metrics import NUM_BINS
from lift_jax.inference.adjustment import HIGHEST, LOWEST, Adjustment

FOLDS = 5
LEAST = 30
"""Images that a choice takes at least."""

_MIXES = (0.0, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
_TAUS = tuple(round(0.1 * step, 1) for step in sorted(range(-15, 16), key=abs))
"""The factors that are tried; of equally good ones, the first is chosen."""


@dataclasses.dataclass(frozen=True)
class Rows:
    """What is known of labelled images.

    Attributes:
        logits: of the run, under the uniform prior, float32.
        zero_shot: of the zero-shot classifier, float32; None where there is none to mix in.
        labels: the true classes.
        log_prior: the logarithm of each class's share of the training set.
        groups: the group of each class, from 0 to 2.
        image_groups: the group of each image, which no fold divides; None if each is on its own.
    """

    logits: Float[np.ndarray, "n classes"]
    zero_shot: Float[np.ndarray, "n classes"] | None
    labels: Int[np.ndarray, " n"]
    log_prior: Float[np.ndarray, " classes"]
    groups: Int[np.ndarray, " classes"]
    image_groups: Int[np.ndarray, " n"] | None = None

    def subset(self, chosen: np.ndarray) -> "Rows":
        """Gives some of the images, by their indices or by a mask."""
        zero_shot = None if self.zero_shot is None else self.zero_shot[chosen]
        image_groups = None if self.image_groups is None else self.image_groups[chosen]
        return dataclasses.replace(
            self, logits=self.logits[chosen], zero_shot=zero_shot, labels=self.labels[chosen], image_groups=image_groups
        )  # fmt: skip

    @functools.cached_property
    def weights(self) -> Float[np.ndarray, " n"]:
        """Returns the weight of each image (see `class_weights`)."""
        return class_weights(self.labels)

    def summed(self, adjustment: Adjustment) -> Float[np.ndarray, "n classes"]:
        """Gives the sums of `Adjustment.summed`, float64."""
        return adjustment.summed(self.logits.astype(np.float64), self.zero_shot, self.log_prior)

    def log_probabilities(self, adjustment: Adjustment) -> Float[np.ndarray, "n classes"]:
        """Gives the logarithms of the adjusted probabilities, float64."""
        return log_softmax(adjustment.divided(self.summed(adjustment), self.groups))


def log_softmax(rows: Float[np.ndarray, "n classes"]) -> Float[np.ndarray, "n classes"]:
    """Gives the logarithm of the softmax of each row."""
    shifted = rows - rows.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


class Estimate(NamedTuple):
    """A mean over classes and its standard error; both are None where there are too few images."""

    mean: float | None
    error: float | None


class Step(NamedTuple):
    """What was tried.

    Attributes:
        name: "mix", "tau" or "temperatures".
        tried: the adjustment that all images together would choose.
        gains: by how much the measure gets better, for all classes and for those of each group: the mean class accuracy
            in percentage points, or of temperatures the negative log-likelihood in nats.
        kept: whether the gain over all classes is larger than its standard error.
    """

    name: str
    tried: Adjustment
    gains: list[Estimate]
    kept: bool


class Chosen(NamedTuple):
    """What was chosen.

    Attributes:
        adjustment: by all images.
        shared: the groups whose temperature is that of all images.
        steps: what was tried, in this order.
        before: the logarithms of the probabilities without an adjustment, float64.
        after: with the adjustment that the other folds have chosen.
    """

    adjustment: Adjustment
    shared: list[int]
    steps: list[Step]
    before: Float[np.ndarray, "n classes"]
    after: Float[np.ndarray, "n classes"]


def choose(rows: Rows, seed: int = 0) -> Chosen:
    """Chooses an adjustment.

    Args:
        rows: at least `LEAST` images.
        seed: divides the images into folds.
    """
    fold = folds(rows.labels, FOLDS, seed, rows.image_groups)
    parts = [(rows.subset(fold != k), np.flatnonzero(fold == k)) for k in range(FOLDS)]
    whole, by_fold = Adjustment(), [Adjustment()] * FOLDS
    steps = []
    for name, fit, score in _CHOICES:
        if name == "mix" and rows.zero_shot is None:
            continue
        tried = [fit(others, known) for (others, _), known in zip(parts, by_fold, strict=True)]
        gains = np.empty(len(rows.labels))
        for (_, own), before, after in zip(parts, by_fold, tried, strict=True):
            held_out = rows.subset(own)
            gains[own] = score(held_out, after) - score(held_out, before)
        estimated = estimates(gains, rows.labels, rows.groups)
        fitted, overall = fit(rows, whole), estimated[0]
        kept = overall.mean is not None and overall.error is not None and overall.mean > overall.error
        steps.append(Step(name, fitted, estimated, kept))
        if kept:
            whole, by_fold = fitted, tried
    after = np.empty(rows.logits.shape)
    for (_, own), adjustment in zip(parts, by_fold, strict=True):
        after[own] = rows.subset(own).log_probabilities(adjustment)
    return Chosen(whole, _shared(predicted_groups(rows, whole)), steps, rows.log_probabilities(Adjustment()), after)


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


def fit_temperature(
    sums: Float[np.ndarray, "n classes"], labels: Int[np.ndarray, " n"], weights: Float[np.ndarray, " n"]
) -> float:
    """Finds the temperature from `LOWEST` to `HIGHEST` with the smallest negative log-likelihood.

    In 1 / temperature the likelihood is convex: this is Newton's method, kept between bounds.
    """
    low, high, inverse = 1 / HIGHEST, 1 / LOWEST, 1.0
    sums = sums - sums.max(axis=1, keepdims=True)
    true = np.take_along_axis(sums, labels[:, None], axis=1)[:, 0]
    for _ in range(100):
        p = np.exp(log_softmax(inverse * sums))
        mean = (p * sums).sum(axis=1)
        slope = weights @ (mean - true)
        curvature = weights @ ((p * sums**2).sum(axis=1) - mean**2)
        low, high = (low, inverse) if slope > 0 else (inverse, high)
        following = inverse - slope / curvature if curvature > 0 else 0.0
        if not low < following < high:
            following = np.sqrt(low * high)
        if abs(following - inverse) <= 1e-7 * inverse:
            break
        inverse = float(following)
    return float(np.clip(1 / inverse, LOWEST, HIGHEST))


def predicted_groups(rows: Rows, adjustment: Adjustment) -> Int[np.ndarray, " n"]:
    """Gives the group of the class that each image is taken for."""
    return rows.groups[rows.summed(adjustment).argmax(axis=1)]


def _right(rows: Rows, adjustment: Adjustment) -> Float[np.ndarray, " n"]:
    """Gives 100 for each image that is predicted right, else 0."""
    return 100.0 * (rows.summed(adjustment).argmax(axis=1) == rows.labels)


def _likelihood(rows: Rows, adjustment: Adjustment) -> Float[np.ndarray, " n"]:
    """Gives the logarithm of the probability of each image's true class."""
    return np.take_along_axis(rows.log_probabilities(adjustment), rows.labels[:, None], axis=1)[:, 0]


def _fit_mix(rows: Rows, known: Adjustment) -> Adjustment:
    return _most_accurate(rows, [known.model_copy(update={"mix": mix}) for mix in _MIXES])


def _fit_tau(rows: Rows, known: Adjustment) -> Adjustment:
    return _most_accurate(rows, [known.model_copy(update={"tau": tau}) for tau in _TAUS])


def _most_accurate(rows: Rows, adjustments: list[Adjustment]) -> Adjustment:
    accuracies = [rows.weights @ _right(rows, each) for each in adjustments]
    return adjustments[int(np.argmax(np.round(accuracies, 9)))]


def _fit_temperatures(rows: Rows, known: Adjustment) -> Adjustment:
    """Fits the temperature of each group; one that has fewer than `LEAST` images shares that of all images."""
    sums, predicted = rows.summed(known), predicted_groups(rows, known)
    temperatures = [fit_temperature(sums, rows.labels, rows.weights)] * 3
    for group in set(range(3)).difference(_shared(predicted)):
        own = predicted == group
        temperatures[group] = fit_temperature(sums[own], rows.labels[own], rows.weights[own])
    return known.model_copy(update={"temperatures": temperatures})


def _shared(predicted: Int[np.ndarray, " n"]) -> list[int]:
    """Finds the groups that too few images are taken for."""
    return np.flatnonzero(np.bincount(predicted, minlength=3) < LEAST).tolist()


_Choice = tuple[str, Callable[[Rows, Adjustment], Adjustment], Callable[[Rows, Adjustment], np.ndarray]]

_CHOICES: tuple[_Choice, ...] = (
    ("mix", _fit_mix, _right),
    ("tau", _fit_tau, _right),
    ("temperatures", _fit_temperatures, _likelihood),
)
"""What is chosen: its name, how it is chosen, and what the choice is meant to raise."""
