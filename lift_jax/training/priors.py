"""What a loss leaves of the training set's class frequencies in the logits, and how other frequencies are put in."""

import dataclasses
from typing import Literal

from lift_jax.errors import UserError

Prior = Literal["uniform", "training"]
PRIORS: tuple[Prior, ...] = ("uniform", "training")


@dataclasses.dataclass(frozen=True)
class LogitPrior:
    """How frequent the logits take the classes to be, and what changes that.

    The logit-adjusted loss (Menon et al. 2021, "Long-tail learning via logit adjustment", eq. 10; LIFT's equation 3)
    adds tau * log(prior of the training set) to the logits in training alone, so the logits that are learned have no
    prior in them, and adding tau * log prior gives the posterior of the training set. Logits of a plain loss have the
    training prior in them, and subtracting log prior takes it away.

    Attributes:
        known: the prior of the logits as they are: "uniform" or "training".
        strength: factor of log prior between the two.
    """

    known: Prior
    strength: float = 1.0

    def shift(self, prior: Prior) -> float:
        """Gives the factor of log prior that is added to the logits for a prior.

        Raises:
            UserError: if the prior is not known.
        """
        if prior not in PRIORS:
            raise UserError(f"The prior {prior!r} is not known; write uniform or training.")
        if prior == self.known:
            return 0.0
        return self.strength if prior == "training" else -self.strength
