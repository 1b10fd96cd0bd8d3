"""timm's vision transformers: what is known of each family, the network of a file's arrays, and the arrays' places."""

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from lift_jax.errors import UserError
from lift_jax.models.rotary import Grid
from lift_jax.models.vit import VisionTransformer
from lift_jax.weights import misplaced
from lift_jax.weights.arrays import (
    BlockNames,
    Entry,
    Foreign,
    blocks,
    convolution,
    linear,
    norm,
    reordered,
    reshaped,
    same,
    side_by_side,
    unused,
)
from lift_jax.weights.layout import check_heads

FIRST_WEIGHT = "patch_embed.proj.weight"

NUM_HEADS = {1280: 16, 1408: 16, 1664: 16}
"""Returns the number of heads of the widths huge, giant and gigantic, whose heads are not 64 wide."""

POOLS = {"token": "class", "avg": "mean", "map": "attention"}
"""timm's words for what is pooled, and ours."""

_BLOCK = BlockNames("norm1", ("attn.qkv.",), "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")


class Family(NamedTuple):
    """What the name of one of timm's architectures tells of a ViT and its arrays do not.

    Attributes:
        names: a pattern of the names of the family's architectures.
        example: one of these names.
        pools: the values of global_pool that the family may have, the usual one first.
        activation, epsilon, rope_theta, rope_grid, rms, pool_heads: as in `VisionTransformer`.
        head_width: the width of an attention head.
        num_heads: the numbers of heads of the widths whose heads are of another width.
        layer_scales: what a block calls its layer scales.
        lacks_biases: whether some linear layers may have no bias.
        interleaved: whether two channels that rotary positions turn together are neighbours in the file.
        x_first: whether the channels that are turned by a patch's x come before those that are turned by its y.
    """

    names: str
    example: str
    pools: tuple[str, ...] = ("token",)
    activation: str = "gelu"
    epsilon: float = 1e-6
    head_width: int = 64
    num_heads: Mapping[int, int] = {}
    layer_scales: tuple[str, str] = ("ls1.gamma", "ls2.gamma")
    lacks_biases: bool = False
    rope_theta: float | None = None
    rope_grid: Grid | None = None
    interleaved: bool = False
    x_first: bool = False
    rms: bool = False
    pool_heads: int | None = None


PLAIN = Family(r"vit_(?!pe_|.*(siglip|dinov3|rope))\w+_patch\d+_\w+", "vit_base_patch16_224", num_heads=NUM_HEADS)
"""The ImageNet-21K ViTs, DINOv2, and the image towers of CLIPs."""

_SIGLIP = Family(
    r"vit_(base|large|so400m)_patch(32|16|14)_siglip_(gap_)?\d+",
    "vit_base_patch16_siglip_224",
    pools=("map", "avg"),
    num_heads={1152: 16, 1536: 16},
)
_PE = Family(
    r"vit_pe_core_base_patch16_224",
    "vit_pe_core_base_patch16_224",
    pools=("map",),
    epsilon=1e-5,
    rope_theta=1e4,
    rope_grid=Grid(14, 1.0),
    interleaved=True,
    x_first=True,
    pool_heads=8,
)
FAMILIES = (
    _SIGLIP._replace(
        names=r"vit_(so400m|giantopt)_patch16_siglip_(gap_)?\d+",
        example="vit_so400m_patch16_siglip_256",
        activation="gelu_pytorch_tanh",
    ),
    _SIGLIP,
    Family(
        r"eva02_(base_patch16|large_patch14)_clip_\d+",
        "eva02_base_patch16_clip_224",
        lacks_biases=True,
        rope_theta=1e4,
        rope_grid=Grid(16),
        interleaved=True,
    ),
    Family(
        r"vit_\w+_patch16_dinov3(_qkvb)?",
        "vit_base_patch16_dinov3",
        pools=("avg", "token"),
        epsilon=1e-5,
        num_heads={4096: 32},
        layer_scales=("gamma_1", "gamma_2"),
        lacks_biases=True,
        rope_theta=100.0,
    ),
    Family(
        r"aimv2_\w+_patch14_\d+",
        "aimv2_large_patch14_224",
        pools=("avg",),
        epsilon=1e-5,
        head_width=128,
        lacks_biases=True,
        rms=True,
    ),
    _PE,
    _PE._replace(
        names=r"vit_pe_core_((tiny|small)_patch16_384|large_patch14_336)",
        example="vit_pe_core_large_patch14_336",
        rope_grid=Grid(24, 1.0),
    ),
    _PE._replace(
        names=r"vit_pe_core_gigantic_patch14_448",
        example="vit_pe_core_gigantic_patch14_448",
        num_heads={1536: 16},
        rope_grid=Grid(32),
    ),
    PLAIN,
)
"""The families that are known; the first whose pattern fits a name is taken."""


