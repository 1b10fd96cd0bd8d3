"""The layout of transformers' AIMv2 (Fini et al. 2024, arXiv 2411.14402): the image tower, `aimv2_vision_model`."""

from typing import Any

from lift_jax.errors import UserError
from lift_jax.models.vit import VisionTransformer
from lift_jax.weights.arrays import BlockNames, blocks, convolution, norm, same, unused
from lift_jax.weights.backbone import Backbone
from lift_jax.weights.layout import (
    CLIP_MEAN,
    CLIP_STD,
    Config,
    Layout,
    image_size,
    settings,
    tower_config,
    transformer_size,
)
from lift_jax.weights.settings import Settings

_DEFAULTS = dict(hidden_size=1024, intermediate_size=2816, num_hidden_layers=24, num_attention_heads=8)
_DEFAULTS |= dict(image_size=224, patch_size=14, hidden_act="silu", rms_norm_eps=1e-5)
_DEFAULTS |= dict(qkv_bias=False, mlp_bias=False, use_head=True, is_native=False)

_BLOCK = BlockNames(
    ln_1="rms_norm1",
    qkv=("attention.q_proj.", "attention.k_proj.", "attention.v_proj."),
    attn_out="attention.out_proj",
    ln_2="rms_norm2",
    mlp_in="ffn.gate_proj",
    mlp_up="ffn.up_proj",
    mlp_out="ffn.down_proj",
)


def vision_layout(config: Config) -> Layout:
    """Returns the layout of model_type `aimv2_vision_model`, whose result is the mean of the tokens.

    Raises:
        UserError: if a value is of another kind or out of its range, or the model is of the kind with a pooling head,
            or of the one for images of any size.
    """
    v = settings(config, _DEFAULTS)
    for key, what in ("use_head", "has a pooling head"), ("is_native", "is for images of any size"):
        if v.flag(key):
            raise UserError(
                f"{key} in {v.place} is true, so the AIMv2 {what}, which is not known here; take one without, such as "
                "apple/aimv2-large-patch14-224."
            )
    resolution, patch_size = image_size(v)
    size = transformer_size(Settings({**v, "layer_norm_eps": v.number("rms_norm_eps", 0, 0.1)}, v.place))
    vision = VisionTransformer(
        patch_size, **size, pre_norm=False, patch_bias=True, pool="mean", gated=True, rms=True, patch_norm=True
    )
    width, positions = vision.width, (resolution // patch_size) ** 2
    unbiased = () if v.flag("qkv_bias") else (*_BLOCK.qkv, f"{_BLOCK.attn_out}.")
    unbiased += () if v.flag("mlp_bias") else tuple(f"{x}." for x in (_BLOCK.mlp_in, _BLOCK.mlp_up, _BLOCK.mlp_out))
    names = _BLOCK._replace(unbiased=unbiased)
    table = [
        convolution("vision/patch_embedding", "embeddings.patch_embed.weight", patch_size, 3, width),
        same("vision/patch_bias", "embeddings.patch_embed.bias", width),
        *norm("vision/ln_patch", "embeddings.rms_norm", width, rms=True),
        same("vision/position_embedding", "embeddings.position_embedding.weight", positions, width),
        unused("embeddings.position_ids", 1, positions),
        *blocks("vision", "encoder.layers", names, vision.depth, width, vision.mlp_dim, gated=True, rms=True),
        *norm("vision/ln_post", "rms_norm", width, rms=True),
    ]
    return Layout(vision, None, resolution, table, CLIP_MEAN, CLIP_STD)


def config(backbone: Backbone) -> dict[str, Any]:
    """Returns the config.json of an AIMv2, in which all linear layers have biases."""
    vision = backbone.vision
    assert isinstance(vision, VisionTransformer)
    size = tower_config(vision) | dict(image_size=backbone.resolution, patch_size=vision.patch_size)
    size["rms_norm_eps"] = size.pop("layer_norm_eps")
    options = dict(qkv_bias=True, mlp_bias=True, use_head=False, is_native=False)
    return dict(architectures=["Aimv2VisionModel"], model_type="aimv2_vision_model", **size, **options)
