"""CLIP (Radford et al. 2021, arXiv 2103.00020): two towers and a shared space."""

from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from lift_jax.models.text import TextTransformer
from lift_jax.models.vit import VisionTransformer


def normalize(x: Float[Array, "... d"]) -> Float[Array, "... d"]:
    """Unit vectors along the last axis, in float32. A zero vector stays zero, and its gradient finite."""
    x = x.astype(jnp.float32)
    square = jnp.sum(x * x, axis=-1, keepdims=True)
    return x / jnp.sqrt(jnp.maximum(square, 1e-24))


class CLIPOutput(NamedTuple):
    """Unit features of both kinds in the shared space, and exp(logit_scale) times their products."""

    image_features: Float[Array, "b e"]
    text_features: Float[Array, "n e"]
    logits: Float[Array, "b n"]


class CLIP(nn.Module):
    """Both towers of CLIP. `head_init` and zero-shot classification use its parts; pre-training uses the whole.

    Attributes:
        vision, text: the towers.
        embed_dim: of the shared space.
    """

    vision: VisionTransformer
    text: TextTransformer
    embed_dim: int

    def setup(self):
        init = nn.initializers.normal
        self.visual_projection = self.param("visual_projection", init(self.vision.width**-0.5), self._shape("vision"))
        self.text_projection = self.param("text_projection", init(self.text.width**-0.5), self._shape("text"))
        self.logit_scale = self.param("logit_scale", nn.initializers.constant(jnp.log(1 / 0.07)), ())

    def _shape(self, tower: str) -> tuple[int, int]:
        return getattr(self, tower).width, self.embed_dim

    def encode_image(self, images: Float[Array, "b h w 3"]) -> Float[Array, "b e"]:
        """Normalised images to unit features in the shared space."""
        return normalize(self.vision(images).astype(jnp.float32) @ self.visual_projection)

    def encode_text(self, tokens: Int[Array, "n l"]) -> Float[Array, "n e"]:
        """Token ids to unit features in the shared space."""
        return normalize(self.text(tokens).astype(jnp.float32) @ self.text_projection)

    def __call__(self, images: Float[Array, "b h w 3"], tokens: Int[Array, "n l"]) -> CLIPOutput:
        """The two kinds of features and the zero-shot logits."""
        image, text = self.encode_image(images), self.encode_text(tokens)
        return CLIPOutput(image, text, jnp.exp(self.logit_scale) * image @ text.T)