def family_of(architecture: str) -> Family | None:
    """Returns the family of an architecture by timm's name of it; None if it is not known."""
    return next((family for family in FAMILIES if re.fullmatch(family.names, architecture)), None)


def network(
    foreign: Foreign, family: Family, pool: str, num_heads: int | None, activation: str, source: str
) -> VisionTransformer:
    """Builds the network of a file's arrays.

    Args:
        foreign: the arrays by timm's names.
        family: of the architecture.
        pool: what is pooled, in timm's words.
        num_heads: the number of attention heads; None if the width tells it.
        activation: of the MLP, unless it is gated.
        source: what to call the file in a message.

    Raises:
        UserError: if an array is missing by which the network is known, or the heads do not fit the width.
    """
    try:
        width, _, patch_size, _ = foreign[FIRST_WEIGHT].shape
        apart = "blocks.0.mlp.fc1_g.weight" in foreign
        inner = foreign["blocks.0.mlp.fc1_g.weight" if apart else "blocks.0.mlp.fc1.weight"].shape[0]
        mlp_dim = foreign["blocks.0.mlp.fc2.weight"].shape[1]
        pool_mlp_dim = foreign["attn_pool.mlp.fc1.weight"].shape[0] if pool == "map" else mlp_dim
    except (KeyError, ValueError, IndexError) as error:
        raise misplaced.arrays(foreign, source) from error
    if pool == "token" and "cls_token" not in foreign:
        misplaced.check_parts(foreign, source)
        raise UserError(f"{source} holds a ViT without a class token (cls_token is missing); take one that has it.")
    num_heads = num_heads or family.num_heads.get(width) or heads_of(width, source, family.head_width)
    check_heads(width, num_heads, f"The number of heads of {source}")
    has_norm, gated = "norm_pre.weight" in foreign, apart or inner == 2 * mlp_dim
    registers = foreign["reg_token"].shape if "reg_token" in foreign else ()
    num_registers = registers[1] if len(registers) == 3 else 0
    return VisionTransformer(
        patch_size=patch_size,
        width=width,
        depth=depth(foreign, "blocks"),
        num_heads=num_heads,
        mlp_dim=mlp_dim,
        activation="silu" if gated else activation,
        epsilon=1e-5 if has_norm else family.epsilon,
        pre_norm=has_norm,
        patch_bias="patch_embed.proj.bias" in foreign,
        pool=POOLS[pool],  # pyright: ignore[reportArgumentType]
        unpooled_class=pool != "token" and "cls_token" in foreign,
        pool_heads=family.pool_heads,
        pool_mlp_dim=None if pool_mlp_dim == mlp_dim else pool_mlp_dim,
        layer_scale=all(f"blocks.0.{name}" in foreign for name in family.layer_scales),
        gated=gated,
        num_registers=num_registers,
        rope_theta=family.rope_theta,
        rope_grid=family.rope_grid,
        rms=family.rms,
        inner_norms="blocks.0.mlp.norm.weight" in foreign,
        patch_norm="patch_embed.norm.weight" in foreign,
        # The file of DINOv2's authors, which alone has the token of the pre-training's masked patches.
        antialias=num_registers > 0 or "mask_token" not in foreign,
    )


