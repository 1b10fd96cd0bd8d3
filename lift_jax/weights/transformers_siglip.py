"""The layout of transformers' SiglipModel and of its vision tower alone (`siglip` and `siglip_vision_model`).

The SigLIP 2 checkpoints of fixed resolution have it too. Those for images of any shape (NaFlex; `siglip2` and
`siglip2_vision_model`) have another patch embedding, and are read as models of one square size.
"""

import math
from typing import Any

from lift_jax.errors import UserError
from lift_jax.models.text import TextTransformer
from lift_jax.models.vit import VisionTransformer
from lift_jax.weights.arrays import Entry, blocks, convolution, linear, norm, reshaped, same, transposed, unused
from lift_jax.weights.backbone import Backbone
from lift_jax.weights.layout import HALF, Config, Layout, image_size, settings, tower_config, transformer_size
from lift_jax.weights.settings import Settings
from lift_jax.weights.transformers_clip import BLOCK

_COMMON = dict(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12)
_COMMON |= dict(hidden_act="gelu_pytorch_tanh", layer_norm_eps=1e-6)
_VISION_DEFAULTS = _COMMON | dict(image_size=224, patch_size=16, vision_use_head=True)
_NAFLEX_DEFAULTS = _COMMON | dict(num_patches=256, patch_size=16, vision_use_head=True)
_TEXT_DEFAULTS = _COMMON | dict(max_position_embeddings=64, vocab_size=32000, projection_size=None)

_EMBEDDINGS, _PATCHES = "vision_model.embeddings", "vision/patch_embedding"


def layout(config: Config) -> Layout:
    """Returns the layout of model_type `siglip`.

    Raises:
        UserError: if a value is of another kind or out of its range, or the model has no pooling head.
    """
    return _with_text(vision_layout(settings(config).section("vision_config")), config)


def naflex_layout(config: Config) -> Layout:
    """Returns the layout of model_type `siglip2`.

    Raises:
        UserError: as `layout` does.
    """
    return _with_text(naflex_vision_layout(settings(config).section("vision_config")), config)


def _with_text(base: Layout, config: Config) -> Layout:
    t = settings(config).section("text_config", _TEXT_DEFAULTS)
    size = transformer_size(t)
    text = TextTransformer(t.whole("vocab_size"), t.whole("max_position_embeddings"), **size, causal=False)
    embed = text.width if t["projection_size"] is None else t.whole("projection_size")
    return base._replace(text=text, table=base.table + _text_table(text, embed))


def vision_layout(config: Config) -> Layout:
    """Returns the layout of model_type `siglip_vision_model`.

    Raises:
        UserError: as `layout` does.
    """
    v = settings(config, _VISION_DEFAULTS)
    resolution, patch_size = image_size(v)
    weight = f"{_EMBEDDINGS}.patch_embedding.weight"
    embedding = convolution(_PATCHES, weight, patch_size, 3, v.whole("hidden_size"))
    return _vision_layout(v, resolution, patch_size, embedding)


def naflex_vision_layout(config: Config) -> Layout:
    """Returns the layout of model_type `siglip2_vision_model`, at the size of its grid of positions.

    Raises:
        UserError: as `layout` does, or if the grid is not square.
    """
    v = settings(config, _NAFLEX_DEFAULTS)
    patches, patch_size, width = v.whole("num_patches"), v.whole("patch_size"), v.whole("hidden_size")
    side = math.isqrt(patches)
    if side**2 != patches:
        raise UserError(
            f"num_patches in {v.place} is {patches}, which is no square number; take the file from the model's source "
            "again."
        )
    # The patches are given as rows of pixels, in which the colours are side by side.
    embedding = Entry(
        _PATCHES,
        (f"{_EMBEDDINGS}.patch_embedding.weight",),
        ((width, 3 * patch_size**2),),
        lambda x: x.reshape(width, patch_size, patch_size, 3).transpose(1, 2, 3, 0),
        lambda x: (x.transpose(3, 0, 1, 2).reshape(width, -1),),
    )
    found = _vision_layout(v, side * patch_size, patch_size, embedding)
    return found._replace(vision=found.vision.clone(linear_positions=True))


