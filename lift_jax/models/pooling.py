"""Pooling of tokens by attention with one query."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from lift_jax.models.attention import scaled_dot_product
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
        b, _, width = x.shape
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (width, 3 * width)).astype(x.dtype)
        bias = self.param("bias", nn.initializers.zeros, (3 * width,)).astype(x.dtype)
        q = query @ kernel[:, :width] + bias[:width]
        k, v = jnp.split(x @ kernel[:, width:] + bias[width:], 2, axis=-1)

        def heads(x: Array) -> Array:
            x = x.reshape(b, -1, self.num_heads, width // self.num_heads)
            return x.transpose(0, 2, 1, 3).reshape(b * self.num_heads, -1, x.shape[-1])

        y: Array = scaled_dot_product(heads(q), heads(k), heads(v))  # pyright: ignore[reportAssignmentType]
        return y.reshape(b, width)


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
