"""What training changes."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Int

from lift_jax.cluster import placement
from lift_jax.models.partition import Parts, Tree
from lift_jax.training.averaging import averaged


@flax.struct.dataclass
class TrainState:
    """All that a training step changes, and so all that a checkpoint needs besides the data iterator.

    Attributes:
        step: number of steps taken.
        trainable: the parts `tuner` and `head`, float32.
        opt_state: state of the optimizer over `trainable`, with their average where `config.ema` asks for one.
    """

    step: Int[Array, ""]
    trainable: dict[str, Tree]
    opt_state: optax.OptState

    @property
    def result(self) -> dict[str, Tree]:
        """What a run's results are of: the average of `trainable` over the steps if one is kept, else `trainable`."""
        return averaged(self.opt_state, self.trainable)


def initial_state(parts: Parts, tx: optax.GradientTransformation, mesh: Mesh) -> TrainState:
    """Makes the state before the first step, replicated over the mesh.

    Args:
        parts: the parameters, on the devices or as NumPy arrays.
        tx: the optimizer.
        mesh: all devices of the run.
    """
    trainable: Any = placement.replicate(parts.trainable, mesh)
    step = placement.replicate(jnp.zeros((), jnp.int32), mesh)
    # Under jit the optimizer's arrays are replicated over the mesh as the parameters are.
    return TrainState(step, trainable, placement.replicate(jax.jit(tx.init)(trainable), mesh))
