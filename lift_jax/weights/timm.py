"""timm's ViT folders: config.json with an `architecture`, model.safetensors as timm/vit_base_patch16_224.…"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lift_jax.errors import UserError
from lift_jax.models.vit import VisionTransformer
from lift_jax.weights.arrays import BlockNames, Entry, Foreign, blocks, convolution, norm, read, reshaped, same, unused
from lift_jax.weights.backbone import Backbone, content_hash
from lift_jax.weights.folder import read_json, stored_arrays
from lift_jax.weights.layout import HALF

_BLOCK = BlockNames("norm1", ("attn.qkv.",), "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")

_NUM_HEADS = {1280: 16, 1408: 16, 1664: 16}
"""Of the widths huge, giant and gigantic, whose heads are not 64 wide."""


def load(folder: Path) -> Backbone:
    """A ViT with a class token: pre-trained on ImageNet-21K (Steiner et al. 2021, arXiv 2106.10270), or a CLIP's.

    The classification head, or a CLIP's projection, is left out.

    Raises:
        UserError: if a file cannot be read, or the architecture is another.
    """
    config = read_json(folder, "config.json")
    architecture = str(config.get("architecture"))
    settings = {**config, **config.get("pretrained_cfg", {})}
    if not re.fullmatch(r"vit_\w+_patch\d+_\w+", architecture) or config.get("global_pool", "token") != "token":
        raise UserError(
            f"The architecture in {folder / 'config.json'} is {architecture!r}, which is not known; "
            "of timm's models those are that are a ViT with a class token, such as vit_base_patch16_224."
        )
    foreign, source = stored_arrays(folder)
    options = config.get("model_args") or {}
    vision = _network(architecture, foreign, options.get("num_heads"), source)
    resolution = settings.get("input_size", (3, 224, 224))[-1]
    table = _table(vision, resolution, foreign)
    params = read(table, foreign, source)
    mean, std = tuple(settings.get("mean", HALF)), tuple(settings.get("std", HALF))
    return Backbone(str(folder), vision, params, resolution, mean, std, None, None, content_hash(params))


def _network(architecture: str, foreign: Foreign, num_heads: int | None, source: str) -> VisionTransformer:
    try:
        width, _, patch_size, _ = foreign["patch_embed.proj.weight"].shape
        mlp_dim = foreign["blocks.0.mlp.fc1.weight"].shape[0]
    except (KeyError, ValueError) as error:
        raise UserError(f"{source} holds no ViT ({error!r} is missing); give a model of timm's ViT family.") from error
    is_clip = "norm_pre.weight" in foreign
    return VisionTransformer(
        patch_size=patch_size,
        width=width,
        depth=depth(foreign, "blocks"),
        num_heads=num_heads or _NUM_HEADS.get(width, width // 64),
        mlp_dim=mlp_dim,
        activation="quick_gelu" if "quickgelu" in architecture else "gelu",
        epsilon=1e-5 if is_clip else 1e-6,
        pre_norm=is_clip,
        patch_bias="patch_embed.proj.bias" in foreign,
    )


def depth(foreign: Mapping[str, Any], blocks: str) -> int:
    """The number of blocks, whose arrays are named `blocks.0.…` and so on."""
    numbers = (re.match(rf"{re.escape(blocks)}\.(\d+)\.", name) for name in foreign)
    return 1 + max((int(match[1]) for match in numbers if match), default=-1)


def _table(vision: VisionTransformer, resolution: int, foreign: Foreign) -> list[Entry]:
    width, p = vision.width, vision.patch_size
    positions = (resolution // p) ** 2 + 1
    classes = foreign["head.weight"].shape[0] if "head.weight" in foreign else 0
    table = [
        convolution("vision/patch_embedding", "patch_embed.proj.weight", p, 3, width),
        reshaped("vision/class_embedding", "cls_token", (1, 1, width), (width,)),
        reshaped("vision/position_embedding", "pos_embed", (1, positions, width), (positions, width)),
        *blocks("vision", "blocks", _BLOCK, vision.depth, width, vision.mlp_dim),
        *norm("vision/ln_post", "norm", width),
        unused("head.weight", classes, width),
        unused("head.bias", classes),
    ]
    if vision.patch_bias:
        table.append(same("vision/patch_bias", "patch_embed.proj.bias", width))
    if vision.pre_norm:
        table += norm("vision/ln_pre", "norm_pre", width)
    return table
