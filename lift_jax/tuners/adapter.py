"""Adapter (Houlsby et al. 2019, arXiv 1902.00751): a bottleneck after the MLP."""

import functools

import flax.linen as nn
from jaxtyping import Array, Float

from lift_jax.models.sites import Tuner
from lift_jax.tuners.bottleneck import bottleneck, kaiming_normal
from lift_jax.tuners.effects import Branches
from lift_jax.tuners.spec import TunerSpec


class Adapter(Tuner):
    """Adds up(relu(down(ln(h)))) to the MLP branch, h being the branch's output.

    Attributes:
        dim: width of the bottleneck.
        down_init: initialiser of the down projection.
    """

    dim: int
    down_init: nn.initializers.Initializer = kaiming_normal

    @nn.compact
    def mlp(self, x: Float[Array, "b t d"], h: Float[Array, "b t d"]) -> Float[Array, "b t d"]:
        return h + bottleneck(h, self.dim, self.down_init)


ADAPTER = TunerSpec(
    "adapter",
    "the MLP branch, by a bottleneck after it",
    module=lambda sizes, block: functools.partial(Adapter, sizes.dim, sizes.down_init),
    options=("dim",),
    effect=Branches(),
    reference="adapter_list",
)
