"""What a calibration chooses: each factor of an adjustment by the labelled images that it is given.

Every class counts the same, however many images it has: this is the mean class accuracy, and the uniform prior that
answers assume.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from lift_jax.evaluation.estimates import class_weights
from lift_jax.inference import pretraining_prior
from lift_jax.inference.adjustment import HIGHEST, LOWEST, Adjustment

LEAST = 30
"""Images that a choice takes at least."""

_MIXES = (0.0, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
_GAUSSIANS = (0.0, *(2.0**power for power in range(-7, 2)))
_TAUS = tuple(round(0.1 * step, 1) for step in sorted(range(-15, 16), key=abs))
"""The factors that are tried; of equally good ones, the first is chosen."""
_ALONE = {"run": 0.0, "mix": 1.0}
"""The factors of the zero-shot classifier without the run."""


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
        gaussians: the logits of Gaussians that have not seen the images, float32; None where there are none.
    """

    logits: Float[np.ndarray, "n classes"]
    zero_shot: Float[np.ndarray, "n classes"] | None
    labels: Int[np.ndarray, " n"]
    log_prior: Float[np.ndarray, " classes"]
    groups: Int[np.ndarray, " classes"]
    image_groups: Int[np.ndarray, " n"] | None = None
    gaussians: Float[np.ndarray, "n classes"] | None = None

    def subset(self, chosen: np.ndarray) -> "Rows":
        """Gives some of the images, by their indices or by a mask."""
        optional = {name: getattr(self, name) for name in ("zero_shot", "image_groups", "gaussians")}
        some = {name: None if array is None else array[chosen] for name, array in optional.items()}
        return dataclasses.replace(self, logits=self.logits[chosen], labels=self.labels[chosen], **some)

    @functools.cached_property
    def weights(self) -> Float[np.ndarray, " n"]:
        """Returns the weight of each image (see `class_weights`)."""
        return class_weights(self.labels)

    def summed(self, adjustment: Adjustment) -> Float[np.ndarray, "n classes"]:
        """Gives the sums of `Adjustment.summed`, float64."""
        logits = self.logits.astype(np.float64)
        return adjustment.summed(logits, self.zero_shot, self.log_prior, self.gaussians)

    def adjusted(self, adjustment: Adjustment) -> Float[np.ndarray, "n classes"]:
        """Gives the adjusted logits, float64."""
        return adjustment.divided(self.summed(adjustment), self.groups)

    def log_probabilities(self, adjustment: Adjustment) -> Float[np.ndarray, "n classes"]:
        """Gives the logarithms of the adjusted probabilities, float64."""
        return log_softmax(self.adjusted(adjustment))


def log_softmax(rows: Float[np.ndarray, "n classes"]) -> Float[np.ndarray, "n classes"]:
    """Gives the logarithm of the softmax of each row."""
    shifted = rows - rows.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


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


def _zero_shot_alone(rows: Rows, known: Adjustment) -> Adjustment:
    return known.model_copy(update=_ALONE)


def _fit_mix(rows: Rows, known: Adjustment) -> Adjustment:
    """Finds the factor of the zero-shot logits beside those of the run."""
    return _most_accurate(rows, known, [{"mix": mix} for mix in _MIXES])


def _fit_pretraining_prior(rows: Rows, known: Adjustment) -> Adjustment:
    """Fits the pre-training prior, and finds the factor of the zero-shot logits anew that is best with it."""
    assert rows.zero_shot is not None
    alike = np.isin(rows.groups, scarce(rows.groups[rows.labels]))
    prior = pretraining_prior.fit(rows.zero_shot, rows.labels, alike).tolist()
    factors = [*({"run": 1.0, "mix": mix} for mix in _MIXES if mix), _ALONE]
    return _most_accurate(rows, known, [{}, *({**each, "pretraining_prior": prior} for each in factors)])


def _fit_gaussians(rows: Rows, known: Adjustment) -> Adjustment:
    return _most_accurate(rows, known, [{"gaussians": factor} for factor in _GAUSSIANS])


def _fit_tau(rows: Rows, known: Adjustment) -> Adjustment:
    return _most_accurate(rows, known, [{"tau": tau} for tau in _TAUS])


def _most_accurate(rows: Rows, known: Adjustment, changes: Sequence[dict[str, Any]]) -> Adjustment:
    adjustments = [known.model_copy(update=each) for each in changes]
    accuracies = [rows.weights @ _right(rows, each) for each in adjustments]
    return adjustments[int(np.argmax(np.round(accuracies, 9)))]


def _fit_temperatures(rows: Rows, known: Adjustment) -> Adjustment:
    """Fits the temperature of each group; one that has fewer than `LEAST` images shares that of all images."""
    sums, predicted = rows.summed(known), predicted_groups(rows, known)
    temperatures = [fit_temperature(sums, rows.labels, rows.weights)] * 3
    for group in set(range(3)).difference(scarce(predicted)):
        own = predicted == group
        temperatures[group] = fit_temperature(sums[own], rows.labels[own], rows.weights[own])
    return known.model_copy(update={"temperatures": temperatures})


def scarce(groups: Int[np.ndarray, " n"]) -> list[int]:
    """Finds the groups that have fewer than `LEAST` images, by the group of each image."""
    return np.flatnonzero(np.bincount(groups, minlength=3) < LEAST).tolist()


class Choice(NamedTuple):
    """Something that is chosen.

    Attributes:
        name: what it is called.
        needs: the rows that it is chosen by besides the logits of the run; "" for none.
        fits: functions that choose it, given what is chosen already; the simplest is the first. What one of them
            chooses must be better than what was chosen already and than what those before it choose.
        score: what the choice is meant to raise, of each image.
    """

    name: str
    needs: str
    fits: Sequence[Callable[[Rows, Adjustment], Adjustment]]
    score: Callable[[Rows, Adjustment], Float[np.ndarray, " n"]]


CHOICES = (
    Choice("mix", "zero_shot", (_zero_shot_alone, _fit_mix), _right),
    Choice("pretraining_prior", "zero_shot", (_fit_pretraining_prior,), _right),
    Choice("gaussians", "gaussians", (_fit_gaussians,), _right),
    Choice("tau", "", (_fit_tau,), _right),
    Choice("temperatures", "", (_fit_temperatures,), _likelihood),
)
"""What is chosen, in this order."""
