"""What is expected of images beforehand: which classes can occur, and how frequent they are."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from lift_jax.data import named_classes
from lift_jax.data.named_classes import SomeClasses
from lift_jax.errors import UserError
from lift_jax.inference import deciding
from lift_jax.inference.run_classifier import Outputs, RunClassifier
from lift_jax.training.priors import PRIORS, Prior
from lift_jax.workdir.logs import Logs

AnyPrior = Prior | Literal["estimate"] | Mapping[str, float] | Float[np.ndarray, " classes"]
"""How frequent the classes are expected to be; see `lift_jax.inference.model.Model.predict`."""


def possible(
    class_names: Sequence[str], prior: AnyPrior | None, only: SomeClasses | None = None
) -> Bool[np.ndarray, " classes"]:
    """Says which classes have a probability above 0 beforehand.

    Args:
        class_names: the names of the classes in label order.
        prior, only: see `lift_jax.inference.model.Model.predict`.

    Raises:
        UserError: if a class or prior is not known, or there is no such class.
    """
    can_occur = np.ones(len(class_names), bool)
    if only is not None:
        can_occur[:] = False
        can_occur[named_classes.labels(only, class_names, "The list of possible classes")] = True
    if prior is not None and not isinstance(prior, str):
        can_occur &= deciding.prior_weights(prior, class_names, can_occur) > 0
    if not can_occur.any():
        raise UserError(
            "No class of the run can occur, by the classes and the prior that are given; name at least one class "
            "that has a weight above 0."
        )
    return can_occur


def shift(classifier: RunClassifier, prior: AnyPrior, only: SomeClasses | None) -> Float[np.ndarray, " classes"] | None:
    """Gives what is added to the logits for a prior among the possible classes, None for nothing.

    A prior that is estimated is put in later, in the place of the uniform one.
    """
    can_occur = possible(classifier.class_names, prior, only)
    if isinstance(prior, str):
        if prior not in (*PRIORS, "estimate"):
            raise UserError(f"The prior {prior!r} is not known; write uniform, training or estimate, or weights.")
        added = classifier.log_prior_shift("uniform" if prior == "estimate" else prior)
        if only is None:
            return added
    else:
        added = classifier.log_prior_shift("uniform")
        weights = deciding.prior_weights(prior, classifier.class_names, can_occur)
        with np.errstate(divide="ignore"):
            log_weights = np.log(weights / weights.sum())
        added = log_weights if added is None else added + log_weights
    added = np.zeros(len(can_occur)) if added is None else added
    return np.where(can_occur, added, -np.inf).astype(np.float32)


def with_estimated(batches: Iterable[Outputs], class_names: Sequence[str], logs: Logs) -> Iterator[Outputs]:
    """Puts the prior that all batches together suggest in the place of the uniform one."""
    known = list(batches)
    if not known:
        return
    images = sum(len(each.index) for each in known)
    if images < len(class_names):
        logs.warning(
            f"The prior is estimated from {images:,} image{'' if images == 1 else 's'} for {len(class_names):,} "
            "classes, which says little; give more images at a time, or name another prior."
        )
    found = deciding.estimate_prior(np.concatenate([each.probabilities for each in known]))
    logs.info(found.sentence(class_names))
    for each in known:
        yield each._replace(probabilities=deciding.reweighted(each.probabilities, found.prior))
