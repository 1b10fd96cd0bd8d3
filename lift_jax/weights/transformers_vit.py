"""The layout of transformers' ViTModel (model_type `vit`): the ImageNet-21K ViT of Steiner et al. (2021)."""

from typing import Any

from lift_jax.errors import UserError
from lift_jax.models.vit import VisionTransformer
from lift_jax.weights.arrays import BlockNames, blocks, convolution, norm, reshaped, same, unused
from lift_jax.weights.backbone import Backbone
from lift_jax.weights.layout import HALF, Config, Layout, image_size, settings, tower_config, transformer_size

_DEFAULTS = dict(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12)
_DEFAULTS |= dict(image_size=224, patch_size=16, hidden_act="gelu", layer_norm_eps=1e-12, qkv_bias=True)
_DEFAULTS |= dict(pooler_output_size=None)

_BLOCK = BlockNames(
    ln_1="layernorm_before",
    qkv=("attention.attention.query.", "attention.attention.key.", "attention.attention.value."),
    attn_out="attention.output.dense",
    ln_2="layernorm_after",
    mlp_in="intermediate.dense",
    mlp_out="output.dense",
)


def layout(config: Config) -> Layout:
    """Returns the layout of model_type `vit`; the pooler and the classification head, if there are any, are left out.

    Raises:
        UserError: if a value is of another kind or out of its range, or the projections have no biases.
    """
    c = settings(config, _DEFAULTS)
    if not c.flag("qkv_bias"):
        raise UserError(f"qkv_bias in {c.place} is false, which is not known here; take a ViT that has these biases.")
    resolution, patch_size = image_size(c)
    vision = VisionTransformer(patch_size, **transformer_size(c), pre_norm=False, patch_bias=True)
    width, p = vision.width, vision.patch_size
    positions = (resolution // p) ** 2 + 1
    pooled = width if c["pooler_output_size"] is None else c.whole("pooler_output_size")
    table = [
        convolution("vision/patch_embedding", "embeddings.patch_embeddings.projection.weight", p, 3, width),
        same("vision/patch_bias", "embeddings.patch_embeddings.projection.bias", width),
        reshaped("vision/class_embedding", "embeddings.cls_token", (1, 1, width), (width,)),
        reshaped(
            "vision/position_embedding", "embeddings.position_embeddings", (1, positions, width), (positions, width)
        ),
        *blocks("vision", "encoder.layer", _BLOCK, vision.depth, width, vision.mlp_dim),
        *norm("vision/ln_post", "layernorm", width),
        unused("pooler.dense.weight", pooled, width),
        unused("pooler.dense.bias", pooled),
        unused("embeddings.mask_token", 1, 1, width),  # of pre-training by masked patches
    ]
    return Layout(vision, None, resolution, table, HALF, HALF)


def config(backbone: Backbone) -> dict[str, Any]:
    """Returns the config.json of an ImageNet-21K ViT."""
    vision = backbone.vision
    assert isinstance(vision, VisionTransformer)
    size = dict(image_size=backbone.resolution, patch_size=vision.patch_size, qkv_bias=True)
    return dict(architectures=["ViTModel"], model_type="vit", **tower_config(vision), **size)
