"""Pooling of tokens by attention with one query."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from lift_jax.models.attention import query_attention
from lift_jax.models.attention_kernels import Attention
from lift_jax.models.layer_norm import LayerNorm
from lift_jax.models.transformer import ACTIVATIONS


class QueryAttention(nn.Module):
    """Multi-head attention of one query over tokens, up to the output projection; softmax in float32.

    `kernel` and `bias` project to queries, keys and values, side by side as in a block's `attn_in`.

    Attributes:
        num_heads: attention heads; divides the width.
        attention: who computes it.
    """

    num_heads: int
    attention: Attention = "plain"

    @nn.compact
    def __call__(self, query: Float[Array, "b d"], x: Float[Array, "b t d"]) -> Float[Array, "b d"]:
        width = x.shape[-1]
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (width, 3 * width)).astype(x.dtype)
        bias = self.param("bias", nn.initializers.zeros, (3 * width,)).astype(x.dtype)
        q = query @ kernel[:, :width] + bias[:width]
        kv = x @ kernel[:, width:] + bias[width:]
        return query_attention(q, kv, self.num_heads, self.attention)


class AttentionPooling(nn.Module):
    """SigLIP's head: a learned query attends over the tokens, then an MLP (Zhai et al. 2022, arXiv 2106.04560, "MAP").

    Attributes:
        num_heads, mlp_dim, activation, epsilon, attention: as in a block.
    """

    num_heads: int
    mlp_dim: int
    activation: str
    epsilon: float
    attention: Attention = "plain"

    @nn.compact
    def __call__(self, x: Float[Array, "b t d"]) -> Float[Array, "b d"]:
        b, _, width = x.shape
        probe = self.param("probe", nn.initializers.normal(width**-0.5), (width,)).astype(x.dtype)
        x = QueryAttention(self.num_heads, self.attention, name="attn_in")(jnp.broadcast_to(probe, (b, width)), x)
        x = nn.Dense(width, dtype=x.dtype, name="attn_out")(x)
        h = LayerNorm(self.epsilon, name="ln")(x)
        h = ACTIVATIONS[self.activation](nn.Dense(self.mlp_dim, dtype=x.dtype, name="mlp_in")(h))
        return x + nn.Dense(width, dtype=x.dtype, name="mlp_out")(h)
