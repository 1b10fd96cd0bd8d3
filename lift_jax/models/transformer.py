"""The pre-norm transformer block that the vision and the text tower share."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lift_jax.models.attention import multi_head_attention, written
from lift_jax.models.attention_kernels import Attention
from lift_jax.models.layer_norm import LayerNorm
from lift_jax.models.linear import Linear
from lift_jax.models.sites import BlockTuners, Sites


def quick_gelu(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Computes CLIP's approximation of GELU, x sigmoid(1.702 x) (Hendrycks and Gimpel 2016, section 2)."""
    return x * jax.nn.sigmoid(1.702 * x)


def _gelu(x: Array) -> Array:
    return jax.nn.gelu(x, approximate=False)


def _gelu_tanh(x: Array) -> Array:
    return jax.nn.gelu(x, approximate=True)


ACTIVATIONS: Mapping[str, Callable[[Array], Array]] = {
    "quick_gelu": quick_gelu,
    "gelu": _gelu,
    "gelu_pytorch_tanh": _gelu_tanh,
    "silu": jax.nn.silu,
}


Remat = Literal["none", "minimal", "full"]
"""What the backward pass computes anew instead of keeping it (Chen et al. 2016, arXiv 1604.06174): nothing; all but the
outputs of linear layers, that is attention, norms and activations; or all but the inputs of the blocks."""


class Block(nn.Module):
    """A pre-norm transformer block: x + attn(ln_1(x)), then x + mlp(ln_2(x)) (Dosovitskiy et al. 2021, eq. 2 and 3).

    The MLP is mlp_out(act(mlp_in(h))); a gated one is mlp_out(act(g) * u), g and u being the halves of the output of
    `mlp_in`, in this order (Shazeer 2020, arXiv 2002.05202, eq. 6; with "silu" it is SwiGLU).

    Attributes:
        num_heads: attention heads.
        mlp_dim: hidden width of the MLP; the output of `mlp_in` is twice as wide where it is gated.
        activation: a key of `ACTIVATIONS`.
        epsilon: of the layer norms.
        causal: whether a token sees those before it and itself alone.
        first: number of tokens whose result is asked for, from the first; all if absent.
        layer_scale: whether each branch is multiplied by a learnt scale for each channel before it is added (Touvron
            et al. 2021, arXiv 2103.17239, eq. 4). It belongs to the branch: the tuners of the MLP branch come after it.
        gated: whether the MLP is gated.
        rms: whether the norms are RMSNorms (AIMv2 has them).
        inner_norms: whether there are norms before `attn_out` and before `mlp_out`, too (EVA02 has them; Wang et al.
            2022, arXiv 2210.06423). They are no sites.
        attention: who computes the attention.
        hidden: number of tokens that none sees, the last ones; none if the tuners put tokens in.
        tuners: makers of the block's tuners (see `lift_jax.models.sites`); each is a child module `tuner_NAME`.
    """

    num_heads: int
    mlp_dim: int
    activation: str
    epsilon: float
    causal: bool = False
    first: int | None = None
    layer_scale: bool = False
    gated: bool = False
    rms: bool = False
    inner_norms: bool = False
    attention: Attention = "plain"
    hidden: int = 0
    tuners: BlockTuners = nn.FrozenDict()  # pyright: ignore[reportAssignmentType]

    @nn.compact
    def __call__(
        self, x: Float[Array, "b t d"], length: int | None = None, angles: Float[Array, "n r"] | None = None
    ) -> Float[Array, "b s d"]:
        """Tokens to tokens.

        Args:
            x: the tokens.
            length: the number of the model's own tokens; all of `x` if absent.
            angles: rotary positions of the model's own tokens, which come first (see `lift_jax.models.rotary`).
        """
        width = x.shape[-1]
        sites = Sites([make(name=f"tuner_{name}") for name, make in self.tuners.items()])

        x = sites.tokens(x, x.shape[1] if length is None else length)
        h = sites.norm("ln_1", self._norm("ln_1", x))
        qkv = Linear(3 * width, 1 if self.attention == "plain" else 3, name="attn_in")(h, sites)
        h = multi_head_attention(qkv, self.num_heads, self.causal, self.first, angles, self.attention, self.hidden)
        h = self._inner("ln_attn", written(h) if self.inner_norms else h)
        x = x[:, : self.first] + self._scaled("layer_scale_1", Linear(width, name="attn_out")(h, sites))

        h = sites.norm("ln_2", self._norm("ln_2", x))
        h = Linear(2 * self.mlp_dim if self.gated else self.mlp_dim, name="mlp_in")(h, sites)
        h = self._inner("ln_mlp", self._activated(h))
        h = self._scaled("layer_scale_2", Linear(width, name="mlp_out")(h, sites))
        return x + sites.mlp(x, h)

    def _norm(self, name: str, x: Float[Array, "b t d"]) -> Float[Array, "b t d"]:
        return LayerNorm(self.epsilon, self.rms, name=name)(x)

    def _inner(self, name: str, x: Float[Array, "b t d"]) -> Float[Array, "b t d"]:
        return self._norm(name, x) if self.inner_norms else x

    def _activated(self, h: Float[Array, "b t i"]) -> Float[Array, "b t m"]:
        activation = ACTIVATIONS[self.activation]
        if not self.gated:
            return activation(h)
        gate, up = jnp.split(h, 2, axis=-1)
        return activation(gate) * up

    def _scaled(self, name: str, y: Float[Array, "b t d"]) -> Float[Array, "b t d"]:
        if not self.layer_scale:
            return y
        return y * self.param(name, nn.initializers.ones, y.shape[-1:]).astype(y.dtype)


def rematerialised(remat: Remat) -> type[Block]:
    """Returns `Block` with what its backward pass keeps; to be called with its `length` in the second place."""
    if remat == "none":
        return Block
    # A linear layer's product is the one that has no batch dimension; attention's have.
    policy: Any = jax.checkpoint_policies.dots_with_no_batch_dims_saveable if remat == "minimal" else None
    return nn.remat(Block, policy=policy, static_argnums=(2,))  # the length is a number of the program, not of the data
