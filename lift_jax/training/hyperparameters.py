"""The numbers of a training that its compiled program takes as arguments, so that they may differ among members."""

from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from lift_jax.cluster import placement


class Hyperparameters(NamedTuple):
    """Numbers that one program takes for every training: float32 scalars, or arrays with an entry for each member.

    Attributes:
        lr: the learning rate at the start.
        momentum: of SGD.
        weight_decay: of SGD, on every trainable parameter.
        tau: the strength of the loss's logit adjustment; losses without one do not read it.
    """

    lr: Any
    momentum: Any = 0.9
    weight_decay: Any = 5e-4
    tau: Any = 1.0

    def placed(self, mesh: Mesh) -> "Hyperparameters":
        """Puts the numbers on all devices, as float32."""
        return placement.replicate(jax.tree.map(np.float32, self), mesh)


def stacked(members: list[Hyperparameters], mesh: Mesh) -> Hyperparameters:
    """Makes arrays with an entry for each member, on all devices."""
    arrays = jax.tree.map(lambda *numbers: np.array(numbers, np.float32), *members)
    return placement.replicate(arrays, mesh)
