"""Folders in the Hugging Face layout: config.json, model.safetensors, tokenizer.json, preprocessor_config.json."""

import difflib
import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lift_jax.errors import UserError
from lift_jax.files import filling
from lift_jax.models.vit import VisionTransformer
from lift_jax.weights import (
    misplaced,
    names,
    preprocessing,
    safetensors_files,
    transformers_aimv2,
    transformers_clip,
    transformers_dino,
    transformers_siglip,
    transformers_vit,
)
from lift_jax.weights.arrays import Foreign, write
from lift_jax.weights.assembly import assemble, named_arrays
from lift_jax.weights.backbone import Backbone, Params
from lift_jax.weights.folder import read_json
from lift_jax.weights.layout import CLIP_MEAN, CLIP_STD, Channels, Config, Layout
from lift_jax.weights.settings import Settings, shown
from lift_jax.weights.transformers_clip import networks

__all__ = ["CLIP_MEAN", "CLIP_STD", "MODEL_TYPES", "load", "networks", "read_layout", "save", "save_backbone"]

_log = logging.getLogger(__name__)

MODEL_TYPES: Mapping[str, Callable[[Config], Layout]] = {
    "clip": transformers_clip.layout,
    "clip_vision_model": transformers_clip.vision_layout,
    "siglip": transformers_siglip.layout,
    "siglip_vision_model": transformers_siglip.vision_layout,
    "siglip2": transformers_siglip.naflex_layout,
    "siglip2_vision_model": transformers_siglip.naflex_vision_layout,
    "vit": transformers_vit.layout,
    "dinov2": transformers_dino.v2_layout,
    "dinov2_with_registers": transformers_dino.v2_registers_layout,
    "dinov3_vit": transformers_dino.v3_layout,
    "aimv2_vision_model": transformers_aimv2.vision_layout,
    "metaclip_2": transformers_clip.metaclip_2_layout,
    "metaclip_2_vision_model": transformers_clip.vision_layout,
}
"""The values of `model_type` in config.json that we read."""

_TOWER = "vision_model."
_FIRST_WEIGHTS = (
    f"{_TOWER}embeddings.patch_embedding.weight",
    "embeddings.patch_embeddings.projection.weight",
    "embeddings.patch_embeddings.weight",
    "embeddings.patch_embed.weight",
)
"""What transformers calls the first weight of an image tower: of CLIP and SigLIP, of ViT and DINOv2, of DINOv3, and of
AIMv2."""


def read_layout(folder: Path) -> Layout:
    """Returns the layout of the model that the config.json of a folder describes.

    Raises:
        UserError: if it cannot be read, or is not of a model that we know.
    """
    config = read_json(folder, "config.json")
    return MODEL_TYPES[_model_type(config)](config)


def _model_type(config: Settings) -> str:
    kind = config.get("model_type")
    if kind == "aimv2":
        raise UserError(
            f"{config.place} is of an AIMv2 with a text tower, which is not read here; take an image tower alone, such "
            "as apple/aimv2-large-patch14-224."
        )
    if not isinstance(kind, str) or kind not in MODEL_TYPES:
        near = [each for each in MODEL_TYPES if kind and each.startswith(str(kind))]
        near = near or difflib.get_close_matches(str(kind), MODEL_TYPES, 1)
        hint = f"the nearest is {near[0]}, and the known ones are" if near else "the known ones are"
        if "convnext" in str(kind):
            hint = "a ConvNeXt is read as open_clip or timm writes it, and of transformers' models"
        raise UserError(
            f"The model_type in {config.place} is {shown(kind)}, which is not known; {hint} {', '.join(MODEL_TYPES)}."
        )
    return kind


def load(folder: str | Path) -> Backbone:
    """Loads a foundation model from a folder in the Hugging Face layout.

    Raises:
        UserError: if a file is missing or cannot be read, or the configuration is not of a model that we know.
    """
    folder = Path(folder)
    config = read_json(folder, "config.json")
    if "model_type" not in config and (what := misplaced.other_folder(folder)):
        raise UserError(f"The backbone {folder} {what}.")
    _model_type(config)  # what is not known is said before the weights are looked for
    return from_arrays(folder, *named_arrays(folder, aligned))


def aligned(foreign: Foreign, source: str) -> Foreign | None:
    """Returns the arrays by transformers' names, whatever prefix they have; None if they are none of an image tower.

    Args:
        foreign: the arrays of a file. Of a vision tower alone transformers leaves the prefix `vision_model.` out since
            version 5, and of a ViT with a classification head it puts `vit.` before the names.
        source: what to call the file in a message.

    Raises:
        UserError: if the file holds several models.
    """
    for first in _FIRST_WEIGHTS:
        tower = _TOWER if first.startswith(_TOWER) else ""
        if (named := names.aligned(foreign, first, tower, source)) is not None:
            return named
    return None


