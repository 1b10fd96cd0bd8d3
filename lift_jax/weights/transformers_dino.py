"""The layouts of transformers' DINOv2 (Oquab et al. 2024, arXiv 2304.07193) and DINOv3 (2025, 2508.10104).

Their model_types are `dinov2`, `dinov2_with_registers` and `dinov3_vit`.
"""

from typing import Any

from lift_jax.errors import UserError
from lift_jax.models.vit import VisionTransformer
from lift_jax.weights.arrays import BlockNames, Entry, blocks, convolution, norm, reshaped, same, unused
from lift_jax.weights.backbone import Backbone
from lift_jax.weights.layout import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Config,
    Layout,
    image_size,
    settings,
    tower_config,
    transformer_size,
)
from lift_jax.weights.settings import Settings

_SIZE = dict(num_hidden_layers=12, hidden_act="gelu")
_V2 = _SIZE | dict(hidden_size=768, num_attention_heads=12, mlp_ratio=4, layer_norm_eps=1e-6)
_V2 |= dict(image_size=224, patch_size=14, qkv_bias=True, use_swiglu_ffn=False, num_register_tokens=4)
_V3 = _SIZE | dict(hidden_size=384, num_attention_heads=6, intermediate_size=1536, layer_norm_eps=1e-5)
_V3 |= dict(image_size=224, patch_size=16, num_register_tokens=0, rope_theta=100.0, use_gated_mlp=False)
_V3_BIASES = dict(query_bias=True, key_bias=False, value_bias=True, proj_bias=True, mlp_bias=True)

_V2_BLOCK = BlockNames(
    ln_1="norm1",
    qkv=("attention.attention.query.", "attention.attention.key.", "attention.attention.value."),
    attn_out="attention.output.dense",
    ln_2="norm2",
    mlp_in="mlp.fc1",
    mlp_out="mlp.fc2",
    layer_scales=("layer_scale1.lambda1", "layer_scale2.lambda1"),
)
_V3_BLOCK = _V2_BLOCK._replace(
    qkv=("attention.q_proj.", "attention.k_proj.", "attention.v_proj."),
    attn_out="attention.o_proj",
    mlp_in="mlp.up_proj",
    mlp_out="mlp.down_proj",
)


def v2_layout(config: Config) -> Layout:
    """Returns the layout of model_type `dinov2`.

    Raises:
        UserError: if a value is of another kind or out of its range.
    """
    return _v2(settings(config, _V2), registers=False)


def v2_registers_layout(config: Config) -> Layout:
    """Returns the layout of model_type `dinov2_with_registers`.

    Raises:
        UserError: as `v2_layout` does.
    """
    return _v2(settings(config, _V2), registers=True)


