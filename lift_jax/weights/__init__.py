"""Foundation models from the formats people have: one file a format, one parameter tree for all."""

import dataclasses
import math
from pathlib import Path

import numpy as np
from etils import epath

from lift_jax.errors import UserError, first_line
from lift_jax.models.resnet import ResNet
from lift_jax.models.text import TextTransformer
from lift_jax.models.vit import VisionTransformer
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
    place = find(name)
    try:
        backbone = dataclasses.replace(_read(place), name=name)
        _check(backbone)
    except OSError as error:
        raise UserError(f"The backbone {place} cannot be read ({first_line(error)}); check its files.") from error
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        # A configuration may hold anything anywhere.
        raise UserError(
            f"The configuration of the backbone {place} describes no model that is known here "
            f"({type(error).__name__}: {first_line(error)}); take the files from the model's source again."
        ) from error
    return resize(backbone, resolution) if resolution else backbone


def _check(backbone: Backbone) -> None:
    """What the arrays do not show.

    Raises:
        ValueError: if a number is out of its range.
        TypeError: if it is none.
    """
    for name, values, low in ("mean", backbone.mean, -math.inf), ("std", backbone.std, 0):
        if np.shape(values) != (3,) or not all(low < value < math.inf for value in values):
            raise ValueError(f"the {name} of the normalisation is {values}")
    for tower in backbone.vision, backbone.text:
        if isinstance(tower, VisionTransformer | TextTransformer):
            if tower.num_heads not in range(1, tower.width + 1) or tower.width % tower.num_heads:
                raise ValueError(f"{tower.num_heads} heads for a width of {tower.width}")
            if not 0 <= tower.epsilon < 1:
                raise ValueError(f"the layer norms' epsilon is {tower.epsilon}")
    if backbone.text is not None and backbone.text.end_of_text not in (None, *range(backbone.text.vocab_size)):
        raise ValueError(f"the end of the text has the id {backbone.text.end_of_text}, which is not in the vocabulary")


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
