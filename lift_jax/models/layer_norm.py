"""Layer norm (Ba et al. 2016, arXiv 1607.06450) in float32, with its gradient in closed form."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def standardize(x: Float[Array, "... d"], epsilon: float) -> Float[Array, "... d"]:
    """Returns (x - mean) / sqrt(variance + epsilon) along the last axis, in float32 (Ba et al. 2016, eq. 3).

    The variance is computed from the centred values: the fast formula E[x^2] - E[x]^2 loses the digits that the
    reference keeps where the mean is large. With y the result, the gradient g becomes (g - mean(g) - y mean(g y)) /
    sqrt(variance + epsilon); operation by operation it is a chain that XLA for the CPU recomputes wherever it is used.
    """
    centred, scale = _statistics(x, epsilon)
    return centred * scale


def _statistics(x: Array, epsilon: float) -> tuple[Float[Array, "... d"], Float[Array, "... 1"]]:
    """Returns x - mean and 1 / sqrt(variance + epsilon)."""
    centred = x.astype(jnp.float32) - jnp.mean(x.astype(jnp.float32), axis=-1, keepdims=True)
    return centred, jax.lax.rsqrt(jnp.mean(centred * centred, axis=-1, keepdims=True) + epsilon)


def _standardize_forward(x: Array, epsilon: float) -> tuple[Array, Array]:
    return standardize(x, epsilon), x  # pyright: ignore[reportReturnType]


def _standardize_backward(epsilon: float, x: Array, g: Array) -> tuple[Array]:
    # Compilers find that the forward pass has these statistics, and keep them. A GPU's makes one kernel of a norm if
    # nothing else wants them, and reads x once instead of twice; in the gradient's kernel x is read in any case.
    x = jax.lax.platform_dependent(x, cuda=jax.lax.optimization_barrier, default=lambda x: x)
    centred, scale = _statistics(x, epsilon)
    y = centred * scale
    g = g - jnp.mean(g, axis=-1, keepdims=True) - y * jnp.mean(g * y, axis=-1, keepdims=True)
    return ((g * scale).astype(x.dtype),)


standardize.defvjp(_standardize_forward, _standardize_backward)


class LayerNorm(nn.Module):
    """A layer norm whose statistics are float32 whatever the activations' dtype, which its result has.

    Attributes:
        epsilon: is added to the variance.
        rms: whether it is an RMSNorm, which neither centres nor shifts (Zhang and Sennrich 2019, arXiv 1910.07467).
    """

    epsilon: float
    rms: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "... d"]) -> Float[Array, "... d"]:
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],))
        if self.rms:
            y = x.astype(jnp.float32)
            y = y * jax.lax.rsqrt(jnp.mean(y * y, axis=-1, keepdims=True) + self.epsilon)
            return (y * scale).astype(x.dtype)
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],))
        y: Array = standardize(x, self.epsilon)  # pyright: ignore[reportAssignmentType]
        return (y * scale + bias).astype(x.dtype)
