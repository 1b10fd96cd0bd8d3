"""The losses of long-tail learning: one callable over logits, labels and a padding mask.

`make("LA", class_counts)` gives a `Loss`; `loss(logits, labels, mask)` its mean over the real examples of a batch. What
depends on the training set (priors, margins, weights) is worked out once, on the host. A class without training images
counts as one with a single image, which keeps every prior, margin and weight finite.
"""

import dataclasses
import difflib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int
from numpy.typing import ArrayLike

from lift_jax.errors import UserError

Labels = Int[Array | np.ndarray, " batch"]
Logits = Float[Array | np.ndarray, "batch classes"]
Mask = Bool[Array | np.ndarray, " batch"]
PerExample = Float[Array, " batch"]
Scalar = Float[Array, ""]

NAMES = ("CE", "Focal", "LDAM", "CB", "GRW", "BS", "LA", "LADE")


@dataclasses.dataclass(frozen=True, eq=False)
class Loss:
    """A loss over a batch: `sum(mask * weight[label] * example_loss) / normaliser`, and a batch-wise term in some.

    Attributes:
        name: The name that `make` knows it by.
        example_loss: (logits, labels) -> the loss of each example [batch], unweighted.
        class_weights: Weight of an example by its label, float32 [classes].
        batch_term: (logits, labels, mask) -> a scalar that is no sum over examples, or None.
    """

    name: str
    example_loss: Callable[[Logits, Labels], PerExample]
    class_weights: np.ndarray
    batch_term: Callable[[Logits, Labels, Mask], Scalar] | None = None

    @property
    def additive(self) -> bool:
        """Whether the losses of micro-batches add up to the loss of the batch (see `__call__`)."""
        return self.batch_term is None

    def normaliser(self, labels: Labels, mask: Mask | None = None) -> Scalar:
        """The divisor of a batch: the summed weights of its real examples (their number, if unweighted)."""
        labels, mask = _without_padding(labels, mask)
        return jnp.sum(self._weights(labels, mask))

    def _weights(self, labels: Array, mask: Array) -> PerExample:
        return jnp.where(mask, jnp.asarray(self.class_weights)[labels], 0.0)

    def __call__(
        self,
        logits: Logits,
        labels: Labels,
        mask: Mask | None = None,
        normaliser: Scalar | float | None = None,
    ) -> Scalar:
        """The loss of a batch, float32 whatever the type of the logits.

        A micro-batch that is given the `normaliser` of its whole batch returns its share: the shares, and their
        gradients, add up to the loss of the whole batch. So do the shards of a batch that is mapped over devices.
        Both hold only where `additive` is true.

        Args:
            logits: [batch, classes]; what stands in a padded row, NaN included, affects neither value nor gradient.
            labels: [batch], 0 to classes - 1 where `mask` is true, anything elsewhere.
            mask: [batch], false for padding; None if every example is real.
            normaliser: Divisor of the sum; that of this batch if None. A batch of padding alone has loss 0.
        """
        if normaliser is None:
            normaliser = self.normaliser(labels, mask)
        labels, mask = _without_padding(labels, mask)
        # Masked before the first operation, not after the last: a NaN times a zero gradient would still be NaN.
        logits = jnp.where(mask[:, None], jnp.asarray(logits, jnp.float32), 0.0)
        total = jnp.sum(self._weights(labels, mask) * self.example_loss(logits, labels))
        loss = total / jnp.where(normaliser > 0, normaliser, 1.0)
        return loss if self.batch_term is None else loss + self.batch_term(logits, labels, mask)


def make(
    name: str,
    class_counts: ArrayLike,
    *,
    tau: float = 1.0,
    gamma: float = 2.0,
    scale: float = 25.0,
    max_margin: float = 0.5,
    beta: float = 0.9999,
    exponent: float = 1.0,
    remine_lambda: float = 0.1,
    estim_loss_weight: float = 0.1,
) -> Loss:
    """The loss of that name, with the constants of the LIFT paper's experiments. Options of other losses are ignored.

    Args:
        name: One of `NAMES`.
        class_counts: Training images per class [classes].
        tau: LA: strength of the adjustment.
        gamma: Focal: exponent of the modulating factor, at least 0.
        scale: LDAM: the scale s of the margin, which is that of the cosine head.
        max_margin: LDAM: margin of the smallest class, before scaling.
        beta: CB: 0 (no weights) to below 1 (inverse frequency).
        exponent: GRW: rho, 0 (no weights) to 1 (inverse frequency) or more.
        remine_lambda: LADE: weight of the squared log-partition inside the regulariser.
        estim_loss_weight: LADE: alpha, weight of the regulariser.

    Raises:
        UserError: if no loss has that name, or `beta` is outside [0, 1).
    """
    check(name)
    counts = np.maximum(np.asarray(class_counts, np.float64), 1.0)
    log_prior = np.log(counts / counts.sum()).astype(np.float32)
    uniform = np.ones(len(counts), np.float32)
    match name:
        case "CE":
            return Loss(name, _cross_entropy, uniform)
        case "Focal":
            return Loss(name, _focal(gamma), uniform)
        case "LDAM":
            return Loss(name, _margin(scale * _ldam_margins(counts, max_margin)), uniform)
        case "CB":
            return Loss(name, _cross_entropy, _class_balanced_weights(counts, beta))
        case "GRW":
            return Loss(name, _cross_entropy, _reweighting(counts, exponent))
        case "BS":
            return Loss(name, _adjusted(log_prior), uniform)
        case "LA":
            return Loss(name, _adjusted(tau * log_prior), uniform)
        case _:
            return Loss(name, _adjusted(log_prior), uniform, _lade_term(counts, remine_lambda, estim_loss_weight))


