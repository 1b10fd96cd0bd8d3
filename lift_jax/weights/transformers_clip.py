"""The layout of transformers' CLIPModel and of its vision tower alone (model_type `clip` and `clip_vision_model`).

MetaCLIP 2 (Chuang et al. 2025, arXiv 2507.22062; `metaclip_2` and `metaclip_2_vision_model`) has it, too.
"""

from typing import Any

from lift_jax.models.text import TextTransformer
from lift_jax.models.vit import VisionTransformer
from lift_jax.weights.arrays import BlockNames, Entry, blocks, convolution, norm, same, transposed, unused
from lift_jax.weights.backbone import Backbone
from lift_jax.weights.layout import Config, Layout, image_size, settings, tower_config, transformer_size
from lift_jax.weights.settings import Settings

# What transformers' CLIPConfig leaves out of config.json where it has its default.
_VISION_DEFAULTS = dict(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12)
_VISION_DEFAULTS |= dict(image_size=224, patch_size=32, hidden_act="quick_gelu", layer_norm_eps=1e-5)
_VISION_DEFAULTS |= dict(projection_dim=512)
_TEXT_DEFAULTS = dict(hidden_size=512, intermediate_size=2048, num_hidden_layers=12, num_attention_heads=8)
_TEXT_DEFAULTS |= dict(max_position_embeddings=77, vocab_size=49408, hidden_act="quick_gelu", layer_norm_eps=1e-5)
_TEXT_DEFAULTS |= dict(eos_token_id=49407)

_ARGMAX_END = 2
"""The `eos_token_id` of CLIPs from before 2023, whatever the id is: the largest id of a row is meant. In MetaCLIP 2's
vocabulary it is the id."""

BLOCK = BlockNames(
    ln_1="layer_norm1",
    qkv=("self_attn.q_proj.", "self_attn.k_proj.", "self_attn.v_proj."),
    attn_out="self_attn.out_proj",
    ln_2="layer_norm2",
    mlp_in="mlp.fc1",
    mlp_out="mlp.fc2",
)


def networks(config: Config) -> tuple[VisionTransformer, TextTransformer]:
    """Returns the two towers that a CLIP's config.json describes.

    Raises:
        UserError: if a value is of another kind or out of its range.
    """
    v, t = _towers(config)
    return _vision(v), _text(t)


def layout(config: Config) -> Layout:
    """Returns the layout of model_type `clip`.

    Raises:
        UserError: as `networks` does.
    """
    return _layout(config, *networks(config))


def metaclip_2_layout(config: Config) -> Layout:
    """Returns the layout of model_type `metaclip_2`.

    Raises:
        UserError: as `networks` does.
    """
    v, t = _towers(config)
    return _layout(config, _vision(v), _text(t, argmax_end=None))


def _layout(config: Config, vision: VisionTransformer, text: TextTransformer) -> Layout:
    embed = settings(config, dict(projection_dim=512)).whole("projection_dim")
    resolution = _towers(config)[0]["image_size"]
    table = [*vision_table(vision, resolution), *_text_table(vision, text, embed)]
    return Layout(vision, text, resolution, table)


def vision_layout(config: Config) -> Layout:
    """Returns the layout of model_type `clip_vision_model` and `metaclip_2_vision_model`: no text tower.

    The projection, if there is one, is left out.

    Raises:
        UserError: as `networks` does.
    """
    v = settings(config, _VISION_DEFAULTS)
    vision = _vision(v)
    projection = unused("visual_projection.weight", v.whole("projection_dim"), vision.width)
    return Layout(vision, None, v["image_size"], [*vision_table(vision, v["image_size"]), projection])


def config(backbone: Backbone) -> dict[str, Any]:
    """Returns the config.json of a CLIP with a ViT, with or without its text tower."""
    vision, text = backbone.vision, backbone.text
    assert isinstance(vision, VisionTransformer)
    v = tower_config(vision) | dict(image_size=backbone.resolution, patch_size=vision.patch_size)
    if text is None:
        return dict(architectures=["CLIPVisionModel"], model_type="clip_vision_model", **v)
    embed = backbone.params["text_projection"].shape[1]
    t = tower_config(text) | dict(vocab_size=text.vocab_size, max_position_embeddings=text.context_length)
    t["eos_token_id"] = _ARGMAX_END if text.end_of_text is None else text.end_of_text
    # The id that means the largest one in a CLIP.
    name, kind = ("MetaClip2Model", "metaclip_2") if text.end_of_text == _ARGMAX_END else ("CLIPModel", "clip")
    return dict(
        architectures=[name],
        model_type=kind,
        projection_dim=embed,
        vision_config=dict(model_type=f"{kind}_vision_model", projection_dim=embed, **v),
        text_config=dict(model_type=f"{kind}_text_model", projection_dim=embed, **t),
    )


def _towers(config: Config) -> tuple[Settings, Settings]:
    c = settings(config)
    return c.section("vision_config", _VISION_DEFAULTS), c.section("text_config", _TEXT_DEFAULTS)


def _vision(tower: Settings) -> VisionTransformer:
    return VisionTransformer(patch_size=image_size(tower)[1], **transformer_size(tower))


def _text(tower: Settings, argmax_end: int | None = _ARGMAX_END) -> TextTransformer:
    vocab_size = tower.whole("vocab_size")
    length = tower.whole("max_position_embeddings")
    end = None if tower["eos_token_id"] == argmax_end else tower.whole("eos_token_id", 0, vocab_size - 1)
    return TextTransformer(vocab_size, length, **transformer_size(tower), end_of_text=end)


def vision_table(vision: VisionTransformer, resolution: int) -> list[Entry]:
    """Lists the arrays of the vision tower without its projection.

    Args:
        vision: the network.
        resolution: the side of the square input, in pixels.
    """
    width, p = vision.width, vision.patch_size
    embeddings = "vision_model.embeddings"
    positions = (resolution // p) ** 2 + 1
    return [
        convolution("vision/patch_embedding", f"{embeddings}.patch_embedding.weight", p, 3, width),
        same("vision/class_embedding", f"{embeddings}.class_embedding", width),
        same("vision/position_embedding", f"{embeddings}.position_embedding.weight", positions, width),
        # transformers stored these constants until 2023.
        unused(f"{embeddings}.position_ids", 1, positions),
        *norm("vision/ln_pre", "vision_model.pre_layrnorm", width),
        *blocks("vision", "vision_model.encoder.layers", BLOCK, vision.depth, width, vision.mlp_dim),
        *norm("vision/ln_post", "vision_model.post_layernorm", width),
    ]


def _text_table(vision: VisionTransformer, text: TextTransformer, embed: int) -> list[Entry]:
    width, embeddings = text.width, "text_model.embeddings"
    return [
        same("text/token_embedding", f"{embeddings}.token_embedding.weight", text.vocab_size, width),
        same("text/position_embedding", f"{embeddings}.position_embedding.weight", text.context_length, width),
        unused(f"{embeddings}.position_ids", 1, text.context_length),
        *blocks("text", "text_model.encoder.layers", BLOCK, text.depth, width, text.mlp_dim),
        *norm("text/ln_final", "text_model.final_layer_norm", width),
        transposed("visual_projection", "visual_projection.weight", vision.width, embed),
        transposed("text_projection", "text_projection.weight", width, embed),
        same("logit_scale", "logit_scale"),
    ]
