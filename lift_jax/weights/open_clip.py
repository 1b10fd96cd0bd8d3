"""open_clip's folders: open_clip_config.json and open_clip_model.safetensors, such as LAION's and DataComp's."""

import json
import logging
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from lift_jax.errors import UserError
from lift_jax.files import filling
from lift_jax.models.resnet import ResNet
from lift_jax.models.text import TextTransformer
from lift_jax.models.vit import VisionTransformer
from lift_jax.weights import activations, openai, preprocessing, safetensors_files
from lift_jax.weights.arrays import DEEPEST, Foreign, write
from lift_jax.weights.assembly import assemble, named_arrays
from lift_jax.weights.backbone import Backbone
from lift_jax.weights.folder import TRANSFORMERS, read_json
from lift_jax.weights.layout import CLIP_MEAN, CLIP_STD, Channels, Layout, check_heads, image_size
from lift_jax.weights.settings import Settings, shown

_log = logging.getLogger(__name__)

CONFIG = "open_clip_config.json"
FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
"""The files of the arrays that are open_clip's alone, the preferred first; a few folders have transformers' names."""

ALL_FILES = (*FILES, *TRANSFORMERS)

# What a tower's configuration may say: sizes; and options of training, or with the one value that we have.
_VISION = dict(layers=12, width=768, head_width=64, mlp_ratio=4.0, patch_size=16, image_size=224)
TEXT = dict(layers=12, width=512, heads=8, mlp_ratio=4.0, context_length=77, vocab_size=49408)
_HARMLESS = {"patch_dropout", "hf_tokenizer_name", "tokenizer_mode", "tokenizer_kwargs", "pad_id", "eos_id"}
_ONLY = {"pool_type": ("tok", "argmax"), "pos_embed_type": ("learnable",), "block_type": ("default",)}
_ONLY |= {"proj_type": ("linear",), "final_ln_after_pool": (True,)}  # the class token alone is normalised anyway


def load(folder: Path) -> Backbone:
    """Loads a CLIP of open_clip, with a ViT or a ResNet.

    Args:
        folder: the folder, whose name may tell the activation where the configuration does not.

    Raises:
        UserError: if a file cannot be read, or the model has parts that we do not.
    """
    networks(model_section(folder))  # what is not known is said before the weights are looked for
    return from_arrays(folder, *named_arrays(folder, openai.aligned, ALL_FILES), folder)


def from_arrays(folder: Path, foreign: Foreign, source: str, named: Path) -> Backbone:
    """Makes a CLIP from its arrays and the open_clip_config.json of its folder.

    Args:
        folder: the folder with the configuration.
        foreign: the arrays by OpenAI's names.
        source: what to call the file of the arrays in a message.
        named: the file or folder whose name may tell the activation where the configuration does not.

    Raises:
        UserError: as `load` does.
    """
    found = layout(folder, foreign, source, named)
    return assemble(folder, found, foreign, source, str(folder / CONFIG))


def layout(folder: Path, foreign: Foreign, source: str, named: Path) -> Layout:
    """Returns the layout of a folder's CLIP, without its text tower if the arrays have none.

    Args:
        folder, foreign, source, named: as of `from_arrays`.

    Raises:
        UserError: as `load` does.
    """
    model = model_section(folder)
    vision, text, resolution = networks(model, _activation(model, named))
    if not any(name.startswith(("token_embedding.", "transformer.")) for name in foreign):
        _log.info("%s holds an image tower alone; there is no text to start the head from.", source)
        text = None
    table = openai.table(vision, text, resolution, model.whole("embed_dim"))
    return Layout(vision, text, resolution, table, *normalisation(folder))


def normalisation(folder: Path) -> tuple[Channels, Channels]:
    """Returns the mean and the standard deviation in a folder's open_clip_config.json, or CLIP's.

    Raises:
        UserError: if they are none that pixels have.
    """
    settings = read_json(folder, CONFIG).section("preprocess_cfg")
    return preprocessing.of_keys(settings, "mean", "std", CLIP_MEAN, CLIP_STD)


def model_section(folder: Path) -> Settings:
    """Returns the section of a folder's open_clip_config.json that describes the model.

    Raises:
        UserError: if it cannot be read.
    """
    config = read_json(folder, CONFIG)
    return config.section("model_cfg") if "model_cfg" in config else config


def _activation(model: Settings, named: Path) -> str:
    """Returns the activation by the configuration, or by the table of known families where that does not mention it."""
    if "quick_gelu" in model:
        return "quick_gelu" if model.flag("quick_gelu") else "gelu"
    if activations.from_place(named) == "quick_gelu":
        _log.info("By its name %s was trained with quick_gelu, though %s does not say so.", named, model.place)
        return "quick_gelu"
    return "gelu"


