"""A foundation model in memory: the network, its parameters, and what its input must look like."""

import dataclasses
import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from flax import traverse_util

from lift_jax.errors import UserError
from lift_jax.models.clip import CLIP
from lift_jax.models.text import TextTransformer
from lift_jax.models.towers import Tower
from lift_jax.weights.tokenizer import Tokenizer

Params = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Backbone:
    """A foundation model.

    Attributes:
        name: the folder or hub id it came from.
        vision: the image network, in float32 and without tuners.
        params: `vision` and, where the model has a text tower, `text`, `visual_projection` (width, e) if the image
            features are not in the shared space already, `visual_projection_bias` (e,) in a few models,
            `text_projection` (text width, e) and `logit_scale` (); SigLIP has `text_projection_bias` (e,) and
            `logit_bias` () as well; numpy float32.
        resolution: the side of the square input, in pixels.
        mean, std: the normalisation of each channel, for pixels from 0 to 1.
        text: the text tower; None if the model has none.
        tokenizer: the text tower's tokenizer; None if there is none.
        hash: the `content_hash` of the parameters as they were loaded, before positions were resized.
    """

    name: str
    vision: Tower
    params: Params
    resolution: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    text: TextTransformer | None
    tokenizer: Tokenizer | None
    hash: str

    def clip(self) -> CLIP:
        """Makes one module of both towers, for `params`.

        Raises:
            UserError: if the model has no text tower.
        """
        if self.text is None:
            raise UserError(
                f"The backbone {self.name} has no text tower, so nothing can be compared with text; "
                "start the head from images instead, with config.head_init=class_mean."
            )
        embed_dim = self.params["text_projection"].shape[1]
        options = ("visual_projection", "logit_bias", "visual_projection_bias")
        return CLIP(self.vision, self.text, embed_dim, *(name in self.params for name in options))


def content_hash(params: Params) -> str:
    """Computes SHA-256, in hex, over the parameters' names, shapes, types and bytes: equal content, equal hash."""
    digest = hashlib.sha256()
    for name, array in sorted(traverse_util.flatten_dict(dict(params), sep="/").items()):
        array = np.asarray(array, order="C")
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
