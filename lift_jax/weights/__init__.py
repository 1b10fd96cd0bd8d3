"""Foundation models from the formats people have: one file a format, one parameter tree for all."""

import dataclasses
from pathlib import Path

from etils import epath

from lift_jax.errors import UserError, first_line, reason
from lift_jax.models.convnext import ConvNeXt
from lift_jax.models.resnet import ResNet
from lift_jax.weights import (
    activations,
    cache,
    huggingface,
    open_clip,
    open_clip_trunk,
    plausibility,
    single_file,
    timm,
)
from lift_jax.weights.backbone import Backbone, content_hash
from lift_jax.weights.folder import has_arrays, read_json
from lift_jax.weights.positions import resize_positions
from lift_jax.weights.source import find, plain_name

__all__ = ["Backbone", "content_hash", "load", "resize"]


def load(name: str, resolution: int | None = None, activation: str = "") -> Backbone:
    """Loads the foundation model of a folder, file or hub id.

    Args:
        name: `config.backbone`; see `lift_jax.weights.source.find`.
        resolution: the side of its input in pixels, to which its positions are resized; None for the model's own.
        activation: `config.backbone_activation`: the activation of a CLIP whose files do not tell it, which is obeyed
            against what they tell, too.

    Raises:
        UserError: if it cannot be found or read, or the patch size does not divide the resolution.
    """
    activations.check(activation)
    name = plain_name(name)
    place = find(name)
    try:
        backbone = dataclasses.replace(_read(place, activation), name=name)
        plausibility.check(backbone)
    except OSError as error:
        raise UserError(f"The backbone {place} cannot be read ({reason(error)}); check its files.") from error
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        # What the readers of the formats did not foresee; a configuration may hold anything anywhere.
        raise UserError(
            f"The files of the backbone {place} describe no model that is known here "
            f"({type(error).__name__}: {first_line(error)}); take them from the model's source again."
        ) from error
    backbone = activations.with_activation(backbone, activation)
    return resize(backbone, resolution) if resolution else backbone


def _read(place: epath.Path | Path, activation: str) -> Backbone:
    """Reads the model of a place, in the format that its files show."""
    if (place / cache.CONFIG).exists():
        return cache.load(place)
    place = Path(place)
    if place.suffix == ".json" and place.is_file():  # the configuration stands for its folder
        place = place.parent
    if place.is_file():
        return single_file.load(place, activation)
    config = read_json(place, "config.json") if (place / "config.json").is_file() else {}
    if (place / open_clip.CONFIG).is_file():
        # open_clip's repositories often hold the same model in the layout of transformers, too, or its image tower in
        # timm's.
        others = "model_type" in config or ("architecture" in config and not has_arrays(place, open_clip.FILES))
        if not (others and has_arrays(place)):
            return (open_clip_trunk if open_clip_trunk.describes(place) else open_clip).load(place)
    return timm.load(place) if "architecture" in config else huggingface.load(place)


def resize(backbone: Backbone, resolution: int) -> Backbone:
    """Returns the backbone for images of another size, with its positions resized.

    Args:
        backbone: as it was loaded.
        resolution: the side of the new images, in pixels.

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
    if isinstance(backbone.vision, ConvNeXt):  # which has no positions
        return dataclasses.replace(backbone, resolution=resolution)
    vision = dict(backbone.params["vision"])
    parent, has_extra, how = vision, True, {}
    if isinstance(backbone.vision, ResNet):
        parent = vision["attn_pool"] = dict(vision["attn_pool"])
    else:
        has_extra = backbone.vision.has_class
        how = dict(antialias=backbone.vision.antialias, linear=backbone.vision.linear_positions)
    if (positions := parent.get("position_embedding")) is not None:  # rotary ones are computed for any resolution
        parent["position_embedding"] = resize_positions(positions, resolution // patch, int(has_extra), **how)
    return dataclasses.replace(backbone, params={**backbone.params, "vision": vision}, resolution=resolution)
