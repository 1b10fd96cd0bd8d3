"""open_clip's folders: open_clip_config.json and open_clip_model.safetensors, such as LAION's and DataComp's."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from lift_jax.errors import UserError
from lift_jax.models.resnet import ResNet
from lift_jax.models.text import TextTransformer
from lift_jax.models.vit import VisionTransformer
from lift_jax.weights import clip_tokenizer, openai
from lift_jax.weights.arrays import read, unused, write
from lift_jax.weights.backbone import Backbone, content_hash
from lift_jax.weights.folder import read_json, stored_arrays
from lift_jax.weights.layout import CLIP_MEAN, CLIP_STD

CONFIG = "open_clip_config.json"
FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin", "model.safetensors")

# What a tower's configuration may say: sizes; and options of training, or with the one value that we have.
_SIZES = {
    "layers",
    "width",
    "head_width",
    "heads",
    "mlp_ratio",
    "patch_size",
    "image_size",
    "context_length",
    "vocab_size",
}
_HARMLESS = {"patch_dropout", "hf_tokenizer_name", "tokenizer_mode", "tokenizer_kwargs", "pad_id", "eos_id"}
_DEFAULTS = {"pool_type": ("tok", "argmax"), "pos_embed_type": ("learnable",), "block_type": ("default",)}
_DEFAULTS |= {"proj_type": ("linear",), "final_ln_after_pool": (True,)}  # the class token alone is normalised anyway


def load(folder: Path) -> Backbone:
    """A CLIP of open_clip, with a ViT or a ResNet.

    Raises:
        UserError: if a file cannot be read, or the model has parts that we do not.
    """
    config = read_json(folder, CONFIG)
    model = config.get("model_cfg", config)
    vision, text, resolution = networks(model, str(folder / CONFIG))
    foreign, source = stored_arrays(folder, FILES)
    if model.get("custom_text"):
        foreign = {name.removeprefix("text."): array for name, array in foreign.items()}
    embed = model["embed_dim"]
    # open_clip stored the causal mask until 2023.
    mask = unused("attn_mask", text.context_length, text.context_length)
    params = read([*_table(vision, text, resolution, embed), mask], foreign, source)
    tokenizer = clip_tokenizer.find(folder, text.context_length, text.vocab_size)
    settings = config.get("preprocess_cfg", {})
    mean, std = tuple(settings.get("mean", CLIP_MEAN)), tuple(settings.get("std", CLIP_STD))
    return Backbone(str(folder), vision, params, resolution, mean, std, text, tokenizer, content_hash(params))


def networks(model: Mapping[str, Any], source: str) -> tuple[VisionTransformer | ResNet, TextTransformer, int]:
    """The towers and the resolution that `model_cfg` describes.

    Raises:
        UserError: if it has an option that changes the model and that we do not have.
    """
    try:
        v, t = dict(model["vision_cfg"]), dict(model["text_cfg"])
    except (KeyError, TypeError) as error:
        raise UserError(
            f"{source} describes no CLIP ({error!r} is missing); take it from the model's source."
        ) from error
    for name, tower in ("vision_cfg", v), ("text_cfg", t):
        strange = [key for key, value in tower.items() if not _is_plain(key, value)]
        if strange:
            raise UserError(
                f"{source} sets {', '.join(strange)} in {name}, which is not known here; if the model has a folder in "
                "the layout of transformers (SigLIP has), give that one."
            )
    activation = "quick_gelu" if model.get("quick_gelu") else "gelu"
    width, layers, head = v.get("width", 768), v.get("layers", 12), v.get("head_width", 64)
    if isinstance(layers, int):
        mlp_dim = int(width * v.get("mlp_ratio", 4.0))
        vision = VisionTransformer(v.get("patch_size", 16), width, layers, width // head, mlp_dim, activation)
    else:
        vision = openai.resnet(tuple(layers), width, model["embed_dim"], head)
    width = t.get("width", 512)
    text = TextTransformer(
        vocab_size=t.get("vocab_size", 49408),
        context_length=t.get("context_length", 77),
        width=width,
        depth=t.get("layers", 12),
        num_heads=t.get("heads", 8),
        mlp_dim=int(width * t.get("mlp_ratio", 4.0)),
        activation=activation,
    )
    return vision, text, v.get("image_size", 224)


def _is_plain(key: str, value: Any) -> bool:
    return key in _SIZES | _HARMLESS or not value or value in _DEFAULTS.get(key, ())


def _table(vision: VisionTransformer | ResNet, text: TextTransformer, resolution: int, embed: int) -> list:
    return [*openai.vision_table(vision, resolution, embed), *openai.text_table(text, embed)]


def save_backbone(folder: str | Path, backbone: Backbone, dtype: np.typing.DTypeLike = np.float32) -> None:
    """Writes a CLIP so that `load`, and open_clip, read it; it is the layout for CLIP's ResNets.

    Raises:
        UserError: if the backbone is not a CLIP with both towers, or open_clip has none with its options.
    """
    folder, vision, text = Path(folder), backbone.vision, backbone.text
    if text is None or not text.causal:
        raise UserError(
            f"The backbone {backbone.name} is not a CLIP with both towers; write it in transformers' layout."
        )
    embed = backbone.params["text_projection"].shape[1]
    v: dict[str, Any] = dict(image_size=backbone.resolution)
    if isinstance(vision, ResNet):
        head = 32 * vision.stem_width // vision.num_heads
        v |= dict(layers=list(vision.layers), width=vision.stem_width, head_width=head, patch_size=None)
    else:
        head, ratio = vision.width // vision.num_heads, vision.mlp_dim / vision.width
        v |= dict(layers=vision.depth, width=vision.width, head_width=head, mlp_ratio=ratio)
        v |= dict(patch_size=vision.patch_size)
    t = dict(context_length=text.context_length, vocab_size=text.vocab_size, width=text.width)
    t |= dict(heads=text.num_heads, layers=text.depth, mlp_ratio=text.mlp_dim / text.width)
    model = dict(embed_dim=embed, quick_gelu=text.activation == "quick_gelu", vision_cfg=v, text_cfg=t)
    # For open_clip the end of a text is its largest id, and some options of both towers are one.
    ends = None, text.vocab_size - 1
    if networks(model, CONFIG)[:2] != (vision, text.clone(end_of_text=None)) or text.end_of_text not in ends:
        raise UserError(
            f"open_clip has no model like {backbone.name}, whose activations, epsilon or end of text are others; "
            "write it in transformers' layout or as an orbax checkpoint."
        )
    config = dict(model_cfg=model, preprocess_cfg=dict(mean=list(backbone.mean), std=list(backbone.std)))
    folder.mkdir(parents=True, exist_ok=True)
    flat = write(_table(vision, text, backbone.resolution, embed), backbone.params)
    arrays = {name: array.astype(dtype, copy=False) for name, array in flat.items()}
    safetensors.numpy.save_file(arrays, folder / FILES[0], metadata={"format": "pt"})
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n")
    if backbone.tokenizer is not None:
        (folder / "tokenizer.json").write_text(backbone.tokenizer.to_json(), encoding="utf-8")