def heads_of(width: int, source: str, head_width: int = 64) -> int:
    """Returns the number of attention heads of an image tower of which only the width is known.

    Args:
        width: of the tokens.
        source: what to call the file in a message.
        head_width: of the family's attention heads.

    Raises:
        UserError: if the width is none of a model that is published.
    """
    if width in NUM_HEADS and head_width == 64:
        return NUM_HEADS[width]
    if width % head_width:
        raise UserError(
            f"{source} holds a transformer of width {width}, which is no multiple of {head_width}, so that nothing "
            "tells its number of heads; put the model's configuration (config.json, open_clip_config.json) beside the "
            "file."
        )
    return width // head_width


def depth(foreign: Mapping[str, Any], blocks: str) -> int:
    """Returns the number of blocks in a file.

    Args:
        foreign: its arrays by their names, which are `blocks.0.…` and so on.
        blocks: what stands before the numbers.
    """
    numbers = (re.match(rf"{re.escape(blocks)}\.(\d+)\.", name) for name in foreign)
    return 1 + max((int(match[1]) for match in numbers if match), default=-1)


def table(
    vision: VisionTransformer, resolution: int, foreign: Foreign | None = None, family: Family = PLAIN
) -> list[Entry]:
    """Describes the places of all arrays.

    Args:
        vision: the network.
        resolution: the side of the square input, in pixels.
        foreign: the arrays of a file, whose names tell which of several layouts it has; None for the usual one.
        family: of the architecture.
    """
    width, p, registers, rms = vision.width, vision.patch_size, vision.num_registers, vision.rms
    names = _block_names(vision, foreign or {}, family)
    entries = blocks("vision", "blocks", names, vision.depth, width, vision.mlp_dim, vision.gated, rms)
    entries = [
        convolution("vision/patch_embedding", FIRST_WEIGHT, p, 3, width),
        *_attention(vision, entries, foreign or {}, family),
        *norm("vision/ln_post", "norm", width, rms),
        unused("mask_token", 1, width),
    ]
    if vision.has_class:
        entries.append(reshaped("vision/class_embedding", "cls_token", (1, 1, width), (width,)))
    if vision.has_positions:
        entries.append(_positions(vision, resolution, foreign or {}))
    if vision.patch_bias:
        entries.append(same("vision/patch_bias", "patch_embed.proj.bias", width))
    if vision.patch_norm:
        entries += norm("vision/ln_patch", "patch_embed.norm", width, rms)
    if vision.pre_norm:
        entries += norm("vision/ln_pre", "norm_pre", width, rms)
    if registers:
        entries.append(reshaped("vision/register_tokens", "reg_token", (1, registers, width), (registers, width)))
    return entries + (_pool(vision) if vision.pool == "attention" else [])


def _block_names(vision: VisionTransformer, foreign: Foreign, family: Family) -> BlockNames:
    names = _BLOCK
    if "blocks.0.attn.q_proj.weight" in foreign:
        names = names._replace(qkv=("attn.q_proj.", "attn.k_proj.", "attn.v_proj."))
    if "blocks.0.mlp.fc1_g.weight" in foreign:
        names = names._replace(mlp_in="mlp.fc1_g", mlp_up="mlp.fc1_x")
    if vision.layer_scale:
        names = names._replace(layer_scales=family.layer_scales)
    if vision.inner_norms:
        names = names._replace(ln_attn="attn.norm", ln_mlp="mlp.norm")
    if not family.lacks_biases:
        return names
    layers = (names.attn_out, names.mlp_in, names.mlp_up, names.mlp_out)
    parts = (*names.qkv, *(f"{layer}." for layer in layers if layer))
    return names._replace(
        unbiased=tuple(part for part in parts if not any(name.endswith(f".{part}bias") for name in foreign))
    )


