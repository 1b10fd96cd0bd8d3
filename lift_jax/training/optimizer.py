"""SGD as the paper uses it, over the parts that are trained."""

import math
from collections.abc import Callable, Hashable
from typing import Any

import jax.numpy as jnp
import optax
from jaxtyping import Array

from lift_jax.errors import UserError
from lift_jax.models.partition import FROZEN, HEAD, TUNER
from lift_jax.training.averaging import average


def cosine(lr: float, num_epochs: int, steps_per_epoch: int, every: str = "cosine_epoch") -> Callable[[Any], Array]:
    """Makes the schedule lr (1 + cos(pi t)) / 2, t from 0 to 1 over the training (Loshchilov and Hutter 2017, eq. 5).

    Args:
        lr: at the start.
        num_epochs: epochs of the training.
        steps_per_epoch: steps of one epoch.
        every: "cosine_epoch", where t is epoch / num_epochs and constant within an epoch, as in the reference
            implementation; or "cosine_step", where t is step / steps.
    """

    if every not in ("cosine_epoch", "cosine_step"):
        raise UserError(f"config.schedule is {every!r}; write cosine_epoch or cosine_step.")
    unit = steps_per_epoch if every == "cosine_epoch" else 1  # steps for which t stays the same

    def schedule(step: Any) -> Array:
        t = (step // unit) * unit / (num_epochs * steps_per_epoch)
        return lr * 0.5 * (1 + jnp.cos(math.pi * t))

    return schedule


def make(
    schedule: optax.ScalarOrSchedule, momentum: Any, weight_decay: Any, ema: float = 0.0, head_alone: bool = False
) -> optax.GradientTransformation:
    """Makes SGD with momentum and coupled weight decay on every trainable parameter, masked by part.

    v <- momentum v + (g + weight_decay p), p <- p - lr v, as PyTorch's SGD without dampening.

    The tree's top level names the parts (`lift_jax.models.partition.Parts`): those that train may be there alone, and a
    part `frozen` that is there is not changed.

    Args:
        schedule: the learning rate, or a function of the step that gives it.
        momentum, weight_decay: see above.
        ema: decay of the average of the parameters that is kept in the state (`lift_jax.training.averaging`); 0 for
            none.
        head_alone: whether the part `tuner` is not changed either.
    """
    sgd = optax.chain(optax.add_decayed_weights(weight_decay), optax.sgd(schedule, momentum=momentum))
    none = optax.set_to_zero()
    parts: dict[Hashable, optax.GradientTransformation] = {TUNER: none if head_alone else sgd, HEAD: sgd, FROZEN: none}
    tx = optax.partition(parts, lambda tree: {part: part for part in tree})
    return optax.chain(tx, average(ema)) if ema else tx
