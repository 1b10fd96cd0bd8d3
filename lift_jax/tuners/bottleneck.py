"""The bottleneck that Adapter and AdaptFormer share."""

import flax.linen as nn
import jax
from jaxtyping import Array, Float

from lift_jax.models.layer_norm import LayerNorm
from lift_jax.models.linear import matmul

Scale = Float[Array, " 1"] | float

# PyTorch's kaiming_normal with a = sqrt(5): standard deviation sqrt(1 / (3 fan_in)).
kaiming_normal = nn.initializers.variance_scaling(1 / 3, "fan_in", "normal")
kaiming_uniform = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


class _Up(nn.Module):
    """The projection back to the tokens' width, which starts at zero."""

    features: int

    @nn.compact
    def __call__(self, h: Float[Array, "b t m"], scale: Scale) -> Float[Array, "b t d"]:
        """Returns scale * (h kernel + bias), the scale being in the weights: they are few, and the tokens many."""
        kernel = self.param("kernel", nn.initializers.zeros, (h.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return matmul(h, (scale * kernel).astype(h.dtype)) + (scale * bias).astype(h.dtype)


def bottleneck(
    x: Float[Array, "b t d"], dim: int, down_init: nn.initializers.Initializer, scale: Scale = 1.0
) -> Float[Array, "b t d"]:
    """Returns scale * up(relu(down(ln(x)))), which starts at zero as `up` does; to be called in a compact method."""
    x_hat = LayerNorm(1e-5, name="ln")(x)
    down = nn.Dense(dim, dtype=x.dtype, kernel_init=down_init, dot_general=_contract, name="down_proj")
    return _Up(x.shape[-1], name="up_proj")(jax.nn.relu(down(x_hat)), scale)


def _contract(x: Array, kernel: Array, dimensions: object, **options: object) -> Array:
    return matmul(x, kernel)  # what `nn.Dense` asks for


def learnable_scale(module: nn.Module) -> Float[Array, " 1"]:
    """Makes a scale that starts at 1; to be called in a compact method."""
    return module.param("scale", nn.initializers.ones, (1,))