def _attention(
    vision: VisionTransformer, entries: Iterable[Entry], foreign: Foreign, family: Family
) -> Iterable[Entry]:
    """Returns the entries of the blocks with the biases and the order of the queries and keys that the file has."""
    order = _rotary_order(vision.width, vision.num_heads, family.x_first) if family.interleaved else None
    for entry in entries:
        *_, block, layer, leaf = entry.path.split("/")[-3:] if "attn_in" in entry.path else ("", "", "")
        if leaf == "bias" and "blocks.0.attn.q_bias" in foreign:
            entry = _biases(entry.path, block.replace("block_", "blocks."), vision.width)
        yield reordered(entry, order) if layer and order is not None else entry


def _biases(path: str, block: str, width: int) -> Entry:
    """Describes the biases of queries and values, beside a weight that is stored as one; the keys' are zero."""

    def read(q: np.ndarray, v: np.ndarray) -> np.ndarray:
        return np.concatenate([q, np.zeros_like(q), v])

    names = f"{block}.attn.q_bias", f"{block}.attn.v_bias"
    return Entry(path, names, ((width,),) * 2, read, lambda x: np.split(x, 3)[::2])


def _rotary_order(width: int, num_heads: int, x_first: bool) -> np.ndarray:
    """Tells where the channels of queries, keys and values are in a file that has each rotation's pair side by side.

    Ours has the first channels of all pairs before the second ones, and the pairs of y before those of x.
    """
    size = width // num_heads
    pairs = np.arange(size).reshape(-1, 2)
    if x_first:
        pairs = np.roll(pairs, size // 4, axis=0)
    head = pairs.T.reshape(-1)
    turned = (np.arange(2 * num_heads)[:, None] * size + head).reshape(-1)
    return np.concatenate([turned, np.arange(2 * width, 3 * width)])


def _positions(vision: VisionTransformer, resolution: int, foreign: Foreign) -> Entry:
    """Describes the position embedding; if the class token has none in the file, its position in our tree is zero."""
    path, name, width = "vision/position_embedding", "pos_embed", vision.width
    patches = (resolution // vision.patch_size) ** 2
    if not vision.has_class:
        return reshaped(path, name, (1, patches, width), (patches, width))
    if not foreign or places_class(foreign):
        return reshaped(path, name, (1, patches + 1, width), (patches + 1, width))
    return Entry(
        path, (name,), ((1, patches, width),), lambda x: np.pad(x[0], ((1, 0), (0, 0))), lambda x: (x[None, 1:],)
    )


def num_positions(foreign: Foreign) -> int:
    """Returns the number of learnt absolute positions in a file."""
    shape = foreign["pos_embed"].shape if "pos_embed" in foreign else ()
    return shape[1] if len(shape) == 3 else 0


def places_class(foreign: Foreign) -> bool:
    """Tells whether the class token has a position: the patches of a square image are a square number."""
    return math.isqrt(num_positions(foreign)) ** 2 != num_positions(foreign)


def _pool(vision: VisionTransformer) -> list[Entry]:
    ours, theirs, width, mlp_dim = "vision/pool", "attn_pool", vision.width, vision.pool_mlp_dim or vision.mlp_dim
    parts = [(f"{theirs}.q.", width), (f"{theirs}.kv.", 2 * width)]
    return [
        reshaped(f"{ours}/probe", f"{theirs}.latent", (1, 1, width), (width,)),
        *side_by_side(f"{ours}/attn_in", parts, width),
        *linear(f"{ours}/attn_out", f"{theirs}.proj", width, width),
        *norm(f"{ours}/ln", f"{theirs}.norm", width),
        *linear(f"{ours}/mlp_in", f"{theirs}.mlp.fc1", width, mlp_dim),
        *linear(f"{ours}/mlp_out", f"{theirs}.mlp.fc2", mlp_dim, width),
    ]
