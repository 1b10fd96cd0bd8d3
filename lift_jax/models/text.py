"""The text towers of CLIP (Radford et al. 2021, section 2.4) and of SigLIP (Zhai et al. 2023, arXiv 2303.15343)."""

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from lift_jax.models.attention_kernels import Attention
from lift_jax.models.layer_norm import LayerNorm
from lift_jax.models.sites import BlockTuners, no_tuners
from lift_jax.models.transformer import Remat, rematerialised


def _same(x: Array) -> Array:
    return x


class TextTransformer(nn.Module):
    """A transformer over token ids.

    Attributes:
        vocab_size: number of token ids.
        context_length: number of positions.
        width, depth, num_heads, mlp_dim, activation, epsilon: as in `VisionTransformer`.
        end_of_text: id of the end-of-text token; None where it is the largest id of a row, as in OpenAI's weights and
            in configurations from before the id was recorded.
        causal: True for CLIP's tower, where a token sees those before it and the end-of-text token is the feature;
            False for SigLIP's, where all see all, the padding included, and the last position is the feature.
        dtype: of the activations.
        remat, attention, tuners: as in `VisionTransformer`; tokens that the tuners put in come after the first.
    """

    vocab_size: int
    context_length: int
    width: int
    depth: int
    num_heads: int
    mlp_dim: int
    activation: str = "quick_gelu"
    epsilon: float = 1e-5
    end_of_text: int | None = None
    causal: bool = True
    dtype: jnp.dtype = jnp.float32  # pyright: ignore[reportAssignmentType]
    remat: Remat = "none"
    attention: Attention = "plain"
    tuners: Callable[[int], BlockTuners] = no_tuners

    @nn.compact
    def __call__(
        self, tokens: Int[Array, "n l"], embedded: Callable[[Float[Array, "n l d"]], Float[Array, "n l d"]] = _same
    ) -> Float[Array, "n d"]:
        """Maps token ids to the text's token after the last layer norm, unprojected.

        Args:
            tokens: start and end tokens included.
            embedded: is applied to the token embeddings, before positions are added.
        """
        n, length = tokens.shape
        table = self.param("token_embedding", nn.initializers.normal(0.02), (self.vocab_size, self.width))
        positions = self.param("position_embedding", nn.initializers.normal(0.01), (self.context_length, self.width))
        x = (embedded(table[tokens]) + positions[:length]).astype(self.dtype)
        size = self.num_heads, self.mlp_dim, self.activation, self.epsilon
        block = rematerialised(self.remat)
        for i in range(self.depth):
            made = block(*size, causal=self.causal, attention=self.attention, tuners=self.tuners(i), name=f"block_{i}")
            x = made(x, length)
        x = LayerNorm(self.epsilon, name="ln_final")(x)
        if not self.causal:
            return x[:, -1]
        end = jnp.argmax(tokens if self.end_of_text is None else tokens == self.end_of_text, axis=-1)
        return x[jnp.arange(n), end + x.shape[1] - length]
