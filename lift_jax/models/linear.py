"""Linear layers: a matrix product whose gradient suits every compiler, and the layer at whose site tuners act."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lift_jax.models import quantised
from lift_jax.models.fsdp import Shard, gathering
from lift_jax.models.sites import LinearName, Sites


def matmul(x: Float[Array, "*b i"], kernel: Float[Array, "i o"]) -> Float[Array, "*b o"]:
    """Returns x kernel; its gradients are those of `products`."""
    return products(x, kernel)[0]


def products(x: Float[Array, "*b i"], kernel: Float[Array, "i o"], parts: int = 1) -> tuple[Float[Array, "*b p"], ...]:
    """Returns x kernel in equal parts, by a product for each; its gradients are computed by one product each.

    The gradient with respect to the kernel, x' g, is taken as that, not as the transpose of g' x. XLA for the CPU
    copies a factor that is to be transposed, and computes with the copy whatever leads to it. For g that was the
    gradient of the residual stream through all later blocks, anew in each block.
    """
    return _products(x, kernel, parts)


def _every_product(x: Array, kernel: Array, parts: int) -> tuple[Array, ...]:
    if parts == 1:
        return (x @ kernel,)
    # Without the barriers XLA for GPUs makes one product of small ones again, and cuts its result.
    return tuple(jnp.matmul(*jax.lax.optimization_barrier((x, part))) for part in jnp.split(kernel, parts, axis=1))


_products: Any = jax.custom_vjp(_every_product, nondiff_argnums=(2,))


def _forward(x: Array, kernel: Array, parts: int) -> tuple[tuple[Array, ...], tuple[Array, Array]]:
    return _every_product(x, kernel, parts), (x, kernel)


def _backward(parts: int, saved: tuple[Array, Array], gs: tuple[Array, ...]) -> tuple[Array, Array]:
    x, kernel = saved
    g = jnp.concatenate(gs, axis=-1)
    return g @ kernel.T, jnp.einsum("...i,...o->io", x, g)


_products.defvjp(_forward, _backward)


class Linear(nn.Module):
    """An affine map at a site: the tuners may change its weight, and its output given its input.

    Attributes:
        features: of the output.
        parts: by how many products it is computed. Who takes its equal parts one by one need not cut them out: where
            no tuner acts on the whole, XLA passes them on.
    """

    features: int
    parts: int = 1

    @nn.compact
    def __call__(self, x: Float[Array, "b t i"], sites: Sites) -> Float[Array, "b t o"]:
        name: LinearName = self.name  # pyright: ignore[reportAssignmentType]
        whole = self.param("kernel", nn.initializers.lecun_normal(), (x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        kernel, bias = sites.weight(name, whole, bias)
        stored = self.get_variable("params", "kernel")
        if kernel is whole and isinstance(stored, quantised.Quantised):
            ys = quantised.products(x, stored, self.parts)
        elif kernel is whole and isinstance(stored, Shard):
            ys = gathering(functools.partial(products, parts=self.parts), x, stored)
        else:
            ys = products(x, kernel.astype(x.dtype), self.parts)
        biases = jnp.split(bias.astype(x.dtype), self.parts)
        y = jnp.concatenate([y + bias for y, bias in zip(ys, biases, strict=True)], axis=-1)
        return sites.linear(name, x, y)
