"""The losses of images with several labels: one binary problem for each class.

`make("LA", class_counts, num_images)` gives a `Loss`. The loss of an image is the sum over the classes of that of
"is it of this class?", and the loss of a batch the mean over its images. Labels are bool [batch, classes].
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float
from numpy.typing import ArrayLike

from lift_jax.errors import UserError
from lift_jax.training.loss_terms import Logits, PerExample
from lift_jax.training.losses import LOSSES as LOSSES_OF_ONE_LABEL
from lift_jax.training.losses import Loss
from lift_jax.training.priors import LogitPrior

LabelSets = Bool[Array | np.ndarray, "batch classes"]
ImageLoss = Callable[[Logits, LabelSets], PerExample]


@dataclasses.dataclass(frozen=True, eq=False)
class MultilabelLoss(Loss):
    """A loss over a batch of images with several labels, each of which counts the same (see `Loss`)."""

    def correct(self, logits: Logits, labels: Any) -> Bool[Array, " batch"]:
        """Says whether an image's highest logit is of one of its classes; if it has none, whether all are below 0."""
        first = jnp.argmax(logits, axis=-1, keepdims=True)
        hit = jnp.take_along_axis(jnp.asarray(labels, bool), first, axis=-1)[:, 0]
        return hit | (~jnp.any(labels, axis=-1) & (jnp.max(logits, axis=-1) < 0))

    def _weights(self, labels: Array, mask: Array) -> PerExample:
        return jnp.where(mask, 1.0, 0.0)


@dataclasses.dataclass(frozen=True)
class Balancing:
    """The constants of the distribution-balanced loss, those of its authors' experiments on VOC-MLT.

    Attributes:
        alpha: the least weight of a class.
        beta: how steeply the weight grows with the share of an image's draws that a class is to have.
        mu: the share at which it grows most.
        kappa: strength of the margin that rare classes get.
        negative_scale: lambda, by how much the logit of a class that the image is not of is stretched, so that it soon
            is small enough.
    """

    alpha: float = 0.1
    beta: float = 10.0
    mu: float = 0.3
    kappa: float = 0.05
    negative_scale: float = 5.0


def binary_cross_entropy(logits: Logits, labels: LabelSets) -> PerExample:
    """Computes the sum over classes of -log sigmoid(z) where the image is of the class, and -log sigmoid(-z) else."""
    return jnp.sum(jax.nn.softplus(jnp.where(labels, -logits, logits)), axis=-1)


def adjusted(adjustment: Any) -> ImageLoss:
    """Computes the binary cross-entropy of logits + adjustment.

    With tau * log(pi / (1 - pi)), where pi is the share of the training images that are of the class, this is the
    logit-adjusted loss (Menon et al. 2021, eq. 10) of each binary problem: its logits are z and 0, its priors pi and
    1 - pi, and of tau log pi and tau log (1 - pi), which are added to them, only the difference counts.
    """

    def loss(logits: Logits, labels: LabelSets) -> PerExample:
        return binary_cross_entropy(logits + adjustment, labels)

    return loss


def distribution_balanced(
    counts: Float[np.ndarray, " classes"],
    log_odds: Float[np.ndarray, " classes"],
    constants: Balancing = Balancing(),  # it is frozen
) -> ImageLoss:
    """Computes the distribution-balanced loss, without its focal factor (Wu et al. 2020, "Distribution-Balanced Loss
    for Multi-Label Classification in Long-Tailed Datasets"):

        sum over c of r_c (y_c log(1 + e^-(z_c - nu_c)) + (1 - y_c) / lambda log(1 + e^(lambda (z_c - nu_c))))
        r_c = alpha + sigmoid(beta ((1 / n_c) / (sum over the image's classes i of 1 / n_i) - mu))
        nu_c = -kappa log(pi_c / (1 - pi_c))

    The paper divides the sum by the number of classes. The weights of an image without labels, of which the paper has
    none, are those of the limit, alpha + 1.

    Args:
        counts: training images of each class, n.
        log_odds: log(pi / (1 - pi)) of each class.
        constants: alpha, beta, mu, kappa and lambda.
    """
    c, rarity = constants, (1 / counts).astype(np.float32)
    shift = np.float32(c.kappa) * log_odds  # -nu

    def loss(logits: Logits, labels: LabelSets) -> PerExample:
        drawn = jnp.sum(jnp.where(labels, rarity, 0.0), axis=-1, keepdims=True)
        share = rarity / jnp.where(drawn > 0, drawn, 1.0)
        grown = jnp.where(drawn > 0, jax.nn.sigmoid(c.beta * (share - c.mu)), 1.0)
        z = logits + shift
        scale = c.negative_scale
        terms = jnp.where(labels, jax.nn.softplus(-z), jax.nn.softplus(scale * z) / scale)
        return jnp.sum((c.alpha + grown) * terms, axis=-1)

    return loss


