"""timm's ViTs: a folder of the hub, such as timm/vit_base_patch16_224.augreg_in21k, or a .pth file of arrays alone.

The .pth files of DINOv2's authors have nearly the same names and are read here, too.
"""

import logging
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lift_jax.errors import UserError
from lift_jax.models.vit import VisionTransformer
from lift_jax.weights import activations, misplaced, names, preprocessing
from lift_jax.weights.arrays import BlockNames, Entry, Foreign, blocks, convolution, norm, read, reshaped, same, unused
from lift_jax.weights.backbone import Backbone, content_hash
from lift_jax.weights.folder import read_json, stored_arrays
from lift_jax.weights.layout import CLIP_MEAN, CLIP_STD, HALF, IMAGENET_MEAN, IMAGENET_STD, check_heads
from lift_jax.weights.settings import LARGEST, Settings, shown

_log = logging.getLogger(__name__)

_BLOCK = BlockNames("norm1", ("attn.qkv.",), "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
_LAYER_SCALES = ("ls1.gamma", "ls2.gamma")

_DINO_NAMES = ((r"^register_tokens$", "reg_token"), (r"\.mlp\.w12\.", ".mlp.fc1."), (r"\.mlp\.w3\.", ".mlp.fc2."))
"""What DINOv2's authors call arrays otherwise than timm."""

NUM_HEADS = {1280: 16, 1408: 16, 1664: 16}
"""The number of heads of the widths huge, giant and gigantic, whose heads are not 64 wide."""

_FIRST_WEIGHT = "patch_embed.proj.weight"


def load(folder: Path) -> Backbone:
    """Loads a ViT that was pre-trained on ImageNet-21K (Steiner et al. 2021, arXiv 2106.10270), DINOv2 or CLIP.

    The classification head, or a CLIP's projection, is left out.

    Raises:
        UserError: if a file cannot be read, or the architecture is another.
    """
    architecture(read_json(folder, "config.json"))  # what is not known is said before the weights are looked for
    foreign, source = stored_arrays(folder)
    named = aligned(foreign, source)
    if named is None:
        raise misplaced.arrays(foreign, source)
    return from_arrays(folder, named, source)


def aligned(foreign: Foreign, source: str) -> Foreign | None:
    """Returns the arrays by timm's names, whatever prefix they have; None if they are not those of a ViT.

    Args:
        foreign: the arrays of a file.
        source: what to call the file in a message.

    Raises:
        UserError: if the file holds several models, or the ViT is one half of a CLIP of open_clip's.
    """
    if any("visual.trunk." in name for name in foreign):
        raise UserError(
            f"{source} holds a CLIP of open_clip's with an image tower of timm's (visual.trunk), which is not known "
            "here; if the model has a folder in the layout of transformers (SigLIP has), give that one."
        )
    named = names.aligned(foreign, _FIRST_WEIGHT, "", source)
    return named and {_timm_name(name): array for name, array in named.items()}


def _timm_name(name: str) -> str:
    for theirs, ours in _DINO_NAMES:
        name = re.sub(theirs, ours, name)
    return name


def from_arrays(folder: Path, foreign: Foreign, source: str) -> Backbone:
    """Makes a ViT from its arrays and the config.json of its folder.

    Args:
        folder: the folder with the config.json.
        foreign: the arrays by timm's names.
        source: what to call the file of the arrays in a message.

    Raises:
        UserError: as `load` does.
    """
    config = read_json(folder, "config.json")
    name = architecture(config)
    pretrained = config.section("pretrained_cfg")
    settings = Settings({**config, **pretrained}, config.place, dict(input_size=[3, 224, 224]))
    options = config.section("model_args")
    num_heads = options.whole("num_heads") if options.get("num_heads") is not None else None
    quick = "quickgelu" in name or _was_quick(name, pretrained, config.place)
    vision = _network(foreign, num_heads, "quick_gelu" if quick else "gelu", source)
    resolution = _side(settings)
    params = read(_table(vision, resolution, _places_class(foreign)), foreign, source, config.place)
    mean, std = preprocessing.of_keys(settings, "mean", "std", HALF, HALF)
    return Backbone(str(folder), vision, params, resolution, mean, std, None, None, content_hash(params))


def from_file(file: Path, foreign: Foreign, activation: str) -> Backbone:
    """Makes a ViT from its arrays alone, as a .pth file has them.

    What they do not show is what timm's ViTs have: heads 64 wide, and GELU in all but CLIPs.

    Args:
        file: the file of the arrays.
        foreign: the arrays by timm's names.
        activation: `config.backbone_activation`.

    Raises:
        UserError: if they are of another ViT, or of a CLIP of which neither `activation` nor the file's name tells the
            activation.
    """
    source = str(file)
    is_clip = "norm_pre.weight" in foreign
    known = activations.from_place(file) if is_clip else "gelu"
    if not (known or activation):
        raise activations.unknown(source)
    vision = _network(foreign, None, known or activation, source)
    places_class = _places_class(foreign)
    side = math.isqrt(max(_num_positions(foreign) - places_class, 0))
    params = read(_table(vision, side * vision.patch_size, places_class), foreign, source)
    mean, std, who = (HALF, HALF, "timm's ViTs of ImageNet-21K")
    if is_clip or vision.layer_scale:
        mean, std, who = (CLIP_MEAN, CLIP_STD, "CLIPs") if is_clip else (IMAGENET_MEAN, IMAGENET_STD, "DINOv2s")
    _log.warning(
        "%s does not tell how its images are normalised; mean %s and std %s are taken, as %s have them. If others are "
        "right, put the model's config.json beside the file.",
        source, mean, std, who,
    )  # fmt: skip
    resolution = side * vision.patch_size
    return Backbone(source, vision, params, resolution, mean, std, None, None, content_hash(params))


def architecture(config: Settings) -> str:
    """Returns the name of timm's model that a config.json describes, which is a ViT with a class token.

    Raises:
        UserError: if it is another.
    """
    name = config.get("architecture")
    if not isinstance(name, str) or not re.fullmatch(r"vit_\w+_patch\d+_\w+", name):
        raise UserError(
            f"The architecture in {config.place} is {shown(name)}, which is not known; of timm's models those are that "
            "are a ViT with a class token, such as vit_base_patch16_224."
        )
    for section in config, config.section("model_args"):
        pool = section.get("global_pool", "token")
        if pool != "token":
            how = "averages its tokens" if pool == "avg" else "has no class token as its result"
            raise UserError(
                f"global_pool in {section.place} is {shown(pool)}, so the ViT {how}, which is not known here; take one "
                "with a class token, such as timm/vit_base_patch16_224.augreg_in21k_ft_in1k."
            )
    return name


def _side(settings: Settings) -> int:
    """Returns the side of the square input, in pixels, from the channels, height and width that are in `input_size`."""
    _, height, width = settings.numbers("input_size", 3)
    if height != width or type(width) is not int or not 1 <= width <= LARGEST:
        raise UserError(
            f"input_size in {settings.place} is {shown(settings['input_size'])}, but it has to be [3, SIDE, SIDE] with "
            f"a SIDE from 1 to {LARGEST} pixels; correct it, or take the file from the model's source again."
        )
    return width


def _was_quick(name: str, pretrained: Settings, place: str) -> bool:
    """Tells whether a CLIP was trained with quick_gelu though its architecture in timm has GELU, and says so."""
    tag = pretrained.get("tag")
    quick = "_clip_" in name and isinstance(tag, str) and activations.from_name(f"{name}.{tag}") == "quick_gelu"
    if quick:
        _log.warning(
            "%s names %s.%s, which timm computes with gelu though it was trained with quick_gelu; quick_gelu is taken. "
            "If it was fine-tuned in timm, write config.backbone_activation=gelu.",
            place, name, tag,
        )  # fmt: skip
    return quick


def _network(foreign: Foreign, num_heads: int | None, activation: str, source: str) -> VisionTransformer:
    try:
        width, _, patch_size, _ = foreign[_FIRST_WEIGHT].shape
        inner, mlp_dim = foreign["blocks.0.mlp.fc1.weight"].shape[0], foreign["blocks.0.mlp.fc2.weight"].shape[1]
    except (KeyError, ValueError, IndexError) as error:
        raise misplaced.arrays(foreign, source) from error
    if "cls_token" not in foreign:
        misplaced.check_parts(foreign, source)
        raise UserError(f"{source} holds a ViT without a class token (cls_token is missing); take one that has it.")
    num_heads = num_heads or heads_of(width, source)
    check_heads(width, num_heads, f"The number of heads of {source}")
    is_clip, gated = "norm_pre.weight" in foreign, inner == 2 * mlp_dim
    registers = foreign["reg_token"].shape if "reg_token" in foreign else ()
    num_registers = registers[1] if len(registers) == 3 else 0
    return VisionTransformer(
        patch_size=patch_size,
        width=width,
        depth=depth(foreign, "blocks"),
        num_heads=num_heads,
        mlp_dim=mlp_dim,
        activation="silu" if gated else activation,
        epsilon=1e-5 if is_clip else 1e-6,
        pre_norm=is_clip,
        patch_bias="patch_embed.proj.bias" in foreign,
        layer_scale=all(f"blocks.0.{name}" in foreign for name in _LAYER_SCALES),
        gated=gated,
        num_registers=num_registers,
        # The file of DINOv2's authors, which alone has the token of the pre-training's masked patches.
        antialias=num_registers > 0 or "mask_token" not in foreign,
    )


def _num_positions(foreign: Foreign) -> int:
    shape = foreign["pos_embed"].shape if "pos_embed" in foreign else ()
    return shape[1] if len(shape) == 3 else 0


def _places_class(foreign: Foreign) -> bool:
    """Tells whether the class token has a position: the patches of a square image are a square number."""
    return math.isqrt(_num_positions(foreign)) ** 2 != _num_positions(foreign)


def heads_of(width: int, source: str) -> int:
    """Returns the number of attention heads of an image tower of which only the width is known.

    Args:
        width: of the tokens.
        source: what to call the file in a message.

    Raises:
        UserError: if the width is none of a model that is published.
    """
    if width not in NUM_HEADS and width % 64:
        raise UserError(
            f"{source} holds a transformer of width {width}, which is no multiple of 64, so that nothing tells its "
            "number of heads; put the model's configuration (config.json, open_clip_config.json) beside the file."
        )
    return NUM_HEADS.get(width, width // 64)


def depth(foreign: Mapping[str, Any], blocks: str) -> int:
    """Returns the number of blocks in a file.

    Args:
        foreign: its arrays by their names, which are `blocks.0.…` and so on.
        blocks: what stands before the numbers.
    """
    numbers = (re.match(rf"{re.escape(blocks)}\.(\d+)\.", name) for name in foreign)
    return 1 + max((int(match[1]) for match in numbers if match), default=-1)


def _table(vision: VisionTransformer, resolution: int, places_class: bool = True) -> list[Entry]:
    width, p, registers = vision.width, vision.patch_size, vision.num_registers
    patches = (resolution // p) ** 2
    names = _BLOCK._replace(layer_scales=_LAYER_SCALES) if vision.layer_scale else _BLOCK
    table = [
        convolution("vision/patch_embedding", _FIRST_WEIGHT, p, 3, width),
        reshaped("vision/class_embedding", "cls_token", (1, 1, width), (width,)),
        _positions(patches, width, places_class),
        *blocks("vision", "blocks", names, vision.depth, width, vision.mlp_dim, vision.gated),
        *norm("vision/ln_post", "norm", width),
        unused("mask_token", 1, width),
    ]
    if vision.patch_bias:
        table.append(same("vision/patch_bias", "patch_embed.proj.bias", width))
    if vision.pre_norm:
        table += norm("vision/ln_pre", "norm_pre", width)
    if registers:
        table.append(reshaped("vision/register_tokens", "reg_token", (1, registers, width), (registers, width)))
    return table


def _positions(patches: int, width: int, places_class: bool) -> Entry:
    """Returns the position embedding; if the class token has none in the file, its position in our tree is zero."""
    path, name = "vision/position_embedding", "pos_embed"
    if places_class:
        return reshaped(path, name, (1, patches + 1, width), (patches + 1, width))
    return Entry(
        path, (name,), ((1, patches, width),), lambda x: np.pad(x[0], ((1, 0), (0, 0))), lambda x: (x[None, 1:],)
    )
