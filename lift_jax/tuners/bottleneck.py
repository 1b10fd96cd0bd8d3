"""The bottleneck that Adapter and AdaptFormer share."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lift_jax.models.layer_norm import LayerNorm
from lift_jax.models.linear import matmul

# PyTorch's kaiming_normal with a = sqrt(5): standard deviation sqrt(1 / (3 fan_in)).
kaiming_normal = nn.initializers.variance_scaling(1 / 3, "fan_in", "normal")
kaiming_uniform = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


def bottleneck(x: Float[Array, "b t d"], dim: int, down_init: nn.initializers.Initializer) -> Float[Array, "b t d"]:
    """Returns up(relu(down(ln(x)))), which starts at zero as `up` does; to be called in a compact method."""
    x_hat = LayerNorm(1e-5, name="ln")(x)
    h = jax.nn.relu(_dense(dim, x.dtype, down_init, "down_proj")(x_hat))
    return _dense(x.shape[-1], x.dtype, nn.initializers.zeros, "up_proj")(h)


def _dense(features: int, dtype: jnp.dtype, kernel_init: nn.initializers.Initializer, name: str) -> nn.Dense:
    return nn.Dense(features, dtype=dtype, kernel_init=kernel_init, dot_general=_contract, name=name)


def _contract(x: Array, kernel: Array, dimensions: object, **options: object) -> Array:
    return matmul(x, kernel)  # what `nn.Dense` asks for


def learnable_scale(module: nn.Module, dtype: jnp.dtype) -> Float[Array, " 1"]:
    """Makes a scale that starts at 1; to be called in a compact method."""
    return module.param("scale", nn.initializers.ones, (1,)).astype(dtype)