def _vision_layout(v: Settings, resolution: int, patch_size: int, embedding: Entry) -> Layout:
    if not v.flag("vision_use_head"):
        raise UserError(
            f"vision_use_head in {v.place} is false, so the SigLIP has no pooling head, which is not known here; take "
            "a checkpoint that has it."
        )
    size = transformer_size(v)
    vision = VisionTransformer(patch_size, **size, pre_norm=False, patch_bias=True, pool="attention")
    width = vision.width
    head = "vision_model.head"
    positions = (resolution // patch_size) ** 2
    table = [
        embedding,
        same("vision/patch_bias", f"{_EMBEDDINGS}.patch_embedding.bias", width),
        same("vision/position_embedding", f"{_EMBEDDINGS}.position_embedding.weight", positions, width),
        unused(f"{_EMBEDDINGS}.position_ids", 1, positions),
        *blocks("vision", "vision_model.encoder.layers", BLOCK, vision.depth, width, vision.mlp_dim),
        *norm("vision/ln_post", "vision_model.post_layernorm", width),
        reshaped("vision/pool/probe", f"{head}.probe", (1, 1, width), (width,)),
        transposed("vision/pool/attn_in/kernel", f"{head}.attention.in_proj_weight", width, 3 * width),
        same("vision/pool/attn_in/bias", f"{head}.attention.in_proj_bias", 3 * width),
        *linear("vision/pool/attn_out", f"{head}.attention.out_proj", width, width),
        *norm("vision/pool/ln", f"{head}.layernorm", width),
        *linear("vision/pool/mlp_in", f"{head}.mlp.fc1", width, vision.mlp_dim),
        *linear("vision/pool/mlp_out", f"{head}.mlp.fc2", vision.mlp_dim, width),
    ]
    return Layout(vision, None, resolution, table, HALF, HALF)


def _text_table(text: TextTransformer, embed: int) -> list[Entry]:
    width, embeddings = text.width, "text_model.embeddings"
    return [
        same("text/token_embedding", f"{embeddings}.token_embedding.weight", text.vocab_size, width),
        same("text/position_embedding", f"{embeddings}.position_embedding.weight", text.context_length, width),
        unused(f"{embeddings}.position_ids", 1, text.context_length),
        *blocks("text", "text_model.encoder.layers", BLOCK, text.depth, width, text.mlp_dim),
        *norm("text/ln_final", "text_model.final_layer_norm", width),
        transposed("text_projection", "text_model.head.weight", width, embed),
        same("text_projection_bias", "text_model.head.bias", embed),
        reshaped("logit_scale", "logit_scale", (1,), ()),
        reshaped("logit_bias", "logit_bias", (1,), ()),
    ]


def config(backbone: Backbone) -> dict[str, Any]:
    """Returns the config.json of a SigLIP, with or without its text tower."""
    vision, text = backbone.vision, backbone.text
    assert isinstance(vision, VisionTransformer)
    v = tower_config(vision) | dict(image_size=backbone.resolution, patch_size=vision.patch_size)
    if text is None:
        return dict(architectures=["SiglipVisionModel"], model_type="siglip_vision_model", **v)
    t = tower_config(text) | dict(vocab_size=text.vocab_size, max_position_embeddings=text.context_length)
    t["projection_size"] = backbone.params["text_projection"].shape[1]
    # transformers' defaults are CLIP's ids, which other vocabularies do not have.
    t |= dict(pad_token_id=0 if backbone.tokenizer is None else backbone.tokenizer.padding)
    t |= dict(bos_token_id=None, eos_token_id=None)
    return dict(
        architectures=["SiglipModel"],
        model_type="siglip",
        vision_config=dict(model_type="siglip_vision_model", **v),
        text_config=dict(model_type="siglip_text_model", **t),
    )
