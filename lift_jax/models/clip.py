"""CLIP (Radford et al. 2021, arXiv 2103.00020) and SigLIP (Zhai et al. 2023, 2303.15343): two towers, one space."""

from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from lift_jax.models.text import TextTransformer
from lift_jax.models.towers import Tower


def normalize(x: Float[Array, "... d"]) -> Float[Array, "... d"]:
    """Returns unit vectors along the last axis, in float32. A zero vector stays zero, and its gradient finite."""
    x = x.astype(jnp.float32)
    square = jnp.sum(x * x, axis=-1, keepdims=True)
    return x / jnp.sqrt(jnp.maximum(square, 1e-24))


class CLIPOutput(NamedTuple):
    """Unit features of both kinds in the shared space, and exp(logit_scale) times their products plus SigLIP's bias."""

    image_features: Float[Array, "b e"]
    text_features: Float[Array, "n e"]
    logits: Float[Array, "b n"]


class CLIP(nn.Module):
    """Both towers of CLIP. `head_init` and zero-shot classification use its parts; pre-training uses the whole.

    Attributes:
        vision, text: the towers.
        embed_dim: of the shared space.
        projects_images: whether the image features are projected into the shared space; those of the ResNets, of some
            ConvNeXts and of SigLIP lie in it already.
        sigmoid: SigLIP's form, with a bias in the text projection and one of the logits.
        biased: whether the projection of the image features has a bias (EVA02-CLIP and Perception Encoder have one).
    """

    vision: Tower
    text: TextTransformer
    embed_dim: int
    projects_images: bool = True
    sigmoid: bool = False
    biased: bool = False

    def setup(self):
        if self.projects_images:
            self.visual_projection = self._projection("visual_projection", self.vision.width)
        if self.biased:
            self.visual_projection_bias = self.param("visual_projection_bias", nn.initializers.zeros, (self.embed_dim,))
        self.text_projection = self._projection("text_projection", self.text.width)
        self.logit_scale = self.param("logit_scale", nn.initializers.constant(jnp.log(1 / 0.07)), ())
        if self.sigmoid:
            self.text_projection_bias = self.param("text_projection_bias", nn.initializers.zeros, (self.embed_dim,))
            self.logit_bias = self.param("logit_bias", nn.initializers.constant(-10.0), ())

    def _projection(self, name: str, width: int) -> Array:
        return self.param(name, nn.initializers.normal(width**-0.5), (width, self.embed_dim))

    def encode_image(self, images: Float[Array, "b h w 3"]) -> Float[Array, "b e"]:
        """Maps normalised images to unit features in the shared space."""
        features = self.vision(images).astype(jnp.float32)
        if self.projects_images:
            features = features @ self.visual_projection
        return normalize(features + self.visual_projection_bias if self.biased else features)

    def encode_text(self, tokens: Int[Array, "n l"]) -> Float[Array, "n e"]:
        """Maps token ids to unit features in the shared space."""
        features = self.text(tokens).astype(jnp.float32) @ self.text_projection
        return normalize(features + self.text_projection_bias if self.sigmoid else features)

    def __call__(self, images: Float[Array, "b h w 3"], tokens: Int[Array, "n l"]) -> CLIPOutput:
        """Returns the two kinds of features and the zero-shot logits."""
        image, text = self.encode_image(images), self.encode_text(tokens)
        logits = jnp.exp(self.logit_scale) * image @ text.T
        return CLIPOutput(image, text, logits + self.logit_bias if self.sigmoid else logits)