def check(name: str) -> None:
    """Refuses a name that no loss has.

    Raises:
        UserError: with the nearest of `NAMES`.
    """
    if name not in NAMES:
        nearest = max(NAMES, key=lambda known: difflib.SequenceMatcher(None, known.lower(), str(name).lower()).ratio())
        raise UserError(f"config.loss is {name!r}, but the losses are {', '.join(NAMES)}: the nearest is {nearest!r}.")


def _without_padding(labels: Labels, mask: Mask | None) -> tuple[Array, Array]:
    """Labels that may be used as indices everywhere, and the mask as an array."""
    if mask is None:
        return jnp.asarray(labels), jnp.ones(labels.shape, bool)
    mask = jnp.asarray(mask, bool)
    return jnp.where(mask, labels, 0), mask


def _cross_entropy(logits: Logits, labels: Labels) -> PerExample:
    """Cross-entropy: -log softmax(logits)[label]."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels)


def _focal(gamma: float) -> Callable[[Logits, Labels], PerExample]:
    """Focal loss (Lin et al. 2017, eq. 4): (1 - p)^gamma * -log p, p the probability of the label."""

    def loss(logits: Logits, labels: Labels) -> PerExample:
        cross_entropy = _cross_entropy(logits, labels)
        # 1 - p without cancellation. It stays off 0, where the power has an infinite gradient for gamma below 1.
        wrong = jnp.maximum(-jnp.expm1(-cross_entropy), jnp.finfo(jnp.float32).tiny)
        return wrong**gamma * cross_entropy

    return loss


def _margin(margins: np.ndarray) -> Callable[[Logits, Labels], PerExample]:
    """-log softmax(logits - margin[label] at the label)[label] (LDAM, Cao et al. 2019).

    The paper scales cosine and margin together; here the logits come scaled, so only the margin is.
    """

    def loss(logits: Logits, labels: Labels) -> PerExample:
        is_label = jax.nn.one_hot(labels, logits.shape[-1], dtype=bool)
        return _cross_entropy(jnp.where(is_label, logits - margins, logits), labels)

    return loss


def _ldam_margins(counts: np.ndarray, max_margin: float) -> np.ndarray:
    """LDAM's margins (Cao et al. 2019): C / n^(1/4), with C such that the largest is `max_margin`."""
    margins = counts**-0.25
    return (margins * (max_margin / margins.max())).astype(np.float32)


def _class_balanced_weights(counts: np.ndarray, beta: float) -> np.ndarray:
    """Class-balanced loss (Cui et al. 2019): (1 - beta) / (1 - beta^n), scaled to mean 1.

    The power is rounded to float32 as in the published implementation. For beta near 1 that leaves `1 - beta^n` of the
    smallest classes four correct digits; exact weights would differ from the published losses by as much.
    """
    if not 0 <= beta < 1:
        raise UserError(f"The class-balanced loss has beta = {beta}: write a number from 0 to below 1.")
    power = (np.float64(np.float32(beta)) ** counts).astype(np.float32)
    weights = np.float32(1 - beta) / (np.float32(1) - power)
    return weights / weights.mean()


def _reweighting(counts: np.ndarray, exponent: float) -> np.ndarray:
    """Generalised re-weighting (Zhang et al. 2021, DisAlign): prior^-exponent, scaled to mean 1."""
    weights = (counts / counts.sum()) ** -exponent
    return (weights / weights.mean()).astype(np.float32)


def _adjusted(adjustment: np.ndarray) -> Callable[[Logits, Labels], PerExample]:
    """Cross-entropy of logits + adjustment.

    With tau * log prior this is the logit-adjusted loss (Menon et al. 2021, eq. 10); with tau 1 the balanced softmax
    (Ren et al. 2020, theorem 1), because log counts differ from log priors by a constant, which the softmax cancels.
    """

    def loss(logits: Logits, labels: Labels) -> PerExample:
        return _cross_entropy(logits + adjustment, labels)

    return loss


def _lade_term(counts: np.ndarray, remine_lambda: float, weight: float) -> Callable[[Logits, Labels, Mask], Scalar]:
    """The regulariser of LADE (Hong et al. 2021), which drives logit f_y to the log of the density ratio p(x|y) / p(x).

    Minus the mean under the prior of every class's regularised Donsker-Varadhan bound,

        E[f_y | y] - log E[w_y e^f_y] - lambda (log E[w_y e^f_y])^2,    w_y = (1 / classes) / prior_y,

    the second expectation over the whole batch. The first one is 0 for a class that the batch lacks.
    """
    prior = (counts / counts.sum()).astype(np.float32)
    log_importance = (np.log(1 / len(prior) + 1e-9) - np.log(counts / counts.sum() + 1e-9)).astype(np.float32)

    def term(logits: Logits, labels: Labels, mask: Mask) -> Scalar:
        is_label = jax.nn.one_hot(labels, len(prior)) * mask[:, None]
        mean_of_label = jnp.sum(is_label * logits, axis=0) / (jnp.sum(is_label, axis=0) + 1e-8)
        real = jnp.sum(mask)
        # A batch of padding alone: a sum of ones instead of a sum of none, whose logarithm has no gradient.
        counted = (mask | (real == 0))[:, None]
        log_sum = jax.nn.logsumexp(logits + log_importance, axis=0, where=counted)
        log_mean = log_sum - jnp.log(jnp.maximum(real, 1).astype(jnp.float32))
        bound = mean_of_label - log_mean - remine_lambda * log_mean**2
        return jnp.where(real > 0, -weight * jnp.sum(prior * bound), 0.0)

    return term
