"""Pooling of tokens by attention with one query."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lift_jax.models.layer_norm import LayerNorm
from lift_jax.models.transformer import ACTIVATIONS


class QueryAttention(nn.Module):
    """Multi-head attention of one query over tokens, up to the output projection; softmax in float32.

    `kernel` and `bias` project to queries, keys and values, side by side as in a block's `attn_in`.

    Attributes:
        num_heads: attention heads; divides the width.
    """

    num_heads: int

    @nn.compact
    def __call__(self, query: Float[Array, "b d"], x: Float[Array, "b t d"]) -> Float[Array, "b d"]:
        b, t, width = x.shape
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (width, 3 * width)).astype(x.dtype)
        bias = self.param("bias", nn.initializers.zeros, (3 * width,)).astype(x.dtype)
        heads, d = self.num_heads, width // self.num_heads
        q = (query @ kernel[:, :width] + bias[:width]).reshape(b, heads, d)
        k, v = jnp.split(x @ kernel[:, width:] + bias[width:], 2, axis=-1)
        k, v = k.reshape(b, t, heads, d), v.reshape(b, t, heads, d)
        scores = jnp.einsum("bhd,bthd->bht", q * d**-0.5, k, preferred_element_type=jnp.float32)
        weights = jax.nn.softmax(scores, axis=-1).astype(v.dtype)
        return jnp.einsum("bht,bthd->bhd", weights, v).reshape(b, width)


class AttentionPooling(nn.Module):
    """SigLIP's head: a learned query attends over the tokens, then an MLP (Zhai et al. 2022, arXiv 2106.04560, "MAP").

    Attributes:
        num_heads, mlp_dim, activation, epsilon: as in a block.
    """

    num_heads: int
    mlp_dim: int
    activation: str
    epsilon: float

    @nn.compact
    def __call__(self, x: Float[Array, "b t d"]) -> Float[Array, "b d"]:
        b, _, width = x.shape
        probe = self.param("probe", nn.initializers.normal(width**-0.5), (width,)).astype(x.dtype)
        x = QueryAttention(self.num_heads, name="attn_in")(jnp.broadcast_to(probe, (b, width)), x)
        x = nn.Dense(width, dtype=x.dtype, name="attn_out")(x)
        h = LayerNorm(self.epsilon, name="ln")(x)
        h = ACTIVATIONS[self.activation](nn.Dense(self.mlp_dim, dtype=x.dtype, name="mlp_in")(h))
        return x + nn.Dense(width, dtype=x.dtype, name="mlp_out")(h)
