"""Foundation models from the formats people have: one file a format, one parameter tree for all."""

import dataclasses

from lift_jax.errors import UserError
from lift_jax.weights import huggingface
from lift_jax.weights.backbone import Backbone, content_hash
from lift_jax.weights.positions import resize_positions
from lift_jax.weights.source import find

__all__ = ["Backbone", "content_hash", "load"]


def load(name: str, resolution: int | None = None) -> Backbone:
    """The foundation model of a folder or hub id, its position embeddings resized to `resolution` (pixels) if given.

    Raises:
        UserError: if it cannot be found or read, or the patch size does not divide the resolution.
    """
    backbone = dataclasses.replace(huggingface.load(find(name)), name=name)
    if not resolution or resolution == backbone.resolution:
        return backbone
    patch = backbone.vision.patch_size
    if resolution % patch:
        near = max(patch, round(resolution / patch) * patch)
        raise UserError(
            f"config.resolution is {resolution}, which the backbone's patch size {patch} does not divide; "
            f"take a multiple of {patch}, such as {near}."
        )
    vision = dict(backbone.params["vision"])
    vision["position_embedding"] = resize_positions(vision["position_embedding"], resolution // patch)
    params = {**backbone.params, "vision": vision}
    return dataclasses.replace(backbone, params=params, resolution=resolution)
