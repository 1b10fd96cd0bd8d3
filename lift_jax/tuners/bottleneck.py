"""The bottleneck that Adapter and AdaptFormer share."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lift_jax.models.transformer import layer_norm

# PyTorch's kaiming_normal with a = sqrt(5): standard deviation sqrt(1 / (3 fan_in)).
kaiming_normal = nn.initializers.variance_scaling(1 / 3, "fan_in", "normal")
kaiming_uniform = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


def bottleneck(x: Float[Array, "b t d"], dim: int, down_init: nn.initializers.Initializer) -> Float[Array, "b t d"]:
    """up(relu(down(ln(x)))), to be called in a compact method; `up` starts at zero, and so does the result."""
    x_hat = layer_norm(1e-5, x.dtype, name="ln")(x)
    h = jax.nn.relu(nn.Dense(dim, dtype=x.dtype, kernel_init=down_init, name="down_proj")(x_hat))
    return nn.Dense(x.shape[-1], dtype=x.dtype, kernel_init=nn.initializers.zeros, name="up_proj")(h)


def learnable_scale(module: nn.Module, dtype: jnp.dtype) -> Float[Array, " 1"]:
    """A scale that starts at 1, to be called in a compact method."""
    return module.param("scale", nn.initializers.ones, (1,)).astype(dtype)