def _v2(c: Settings, registers: bool) -> Layout:
    resolution, patch_size = image_size(c)
    gated, biased = c.flag("use_swiglu_ffn"), c.flag("qkv_bias")
    inner = int(c.whole("hidden_size") * c.number("mlp_ratio", 0.01, 1000))
    if gated:  # two thirds, rounded up to a multiple of 8
        inner = (inner * 2 // 3 + 7) // 8 * 8
    size = transformer_size(Settings({**c, "intermediate_size": inner}, c.place))
    if gated:
        size["activation"] = "silu"
    vision = VisionTransformer(
        patch_size,
        **size,
        pre_norm=False,
        patch_bias=True,
        layer_scale=True,
        gated=gated,
        num_registers=c.whole("num_register_tokens", 0) if registers else 0,
        antialias=registers,
    )
    names = _V2_BLOCK if biased else _V2_BLOCK._replace(unbiased=_V2_BLOCK.qkv)
    names = names._replace(mlp_in="mlp.weights_in", mlp_out="mlp.weights_out") if gated else names
    width, positions = vision.width, (resolution // patch_size) ** 2 + 1
    table = [
        *_embeddings(vision, "embeddings.patch_embeddings.projection"),
        reshaped(
            "vision/position_embedding", "embeddings.position_embeddings", (1, positions, width), (positions, width)
        ),
        unused("embeddings.mask_token", 1, width),  # of pre-training by masked patches
        *blocks("vision", "encoder.layer", names, vision.depth, width, vision.mlp_dim, gated),
        *norm("vision/ln_post", "layernorm", width),
    ]
    return Layout(vision, None, resolution, table, IMAGENET_MEAN, IMAGENET_STD)


def v3_layout(config: Config) -> Layout:
    """Returns the layout of model_type `dinov3_vit`.

    Raises:
        UserError: if a value is of another kind or out of its range, or a head's width is no multiple of 4.
    """
    c = settings(config, _V3 | _V3_BIASES)
    resolution, patch_size = image_size(c)
    gated = c.flag("use_gated_mlp")
    vision = VisionTransformer(
        patch_size,
        **transformer_size(c),
        pre_norm=False,
        patch_bias=True,
        layer_scale=True,
        gated=gated,
        num_registers=c.whole("num_register_tokens", 0),
        rope_theta=c.number("rope_theta", 1, 1e9),
    )
    if vision.width // vision.num_heads % 4:
        raise UserError(
            f"The attention heads in {c.place} are {vision.width // vision.num_heads} wide, which is no multiple of 4, "
            "so they have no rotary positions on two axes; take the file from the model's source again."
        )
    table = [
        *_embeddings(vision, "embeddings.patch_embeddings"),
        unused("embeddings.mask_token", 1, 1, vision.width),
        *blocks("vision", "layer", _v3_names(c, gated), vision.depth, vision.width, vision.mlp_dim, gated),
        *norm("vision/ln_post", "norm", vision.width),
    ]
    if not vision.num_registers:
        table.append(unused("embeddings.register_tokens", 1, 0, vision.width))
    return Layout(vision, None, resolution, table, IMAGENET_MEAN, IMAGENET_STD)


def _v3_names(c: Settings, gated: bool) -> BlockNames:
    names = _V3_BLOCK._replace(mlp_in="mlp.gate_proj", mlp_up="mlp.up_proj") if gated else _V3_BLOCK
    query, key, value = names.qkv
    mlp = [f"{name}." for name in (names.mlp_in, names.mlp_up, names.mlp_out) if name]
    layers = dict(
        query_bias=[query], key_bias=[key], value_bias=[value], proj_bias=[f"{names.attn_out}."], mlp_bias=mlp
    )
    return names._replace(unbiased=tuple(name for flag, parts in layers.items() if not c.flag(flag) for name in parts))


def _embeddings(vision: VisionTransformer, patches: str) -> list[Entry]:
    width, registers = vision.width, vision.num_registers
    table = [
        convolution("vision/patch_embedding", f"{patches}.weight", vision.patch_size, 3, width),
        same("vision/patch_bias", f"{patches}.bias", width),
        reshaped("vision/class_embedding", "embeddings.cls_token", (1, 1, width), (width,)),
    ]
    if registers:
        shape = (registers, width)
        table.append(reshaped("vision/register_tokens", "embeddings.register_tokens", (1, *shape), shape))
    return table


def config(backbone: Backbone) -> dict[str, Any]:
    """Returns the config.json of a DINOv2 or DINOv3, in which all linear layers have biases.

    Raises:
        UserError: if the MLP is of a width that transformers' DINOv2 does not have.
    """
    vision = backbone.vision
    assert isinstance(vision, VisionTransformer)
    size = tower_config(vision) | dict(image_size=backbone.resolution, patch_size=vision.patch_size)
    if vision.num_registers or vision.rope_theta is not None:
        size["num_register_tokens"] = vision.num_registers
    if vision.rope_theta is not None:
        size |= dict(rope_theta=vision.rope_theta, use_gated_mlp=vision.gated, **dict.fromkeys(_V3_BIASES, True))
        return dict(architectures=["DINOv3ViTModel"], model_type="dinov3_vit", **size)
    size |= dict(qkv_bias=True, use_swiglu_ffn=vision.gated, mlp_ratio=_mlp_ratio(backbone.name, vision))
    del size["intermediate_size"]
    registers = vision.num_registers > 0
    kind = "Dinov2WithRegistersModel" if registers else "Dinov2Model"
    return dict(architectures=[kind], model_type="dinov2_with_registers" if registers else "dinov2", **size)


def _mlp_ratio(name: str, vision: VisionTransformer) -> int:
    """Returns the whole number of widths that the MLP is wide, or would be if it were not gated."""
    ratio = vision.mlp_dim * (1.5 if vision.gated else 1) / vision.width
    if not ratio.is_integer() or (vision.gated and vision.activation != "silu"):
        raise UserError(
            f"transformers has no model like {name}, whose MLP is {vision.mlp_dim} wide; write it as an orbax "
            "checkpoint."
        )
    return int(ratio)
