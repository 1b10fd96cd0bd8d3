"""LoRA (Hu et al. 2022, arXiv 2106.09685, eq. 3): a product of two thin matrices beside a linear layer."""

import functools

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from lift_jax.models.linear import matmul
from lift_jax.models.sites import LinearName, Tuner
from lift_jax.tuners.effects import Products
from lift_jax.tuners.spec import TunerSpec

# The reference applies PyTorch's kaiming_uniform with a = sqrt(5) to an (in, r) array, whose fan it takes to be r:
# uniform in +-1 / sqrt(r).
_a_init = nn.initializers.variance_scaling(1 / 3, "fan_out", "uniform")


class LowRank(nn.Module):
    """x A B / r. B starts at zero, and so does the result.

    Attributes:
        rank: r.
        features: of the result.
    """

    rank: int
    features: int

    @nn.compact
    def __call__(self, x: Float[Array, "b t i"]) -> Float[Array, "b t o"]:
        a = self.param("lora_A", _a_init, (x.shape[-1], self.rank))
        b = self.param("lora_B", nn.initializers.zeros, (self.rank, self.features))
        return matmul(matmul(x, a.astype(x.dtype)), b.astype(x.dtype)) / self.rank


class LoRA(Tuner):
    """Adds low-rank products to the queries and the values.

    Attributes:
        rank: r.
    """

    rank: int

    @nn.compact
    def linear(self, name: LinearName, x: Float[Array, "b t i"], y: Float[Array, "b t o"]) -> Float[Array, "b t o"]:
        if name != "attn_in":
            return y
        width = y.shape[-1] // 3
        q, v = (LowRank(self.rank, width, name=part)(x) for part in "qv")
        return y + jnp.concatenate([q, jnp.zeros_like(q), v], axis=-1)


class MLPLoRA(Tuner):
    """Adds low-rank products to both layers of the MLP.

    Attributes:
        rank: r.
    """

    rank: int

    @nn.compact
    def linear(self, name: LinearName, x: Float[Array, "b t i"], y: Float[Array, "b t o"]) -> Float[Array, "b t o"]:
        return y + LowRank(self.rank, y.shape[-1], name=name)(x) if name in ("mlp_in", "mlp_out") else y


LORA = TunerSpec(
    "lora",
    "queries and values",
    module=lambda sizes, block: functools.partial(LoRA, sizes.rank),
    options=("dim",),
    effect=Products(),
    reference="lora_list",
)
LORA_MLP = TunerSpec(
    "lora_mlp",
    "the outputs of both layers of the MLP",
    module=lambda sizes, block: functools.partial(MLPLoRA, sizes.rank),
    options=("dim",),
    effect=Products(),
    reference="lora_mlp_list",
)
