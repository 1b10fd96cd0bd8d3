"""The formulas of the losses: the loss of each example, weights of the classes, and a term over a whole batch."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int

from lift_jax.errors import UserError

Labels = Int[Array | np.ndarray, " batch"]
Logits = Float[Array | np.ndarray, "batch classes"]
Mask = Bool[Array | np.ndarray, " batch"]
PerExample = Float[Array, " batch"]
Scalar = Float[Array, ""]


def cross_entropy(logits: Logits, labels: Labels) -> PerExample:
    """Computes the cross-entropy, -log softmax(logits)[label]."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels)


def focal(gamma: float) -> Callable[[Logits, Labels], PerExample]:
    """Computes the focal loss (Lin et al. 2017, eq. 4), (1 - p)^gamma * -log p, p being the label's probability."""

    def loss(logits: Logits, labels: Labels) -> PerExample:
        log_loss = cross_entropy(logits, labels)
        # 1 - p without cancellation. It stays off 0, where the power has an infinite gradient for gamma below 1.
        wrong = jnp.maximum(-jnp.expm1(-log_loss), jnp.finfo(jnp.float32).tiny)
        return wrong**gamma * log_loss

    return loss


def margin(margins: np.ndarray) -> Callable[[Logits, Labels], PerExample]:
    """Computes -log softmax(logits - margin[label] at the label)[label] (LDAM, Cao et al. 2019).

    The paper scales cosine and margin together; here the logits come scaled, so only the margin is.
    """

    def loss(logits: Logits, labels: Labels) -> PerExample:
        is_label = jax.nn.one_hot(labels, logits.shape[-1], dtype=bool)
        return cross_entropy(jnp.where(is_label, logits - margins, logits), labels)

    return loss


def ldam_margins(counts: np.ndarray, max_margin: float) -> np.ndarray:
    """Computes LDAM's margins (Cao et al. 2019), C / n^(1/4), with C such that the largest is `max_margin`."""
    margins = counts**-0.25
    return (margins * (max_margin / margins.max())).astype(np.float32)


def class_balanced_weights(counts: np.ndarray, beta: float) -> np.ndarray:
    """Computes the weights of the class-balanced loss (Cui et al. 2019), (1 - beta) / (1 - beta^n), scaled to mean 1.

    The power is rounded to float32 as in the published implementation. For beta near 1 that leaves `1 - beta^n` of the
    smallest classes four correct digits; exact weights would differ from the published losses by as much.
    """
    if not 0 <= beta < 1:
        raise UserError(f"The class-balanced loss has beta = {beta}: write a number from 0 to below 1.")
    power = (np.float64(np.float32(beta)) ** counts).astype(np.float32)
    weights = np.float32(1 - beta) / (np.float32(1) - power)
    return weights / weights.mean()


def reweighting(counts: np.ndarray, exponent: float) -> np.ndarray:
    """Computes the weights of DisAlign (Zhang et al. 2021), prior^-exponent, scaled to mean 1."""
    weights = (counts / counts.sum()) ** -exponent
    return (weights / weights.mean()).astype(np.float32)


def adjusted(adjustment: np.ndarray) -> Callable[[Logits, Labels], PerExample]:
    """Computes the cross-entropy of logits + adjustment.

    With tau * log prior this is the logit-adjusted loss (Menon et al. 2021, eq. 10); with tau 1 the balanced softmax
    (Ren et al. 2020, theorem 1), because log counts differ from log priors by a constant, which the softmax cancels.
    """

    def loss(logits: Logits, labels: Labels) -> PerExample:
        return cross_entropy(logits + adjustment, labels)

    return loss


def lade_term(counts: np.ndarray, remine_lambda: float, weight: float) -> Callable[[Logits, Labels, Mask], Scalar]:
    """Computes the regulariser of LADE (Hong et al. 2021), which drives logit f_y to log p(x|y) / p(x).

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