def from_arrays(folder: Path, foreign: Foreign, source: str) -> Backbone:
    """Makes a foundation model from its arrays and the other files of its folder.

    Args:
        folder: the folder with the config.json, and with the settings of the normalisation and the tokenizer if there
            are any.
        foreign: the arrays by transformers' names.
        source: what to call the file of the arrays in a message.

    Raises:
        UserError: as `load` does.
    """
    return assemble(folder, layout(folder, foreign, source), foreign, source, str(folder / "config.json"))


def layout(folder: Path, foreign: Foreign, source: str) -> Layout:
    """Returns the layout of a folder's model, without its text tower if the arrays have none.

    Args:
        folder, foreign, source: as of `from_arrays`.

    Raises:
        UserError: if the configuration cannot be read, or is not of a model that we know.
    """
    config = read_json(folder, "config.json")
    kind = _model_type(config)
    if kind in ("clip", "siglip", "siglip2", "metaclip_2") and not any(
        name.startswith("text_model.") for name in foreign
    ):
        _log.info("%s holds an image tower alone; there is no text to start the head from.", source)
        found = MODEL_TYPES[f"{kind}_vision_model"](config.section("vision_config"))
    else:
        found = MODEL_TYPES[kind](config)
    mean, std = _normalisation(folder, found)
    return found._replace(mean=mean, std=std)


def save(
    folder: str | Path, config: Mapping[str, Any], params: Params, dtype: np.typing.DTypeLike = np.float32
) -> None:
    """Writes config.json and model.safetensors so that `load`, and transformers, read them.

    Args:
        folder: the folder, which is made if it is not there.
        config: the content of config.json, whose model_type is in `MODEL_TYPES`.
        params: the parameters of a `Backbone`.
        dtype: the type of the stored arrays.

    Raises:
        OSError: if the folder cannot be written; it is then as it was.
    """
    layout = MODEL_TYPES[config["model_type"]](config)
    arrays = {name: array.astype(dtype, copy=False) for name, array in write(layout.table, params).items()}
    with filling(Path(folder)) as part:
        safetensors_files.write(part / "model.safetensors", arrays, {"format": "pt"})
        (part / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def save_backbone(folder: str | Path, backbone: Backbone, dtype: np.typing.DTypeLike = np.float32) -> None:
    """Writes a backbone, with its tokenizer and its normalisation, so that `load`, and transformers, read it.

    Raises:
        UserError: if transformers has no such model (CLIP's ResNets and ConvNeXts, EVA02).
        OSError: if the folder cannot be written; it is then as it was.
    """
    vision = backbone.vision
    if not isinstance(vision, VisionTransformer):
        raise UserError(
            f"transformers has no model like {backbone.name}, a CLIP with a "
            "convolutional image tower; write it as an orbax checkpoint, or a ResNet in the layout of open_clip."
        )
    if vision.pool == "attention":
        config, processor = transformers_siglip.config(backbone), "SiglipImageProcessor"
    elif vision.rms:
        config, processor = transformers_aimv2.config(backbone), "CLIPImageProcessor"
    elif vision.layer_scale:
        config, processor = transformers_dino.config(backbone), "BitImageProcessor"
    elif vision.pre_norm:
        config, processor = transformers_clip.config(backbone), "CLIPImageProcessor"
    else:
        config, processor = transformers_vit.config(backbone), "ViTImageProcessor"
    # At the resolution of the files nothing depends on how positions are resized.
    same = MODEL_TYPES[config["model_type"]](config).vision
    if same.clone(antialias=vision.antialias, linear_positions=vision.linear_positions) != vision:
        raise UserError(
            f"transformers has no model like {backbone.name}, whose image tower has other parts; write it as an orbax "
            "checkpoint."
        )
    side = dict(height=backbone.resolution, width=backbone.resolution)
    crop = dict(size=dict(shortest_edge=backbone.resolution), do_center_crop=True, crop_size=side)
    settings = dict(
        image_processor_type=processor,
        do_resize=True,
        **(dict(size=side) if processor in ("ViTImageProcessor", "SiglipImageProcessor") else crop),
        do_normalize=True,
        image_mean=list(backbone.mean),
        image_std=list(backbone.std),
    )
    with filling(Path(folder)) as part:
        save(part, config, backbone.params, dtype)
        (part / "preprocessor_config.json").write_text(json.dumps(settings, indent=2) + "\n")
        if backbone.tokenizer is not None:
            (part / "tokenizer.json").write_text(backbone.tokenizer.to_json(), encoding="utf-8")


def _normalisation(folder: Path, layout: Layout) -> tuple[Channels, Channels]:
    if (folder / "preprocessor_config.json").is_file():
        settings = read_json(folder, "preprocessor_config.json")
    elif (folder / "processor_config.json").is_file():
        settings = read_json(folder, "processor_config.json").section("image_processor")
    else:
        return layout.mean, layout.std
    return preprocessing.of_processor(settings, layout.mean, layout.std)
