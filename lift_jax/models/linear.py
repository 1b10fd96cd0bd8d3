"""Linear layers: a matrix product whose gradient suits every compiler, and the layer at whose site tuners act."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lift_jax.models import quantised
from lift_jax.models.fsdp import Shard, sharded_matmul
from lift_jax.models.sites import LinearName, Sites


@jax.custom_vjp
def matmul(x: Float[Array, "*b i"], kernel: Float[Array, "i o"]) -> Float[Array, "*b o"]:
    """x kernel. Its gradient with respect to the kernel, x' g, is taken as that and not as the transpose of g' x.

    XLA for the CPU copies a factor that is to be transposed, and computes with the copy whatever leads to it. For g
    that was the gradient of the residual stream through all later blocks, anew in each block.
    """
    return x @ kernel


def _matmul_forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return x @ kernel, (x, kernel)


def _matmul_backward(saved: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    x, kernel = saved
    return g @ kernel.T, jnp.einsum("...i,...o->io", x, g)


matmul.defvjp(_matmul_forward, _matmul_backward)


class Linear(nn.Module):
    """An affine map at a site: the tuners may change its weight, and its output given its input."""

    features: int

    @nn.compact
    def __call__(self, x: Float[Array, "b t i"], sites: Sites) -> Float[Array, "b t o"]:
        name: LinearName = self.name  # pyright: ignore[reportAssignmentType]
        whole = self.param("kernel", nn.initializers.lecun_normal(), (x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        kernel, bias = sites.weight(name, whole, bias)
        stored = self.get_variable("params", "kernel")
        if kernel is whole and isinstance(stored, quantised.Quantised):
            y = quantised.matmul(x, stored)
        elif kernel is whole and isinstance(stored, Shard):
            y = sharded_matmul(x, stored)
        else:
            y = matmul(x, kernel.astype(x.dtype))
        return sites.linear(name, x, y + bias.astype(x.dtype))
