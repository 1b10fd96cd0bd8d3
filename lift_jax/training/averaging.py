"""The average of the trained parameters over the steps, kept beside them."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int


class Average(NamedTuple):
    """The state of `average`.

    Attributes:
        steps: number of steps that were taken.
        parameters: the average of the parameters after each of them; before the first one the parameters themselves.
    """

    steps: Int[Array, ""]
    parameters: optax.Params


def average(decay: float) -> optax.GradientTransformation:
    """Averages the parameters after each step, those of recent steps more; the updates pass through unchanged.

    After step t it is sum_i decay^(t - i) p_i / sum_i decay^(t - i), i from 1 to t: the exponential moving average with
    its bias towards the start corrected (Kingma and Ba 2015, arXiv 1412.6980, section 7.2). So it is a weighted mean at
    any step, also in a training of fewer steps than 1 / (1 - decay), and neither the random start of a tuner nor the
    constants of a warm-up have a part in it.

    Being a part of the optimizer's state, it is saved, restored and stacked with that.

    Args:
        decay: in (0, 1).
    """
    log_decay = math.log(decay)

    def init(params: optax.Params) -> Average:
        # A copy: the step may use up the parameters' own arrays.
        return Average(jnp.zeros((), jnp.int32), jax.tree.map(jnp.copy, params))

    def update(updates: optax.Updates, state: Average, params: optax.Params | None = None) -> tuple[Any, Average]:
        assert params is not None
        steps = state.steps + 1
        share = jnp.expm1(log_decay) / jnp.expm1(steps * log_decay)  # (1 - decay) / (1 - decay^t), which is 1 at first
        new = optax.incremental_update(optax.apply_updates(params, updates), state.parameters, share)
        return updates, Average(steps, new)

    return optax.GradientTransformation(init, update)  # pyright: ignore[reportArgumentType]


def averaged(opt_state: optax.OptState, trainable: Any) -> Any:
    """Gives the average that the optimizer's state holds; `trainable` itself if it holds none."""

    def found(state: Any) -> bool:
        return isinstance(state, Average)

    kept = [state.parameters for state in jax.tree.leaves(opt_state, is_leaf=found) if found(state)]
    return kept[0] if kept else trainable
