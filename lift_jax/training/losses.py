"""The losses of long-tail learning: one callable over logits, labels and a padding mask.

`make("LA", class_counts)` gives a `Loss`; `loss(logits, labels, mask)` is its mean over the real examples of a batch.
What depends on the training set (priors, margins, weights) is worked out once, on the host. A class without training
images counts as one with a single image, which keeps every prior, margin and weight finite.
"""

import dataclasses
import difflib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool
from numpy.typing import ArrayLike

from lift_jax.errors import UserError
from lift_jax.training import loss_terms as terms
from lift_jax.training.loss_terms import Labels, Logits, Mask, PerExample, Scalar
from lift_jax.training.priors import LogitPrior


@dataclasses.dataclass(frozen=True, eq=False)
class Loss:
    """A loss over a batch: `sum(mask * weight[label] * example_loss) / normaliser`, and a batch-wise term in some.

    Attributes:
        name: The name that `make` knows it by.
        example_loss: (logits, labels) -> the loss of each example [batch], unweighted.
        class_weights: Weight of an example by its label, float32 [classes].
        batch_term: (logits, labels, mask) -> a scalar that is no sum over examples, or None.
        with_tau: Strength of the logit adjustment, which may be a traced value -> the loss; None if it has none.
    """

    name: str
    example_loss: Callable[[Logits, Labels], PerExample]
    class_weights: np.ndarray
    batch_term: Callable[[Logits, Labels, Mask], Scalar] | None = None
    with_tau: Callable[[Any], "Loss"] | None = None

    def at(self, tau: Any) -> "Loss":
        """Gives the loss with another strength of the logit adjustment; itself if it has no such strength."""
        return self if self.with_tau is None else self.with_tau(tau)

    @property
    def additive(self) -> bool:
        """Whether the losses of micro-batches add up to the loss of the batch (see `__call__`)."""
        return self.batch_term is None

    def normaliser(self, labels: Labels, mask: Mask | None = None) -> Scalar:
        """Gives the divisor of a batch: the summed weights of its real examples, without weights their number."""
        labels, mask = _without_padding(labels, mask)
        return jnp.sum(self._weights(labels, mask))

    def correct(self, logits: Logits, labels: Labels) -> Bool[Array, " batch"]:
        """Says which examples are classified right."""
        return jnp.argmax(logits, axis=-1) == labels

    def _weights(self, labels: Array, mask: Array) -> PerExample:
        return jnp.where(mask, jnp.asarray(self.class_weights)[labels], 0.0)

    def __call__(
        self,
        logits: Logits,
        labels: Labels,
        mask: Mask | None = None,
        normaliser: Scalar | float | None = None,
    ) -> Scalar:
        """Computes the loss of a batch, in float32 whatever the dtype of the logits.

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


@dataclasses.dataclass(frozen=True)
class Constants:
    """The constants of the losses, those of the LIFT paper's experiments by default; each loss reads its own.

    Attributes:
        tau: LA: strength of the adjustment.
        gamma: Focal: exponent of the modulating factor, at least 0.
        scale: LDAM: the scale s of the margin, which is that of the cosine head.
        max_margin: LDAM: margin of the smallest class, before scaling.
        beta: CB: 0 (no weights) to below 1 (inverse frequency).
        exponent: GRW: rho, 0 (no weights) to 1 (inverse frequency) or more.
        remine_lambda: LADE: weight of the squared log-partition inside the regulariser.
        estim_loss_weight: LADE: alpha, weight of the regulariser.
    """

    tau: float = 1.0
    gamma: float = 2.0
    scale: float = 25.0
    max_margin: float = 0.5
    beta: float = 0.9999
    exponent: float = 1.0
    remine_lambda: float = 0.1
    estim_loss_weight: float = 0.1


@dataclasses.dataclass(frozen=True)
class LossSpec:
    """What is known of a loss by its name.

    Attributes:
        build: (name, training images of each class, constants) to the loss.
        uses_head_scale: whether the scale of the head enters its formula.
        prior: tau to what the loss leaves of the training prior in the logits.
    """

    build: Callable[[str, np.ndarray, Constants], Loss]
    uses_head_scale: bool = False
    prior: Callable[[float], LogitPrior] = lambda tau: LogitPrior("uniform")


def _unweighted(name: str, counts: np.ndarray, example_loss: Callable[[Logits, Labels], PerExample]) -> Loss:
    return Loss(name, example_loss, np.ones(len(counts), np.float32))


def _ce(name: str, counts: np.ndarray, constants: Constants) -> Loss:
    return _unweighted(name, counts, terms.cross_entropy)


def _focal(name: str, counts: np.ndarray, constants: Constants) -> Loss:
    return _unweighted(name, counts, terms.focal(constants.gamma))


def _ldam(name: str, counts: np.ndarray, constants: Constants) -> Loss:
    margins = terms.ldam_margins(counts, constants.max_margin)
    return _unweighted(name, counts, terms.margin(constants.scale * margins))


def _cb(name: str, counts: np.ndarray, constants: Constants) -> Loss:
    return Loss(name, terms.cross_entropy, terms.class_balanced_weights(counts, constants.beta))


def _grw(name: str, counts: np.ndarray, constants: Constants) -> Loss:
    return Loss(name, terms.cross_entropy, terms.reweighting(counts, constants.exponent))


def _bs(name: str, counts: np.ndarray, constants: Constants) -> Loss:
    return _unweighted(name, counts, terms.adjusted(log_prior(counts)))


def _la(name: str, counts: np.ndarray, constants: Constants) -> Loss:
    def with_tau(tau: Any) -> Loss:
        # The barrier keeps the compiler from rounding product and sum together, as it would not with a constant tau.
        adjustment = jax.lax.optimization_barrier(jnp.float32(tau) * log_prior(counts))
        return _unweighted(name, counts, terms.adjusted(adjustment))

    constant = terms.adjusted(constants.tau * log_prior(counts))
    return dataclasses.replace(_unweighted(name, counts, constant), with_tau=with_tau)


def _lade(name: str, counts: np.ndarray, constants: Constants) -> Loss:
    term = terms.lade_term(counts, constants.remine_lambda, constants.estim_loss_weight)
    return dataclasses.replace(_bs(name, counts, constants), batch_term=term)


def _learnt(tau: float) -> LogitPrior:
    return LogitPrior("training")


LOSSES: Mapping[str, LossSpec] = {
    "CE": LossSpec(_ce, prior=_learnt),
    "Focal": LossSpec(_focal, prior=_learnt),
    "LDAM": LossSpec(_ldam, prior=_learnt, uses_head_scale=True),
    "CB": LossSpec(_cb),  # its weights, and those of GRW, take the prior away
    "GRW": LossSpec(_grw),
    "BS": LossSpec(_bs),
    "LA": LossSpec(_la, prior=lambda tau: LogitPrior("uniform", strength=tau)),
    "LADE": LossSpec(_lade),
}
"""Every loss, by the name that `config.loss` has for it."""


def spec(name: str) -> LossSpec:
    """Finds a loss by its name.

    Raises:
        UserError: if no loss has that name; it says the nearest.
    """
    if name not in LOSSES:
        nearest = max(LOSSES, key=lambda known: difflib.SequenceMatcher(None, known.lower(), str(name).lower()).ratio())
        raise UserError(f"config.loss is {name!r}, but the losses are {', '.join(LOSSES)}: the nearest is {nearest!r}.")
    return LOSSES[name]


def make(name: str, class_counts: ArrayLike, **constants: float) -> Loss:
    """Makes the loss of that name.

    Args:
        name: a key of `LOSSES`.
        class_counts: training images of each class [classes].
        constants: those of `Constants` that differ from their defaults.

    Raises:
        UserError: if no loss has that name, or `beta` is outside [0, 1).
    """
    counts = np.maximum(np.asarray(class_counts, np.float64), 1.0)
    return spec(name).build(name, counts, Constants(**constants))


def log_prior(class_counts: ArrayLike) -> np.ndarray:
    """Gives the logarithm of each class's share of the training set, float32 [classes]."""
    counts = np.maximum(np.asarray(class_counts, np.float64), 1.0)
    return np.log(counts / counts.sum()).astype(np.float32)


def _without_padding(labels: Labels, mask: Mask | None) -> tuple[Array, Array]:
    """Labels that may be used as indices everywhere, and the mask as an array."""
    if mask is None:
        return jnp.asarray(labels), jnp.ones(labels.shape[:1], bool)
    mask = jnp.asarray(mask, bool)
    if labels.ndim == 2:
        return jnp.where(mask[:, None], labels, False), mask
    return jnp.where(mask, labels, 0), mask