def log_odds(class_counts: ArrayLike, num_images: int) -> Float[np.ndarray, " classes"]:
    """Gives log(pi / (1 - pi)) of each class, pi being its share of the training images, float32.

    A class without images counts as one with one, and a class of all images as one that one of them is not of.
    """
    counts = np.clip(np.asarray(class_counts, np.float64), 1.0, max(num_images - 1.0, 1.0))
    return np.log(counts / np.maximum(num_images - counts, 1.0)).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class MultilabelLossSpec:
    """What is known of a loss by its name.

    Attributes:
        build: (training images of each class, their log odds, tau) to the loss of each image.
        prior: tau to what the loss leaves of the training prior in the logits.
        has_tau: whether tau enters its formula.
        uses_head_scale: whether the scale of the head does.
    """

    build: Callable[[np.ndarray, np.ndarray, Any], ImageLoss]
    prior: Callable[[float], LogitPrior] = lambda tau: LogitPrior("training")
    has_tau: bool = False
    uses_head_scale: bool = False


LOSSES: Mapping[str, MultilabelLossSpec] = {
    "LA": MultilabelLossSpec(
        lambda counts, odds, tau: adjusted(tau * odds), lambda tau: LogitPrior("uniform", strength=tau), has_tau=True
    ),
    "BCE": MultilabelLossSpec(lambda counts, odds, tau: binary_cross_entropy),
    "DB": MultilabelLossSpec(lambda counts, odds, tau: distribution_balanced(counts, odds)),
}
"""Every loss of images with several labels, by the name that `config.loss` has for it."""


def spec(name: str) -> MultilabelLossSpec:
    """Finds a loss by its name.

    Raises:
        UserError: if no loss has that name, or it is one of images with one label each.
    """
    if name not in LOSSES:
        why = "needs one label an image" if name in LOSSES_OF_ONE_LABEL else "is none"
        raise UserError(
            f"config.loss is {name!r}, which {why}; the losses of config.task=multilabel are {', '.join(LOSSES)}: "
            "binary cross-entropy with logit adjustment, plain, and distribution-balanced."
        )
    return LOSSES[name]


def make(name: str, class_counts: ArrayLike, num_images: int, tau: float = 1.0) -> MultilabelLoss:
    """Makes the loss of that name.

    Args:
        name: a key of `LOSSES`.
        class_counts: training images of each class [classes].
        num_images: training images.
        tau: strength of the logit adjustment, in losses that have one.

    Raises:
        UserError: if no loss has that name.
    """
    found, odds = spec(name), log_odds(class_counts, num_images)
    counts = np.maximum(np.asarray(class_counts, np.float64), 1.0)
    made = functools.partial(MultilabelLoss, name, class_weights=np.ones(len(counts), np.float32))

    def with_tau(tau: Any) -> Loss:
        # As the adjustment of one label: the compiler is not to round product and sum together.
        return made(found.build(counts, jax.lax.optimization_barrier(jnp.float32(tau) * odds), 1.0))

    return made(found.build(counts, odds, np.float32(tau)), with_tau=with_tau if found.has_tau else None)