def networks(model: Settings, activation: str = "gelu") -> tuple[VisionTransformer | ResNet, TextTransformer, int]:
    """Returns the towers and the resolution that `model_cfg` describes.

    Args:
        model: the section of open_clip's configuration.
        activation: the activation of both towers.

    Raises:
        UserError: if a value is of another kind or out of its range, or there is an option that changes the model and
            that we do not have.
    """
    for key in "vision_cfg", "text_cfg":
        if key not in model:
            raise UserError(f"{model.place} describes no CLIP ({key} is missing); take it from the model's source.")
    v, t = model.section("vision_cfg", _VISION), model.section("text_cfg", TEXT)
    for tower, sizes in (v, _VISION), (t, TEXT):
        check_known(tower, sizes)
    width, head = v.whole("width"), v.whole("head_width")
    if isinstance(v["layers"], list):
        vision, resolution = _resnet(v, model.whole("embed_dim"))
    else:
        check_heads(width, head, f"head_width in {v.place}")
        resolution, patch_size = image_size(v)
        depth, mlp_dim = v.whole("layers", high=DEEPEST), _mlp_dim(v)
        vision = VisionTransformer(patch_size, width, depth, width // head, mlp_dim, activation)
    return vision, text_network(t, activation), resolution


def check_known(tower: Settings, sizes: Collection[str]) -> None:
    """Checks that a tower's configuration has no option that changes the model and that we do not have.

    Args:
        tower: the section of the configuration.
        sizes: the keys that are read.

    Raises:
        UserError: if it has one.
    """
    strange = [key for key, value in tower.items() if not _is_plain(key, value, sizes)]
    if strange:
        raise UserError(
            f"{', '.join(strange)} in {tower.place} is not known here; if the model has a folder in the layout of "
            "transformers (SigLIP has), give that one."
        )


def text_network(t: Settings, activation: str) -> TextTransformer:
    """Makes the text tower of the sizes in `text_cfg`.

    Raises:
        UserError: if a value is of another kind or out of its range.
    """
    width, heads = t.whole("width"), t.whole("heads")
    check_heads(width, heads, f"heads in {t.place}")
    return TextTransformer(
        vocab_size=t.whole("vocab_size"),
        context_length=t.whole("context_length"),
        width=width,
        depth=t.whole("layers", high=DEEPEST),
        num_heads=heads,
        mlp_dim=_mlp_dim(t),
        activation=activation,
    )


def _resnet(tower: Settings, embed: int) -> tuple[ResNet, int]:
    layers = tower.numbers("layers", 4)
    for stage in layers:
        if type(stage) is not int or not 1 <= stage <= DEEPEST:
            raise UserError(
                f"layers in {tower.place} is {shown(list(layers))}, but a stage has from 1 to {DEEPEST} blocks; take "
                "the file from the model's source again."
            )
    width, head = tower.whole("width", low=2), tower.whole("head_width")
    check_heads(32 * width, head, f"head_width in {tower.place}")
    a, b, c, d = map(int, layers)
    return openai.resnet((a, b, c, d), width, embed, head), tower.whole("image_size", low=32)


def _mlp_dim(tower: Settings) -> int:
    return int(tower.whole("width") * tower.number("mlp_ratio", 0.01, 100))


def _is_plain(key: str, value: Any, sizes: Collection[str]) -> bool:
    return key in sizes or key in _HARMLESS or not value or value in _ONLY.get(key, ())


def save_backbone(folder: str | Path, backbone: Backbone, dtype: np.typing.DTypeLike = np.float32) -> None:
    """Writes a CLIP so that `load`, and open_clip, read it; it is the layout for CLIP's ResNets.

    Raises:
        UserError: if the backbone is not a CLIP with both towers, or open_clip has none with its options.
        OSError: if the folder cannot be written; it is then as it was.
    """
    vision, text = backbone.vision, backbone.text
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
    own = networks(Settings(model, CONFIG), "quick_gelu" if model["quick_gelu"] else "gelu")[:2]
    if own != (vision, text.clone(end_of_text=None)) or text.end_of_text not in ends:
        raise UserError(
            f"open_clip has no model like {backbone.name}, whose activations, epsilon or end of text are others; "
            "write it in transformers' layout or as an orbax checkpoint."
        )
    config = dict(model_cfg=model, preprocess_cfg=dict(mean=list(backbone.mean), std=list(backbone.std)))
    flat = write(openai.table(vision, text, backbone.resolution, embed), backbone.params)
    arrays = {name: array.astype(dtype, copy=False) for name, array in flat.items()}
    with filling(Path(folder)) as part:
        safetensors_files.write(part / FILES[0], arrays, {"format": "pt"})
        (part / CONFIG).write_text(json.dumps(config, indent=2) + "\n")
        if backbone.tokenizer is not None:
            (part / "tokenizer.json").write_text(backbone.tokenizer.to_json(), encoding="utf-8")
