"""The pre-norm transformer block that the vision and the text tower share."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lift_jax.models.attention import multi_head_attention
from lift_jax.models.fsdp import Shard, sharded_matmul
from lift_jax.models.layer_norm import LayerNorm
from lift_jax.models.sites import BlockTuners, LinearName, Sites


def quick_gelu(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """CLIP's approximation of GELU: x sigmoid(1.702 x) (Hendrycks and Gimpel 2016, arXiv 1606.08415, section 2)."""
    return x * jax.nn.sigmoid(1.702 * x)


def _gelu(x: Array) -> Array:
    return jax.nn.gelu(x, approximate=False)


def _gelu_tanh(x: Array) -> Array:
    return jax.nn.gelu(x, approximate=True)


ACTIVATIONS: Mapping[str, Callable[[Array], Array]] = {
    "quick_gelu": quick_gelu,
    "gelu": _gelu,
    "gelu_pytorch_tanh": _gelu_tanh,
}


Remat = Literal["none", "minimal", "full"]
"""What the backward pass computes anew instead of keeping it (Chen et al. 2016, arXiv 1604.06174): nothing; all but the
outputs of linear layers, that is attention, norms and activations; or all but the inputs of the blocks."""


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
        if kernel is whole and isinstance(stored, Shard):
            y = sharded_matmul(x, stored)
        else:
            y = matmul(x, kernel.astype(x.dtype))
        return sites.linear(name, x, y + bias.astype(x.dtype))


class Block(nn.Module):
    """A pre-norm transformer block: x + attn(ln_1(x)), then x + mlp(ln_2(x)) (Dosovitskiy et al. 2021, eq. 2 and 3).

    Attributes:
        num_heads: attention heads.
        mlp_dim: hidden width of the MLP.
        activation: a key of `ACTIVATIONS`.
        epsilon: of the layer norms.
        causal: whether a token sees those before it and itself alone.
        first: number of tokens whose result is asked for, from the first; all if absent.
        tuners: makers of the block's tuners (see `lift_jax.models.sites`); each is a child module `tuner_NAME`.
    """

    num_heads: int
    mlp_dim: int
    activation: str
    epsilon: float
    causal: bool = False
    first: int | None = None
    tuners: BlockTuners = nn.FrozenDict()  # pyright: ignore[reportAssignmentType]

    @nn.compact
    def __call__(self, x: Float[Array, "b t d"], length: int | None = None) -> Float[Array, "b s d"]:
        """`length`: the number of the model's own tokens; all of `x` if absent."""
        width = x.shape[-1]
        sites = Sites([make(name=f"tuner_{name}") for name, make in self.tuners.items()])

        x = sites.tokens(x, x.shape[1] if length is None else length)
        h = sites.norm("ln_1", LayerNorm(self.epsilon, name="ln_1")(x))
        qkv = Linear(3 * width, name="attn_in")(h, sites)
        h = multi_head_attention(qkv, self.num_heads, self.causal, self.first)
        x = x[:, : self.first] + Linear(width, name="attn_out")(h, sites)

        h = sites.norm("ln_2", LayerNorm(self.epsilon, name="ln_2")(x))
        h = Linear(self.mlp_dim, name="mlp_in")(h, sites)
        h = Linear(width, name="mlp_out")(ACTIVATIONS[self.activation](h), sites)
        return x + sites.mlp(x, h)


def rematerialised(remat: Remat) -> type[Block]:
    """`Block`, with what its backward pass keeps; to be called with its `length` in the second place."""
    if remat == "none":
        return Block
    # A linear layer's product is the one that has no batch dimension; attention's have.
    policy: Any = jax.checkpoint_policies.dots_with_no_batch_dims_saveable if remat == "minimal" else None
    return nn.remat(Block, policy=policy, static_argnums=(2,))  # the length is a number of the program, not of the data
