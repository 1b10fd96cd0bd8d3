"""Foundation models from the formats people have: one file a format, one parameter tree for all."""

import dataclasses
from pathlib import Path

from etils import epath

from lift_jax.errors import UserError
from lift_jax.models.resnet import ResNet
from lift_jax.weights import augreg, cache, huggingface, open_clip, openai, timm
from lift_jax.weights.backbone import Backbone, content_hash
from lift_jax.weights.folder import has_arrays, read_json
from lift_jax.weights.positions import resize_positions
from lift_jax.weights.source import find

__all__ = ["Backbone", "content_hash", "load", "resize"]


def load(name: str, resolution: int | None = None) -> Backbone:
    """The foundation model of a folder, file or hub id, its positions resized to `resolution` (pixels) if given.

    Raises:
        UserError: if it cannot be found or read, or the patch size does not divide the resolution.
    """
    backbone = dataclasses.replace(_read(find(name)), name=name)
    return resize(backbone, resolution) if resolution else backbone


def _read(place: epath.Path | Path) -> Backbone:
    """In the format that the place's files show."""
    if (place / cache.CONFIG).exists():
        return cache.load(place)
    place = Path(place)
    if place.is_file():
        return augreg.load(place) if place.suffix == ".npz" else openai.load(place)
    config = read_json(place, "config.json") if (place / "config.json").is_file() else {}
    # open_clip's repositories often hold the same model in the layout of transformers too.
    if (place / open_clip.CONFIG).is_file() and not ("model_type" in config and has_arrays(place)):
        return open_clip.load(place)
    return timm.load(place) if "architecture" in config else huggingface.load(place)


def resize(backbone: Backbone, resolution: int) -> Backbone:
    """The backbone for images of `resolution` pixels a side, its positions resized.

    Raises:
        UserError: if the patch size does not divide the resolution.
    """
    if resolution == backbone.resolution:
        return backbone
    patch = backbone.vision.patch_size
    if resolution % patch:
        near = max(patch, round(resolution / patch) * patch)
        raise UserError(
            f"config.resolution is {resolution}, which the backbone's patch size {patch} does not divide; "
            f"take a multiple of {patch}, such as {near}."
        )
    vision = dict(backbone.params["vision"])
    parent = vision
    if isinstance(backbone.vision, ResNet):
        parent = vision["attn_pool"] = dict(vision["attn_pool"])
    has_extra = isinstance(backbone.vision, ResNet) or backbone.vision.pool == "class"
    parent["position_embedding"] = resize_positions(parent["position_embedding"], resolution // patch, int(has_extra))
    return dataclasses.replace(backbone, params={**backbone.params, "vision": vision}, resolution=resolution)
