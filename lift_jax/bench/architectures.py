"""Foundation models by their shapes alone: without their weights, and without a download."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lift_jax import weights
from lift_jax.errors import UserError
from lift_jax.models import towers
from lift_jax.models.convnext import ConvNeXt
from lift_jax.models.rotary import Grid
from lift_jax.models.vit import VisionTransformer
from lift_jax.weights import Backbone
from lift_jax.weights.huggingface import CLIP_MEAN, CLIP_STD, MODEL_TYPES, read_layout
from lift_jax.weights.source import plain_name


class Tower(NamedTuple):
    """An image tower, and the side of its input in pixels."""

    vision: towers.Tower
    resolution: int


_SMALL: Mapping[str, Any] = dict(hidden_size=384, intermediate_size=1536, num_attention_heads=6)
_BASE: Mapping[str, Any] = dict(hidden_size=768, intermediate_size=3072, num_attention_heads=12)
_LARGE: Mapping[str, Any] = dict(hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16)
_HUGE: Mapping[str, Any] = dict(hidden_size=1280, intermediate_size=5120, num_hidden_layers=32, num_attention_heads=16)
_GIANT: Mapping[str, Any] = dict(hidden_size=1536, num_hidden_layers=40, num_attention_heads=24, use_swiglu_ffn=True)
_SO400M: Mapping[str, Any] = dict(
    hidden_size=1152, intermediate_size=4304, num_hidden_layers=27, num_attention_heads=16
)
_GATED: Mapping[str, Any] = dict(use_gated_mlp=True, hidden_act="silu")


def _tower(model_type: str, patch_size: int, image_size: int = 224, **size: Any) -> Tower:
    """Makes a tower of transformers; sizes left out are those of the model_type's own configuration, mostly ViT-B's."""
    layout = MODEL_TYPES[model_type](dict(patch_size=patch_size, image_size=image_size, **size))
    return Tower(layout.vision, layout.resolution)


def _clip(patch_size: int, hidden_act: str = "gelu", image_size: int = 224, **size: Any) -> Tower:
    return _tower("clip_vision_model", patch_size, image_size, hidden_act=hidden_act, **size)


def _naflex() -> Tower:
    tower = _tower("siglip_vision_model", 16, 256)
    return tower._replace(vision=tower.vision.clone(linear_positions=True))


def _dinov2(registers: bool, **size: Any) -> Tower:
    return _tower("dinov2_with_registers" if registers else "dinov2", 14, 518, **size)


def _dinov3(**size: Any) -> Tower:
    return _tower("dinov3_vit", 16, num_register_tokens=4, **size)


def _eva02(patch_size: int, width: int, depth: int, image_size: int = 224) -> Tower:
    options: dict[str, Any] = dict(gated=True, inner_norms=True, rope_theta=1e4, rope_grid=Grid(16))
    size = dict(width=width, depth=depth, num_heads=width // 64, mlp_dim=width * 8 // 3)
    vision = VisionTransformer(patch_size, **size, activation="silu", pre_norm=False, patch_bias=True, **options)
    return Tower(vision, image_size)


def _perception(patch_size: int, width: int, depth: int, mlp_dim: int, image_size: int, **options: Any) -> Tower:
    options = dict(rope_theta=1e4, rope_grid=Grid(image_size // patch_size, 1.0), pool_heads=8) | options
    heads = min(16, width // 64)
    return Tower(
        VisionTransformer(patch_size, width, depth, heads, mlp_dim, "gelu", pool="attention", **options), image_size
    )


ARCHITECTURES: Mapping[str, Tower] = {
    "openai/clip-vit-base-patch32": _clip(32, "quick_gelu"),
    "openai/clip-vit-base-patch16": _clip(16, "quick_gelu"),
    "openai/clip-vit-large-patch14": _clip(14, "quick_gelu", **_LARGE),
    "openai/clip-vit-large-patch14-336": _clip(14, "quick_gelu", 336, **_LARGE),
    "google/vit-base-patch16-224-in21k": _tower("vit", 16),
    "google/vit-base-patch16-384": _tower("vit", 16, 384),
    "google/vit-large-patch16-224-in21k": _tower("vit", 16, **_LARGE),
    "timm/vit_base_patch16_224.augreg_in21k_ft_in1k": _tower("vit", 16),
    "timm/vit_base_patch16_384.augreg_in21k_ft_in1k": _tower("vit", 16, 384),
    "timm/vit_large_patch16_224.augreg_in21k_ft_in1k": _tower("vit", 16, **_LARGE),
    "laion/CLIP-ViT-B-16-laion2B-s34B-b88K": _clip(16),
    "laion/CLIP-ViT-B-16-DataComp.XL-s13B-b90K": _clip(16),
    "laion/CLIP-ViT-L-14-laion2B-s32B-b82K": _clip(14, **_LARGE),
    "laion/CLIP-ViT-L-14-DataComp.XL-s13B-b90K": _clip(14, **_LARGE),
    "laion/CLIP-ViT-H-14-laion2B-s32B-b79K": _clip(14, **_HUGE),
    "laion/CLIP-convnext_base_w-laion2B-s13B-b82K-augreg": Tower(ConvNeXt((3, 3, 27, 3), (128, 256, 512, 1024)), 256),
    "laion/CLIP-convnext_large_d_320.laion2B-s29B-b131K-ft-soup": Tower(
        ConvNeXt((3, 3, 27, 3), (192, 384, 768, 1536), (1536, 768)), 320
    ),
    "google/siglip-base-patch16-224": _tower("siglip_vision_model", 16),
    "google/siglip-so400m-patch14-384": _tower("siglip_vision_model", 14, 384, **_SO400M),
    "google/siglip2-base-patch16-224": _tower("siglip_vision_model", 16),
    "google/siglip2-large-patch16-256": _tower("siglip_vision_model", 16, 256, **_LARGE),
    "google/siglip2-so400m-patch16-256": _tower("siglip_vision_model", 16, 256, **_SO400M),
    "google/siglip2-base-patch16-naflex": _naflex(),
    "imageomics/bioclip": _clip(16),
    "imageomics/bioclip-2": _clip(14, **_LARGE),
    "imageomics/bioclip-2.5-vith14": _clip(14, **_HUGE),
    "facebook/metaclip-b16-fullcc2.5b": _clip(16, "quick_gelu"),
    "facebook/metaclip-l14-fullcc2.5b": _clip(14, "quick_gelu", **_LARGE),
    "facebook/metaclip-h14-fullcc2.5b": _clip(14, "quick_gelu", **_HUGE),
    "facebook/metaclip-2-worldwide-huge-quickgelu": _clip(14, "quick_gelu", **_HUGE),
    "apple/DFN2B-CLIP-ViT-B-16": _clip(16, "quick_gelu"),
    "apple/DFN2B-CLIP-ViT-L-14": _clip(14, "quick_gelu", **_LARGE),
    "apple/DFN5B-CLIP-ViT-H-14": _clip(14, "quick_gelu", **_HUGE),
    "facebook/dinov2-small": _dinov2(False, hidden_size=384, num_attention_heads=6),
    "facebook/dinov2-base": _dinov2(False),
    "facebook/dinov2-large": _dinov2(False, **_LARGE),
    "facebook/dinov2-giant": _dinov2(False, **_GIANT),
    "facebook/dinov2-with-registers-small": _dinov2(True, hidden_size=384, num_attention_heads=6),
    "facebook/dinov2-with-registers-base": _dinov2(True),
    "facebook/dinov2-with-registers-large": _dinov2(True, **_LARGE),
    "facebook/dinov2-with-registers-giant": _dinov2(True, **_GIANT),
    "facebook/dinov3-vits16-pretrain-lvd1689m": _dinov3(**_SMALL),
    "facebook/dinov3-vits16plus-pretrain-lvd1689m": _dinov3(**_SMALL, **_GATED),
    "facebook/dinov3-vitb16-pretrain-lvd1689m": _dinov3(**_BASE),
    "facebook/dinov3-vitl16-pretrain-lvd1689m": _dinov3(**_LARGE),
    "facebook/dinov3-vith16plus-pretrain-lvd1689m": _dinov3(**(dict(_HUGE) | dict(num_attention_heads=20)), **_GATED),
    "facebook/dinov3-vit7b16-pretrain-lvd1689m": _dinov3(
        hidden_size=4096, intermediate_size=8192, num_hidden_layers=40, num_attention_heads=32, **_GATED
    ),
    "timm/eva02_base_patch16_clip_224.merged2b_s8b_b131k": _eva02(16, 768, 12),
    "timm/eva02_large_patch14_clip_224.merged2b_s4b_b131k": _eva02(14, 1024, 24),
    "timm/eva02_large_patch14_clip_336.merged2b_s6b_b61k": _eva02(14, 1024, 24, 336),
    "timm/PE-Core-B-16": _perception(16, 768, 12, 3072, 224, unpooled_class=True),
    "timm/PE-Core-L-14-336": _perception(14, 1024, 24, 4096, 336, unpooled_class=True),
    "timm/PE-Core-bigG-14-448": _perception(14, 1536, 50, 8960, 448, rope_grid=Grid(32), pool_mlp_dim=6144),
    "apple/aimv2-large-patch14-224": _tower("aimv2_vision_model", 14, use_head=False),
}
"""The image towers of well-known models, by their names on the hub."""


def find(name: str) -> Tower:
    """Gives the image tower of a model.

    Args:
        name: a key of `ARCHITECTURES` or its short name (see `lift_jax.weights.known`), or a folder whose config.json
            has a model_type that we read.

    Raises:
        UserError: if it is neither.
    """
    if known := ARCHITECTURES.get(plain_name(name)):
        return known
    if not (Path(name) / "config.json").is_file():
        raise UserError(
            f"config.backbone is {name!r}, whose shapes are not known; take a name that `python -m lift_jax.backbones` "
            "prints, or a folder with a config.json of transformers."
        )
    layout = read_layout(Path(name))
    return Tower(layout.vision, layout.resolution)


def backbone(name: str, resolution: int | None = None) -> Backbone:
    """Gives a model of which every parameter is 0, and none of them is in memory.

    Args:
        name: as in `find`.
        resolution: pixels; the model's own if None or 0.

    Raises:
        UserError: if the model is not known, or the patch size does not divide the resolution.
    """
    tower = find(name)
    plain = Backbone(name, tower.vision, zeros(tower), tower.resolution, CLIP_MEAN, CLIP_STD, None, None, "")
    return weights.resize(plain, resolution) if resolution else plain


def zeros(tower: Tower) -> dict[str, Any]:
    """Makes the parameters of a tower, as a `Backbone` has them, out of one zero."""
    images = jnp.zeros((1, tower.resolution, tower.resolution, 3))
    shapes = jax.eval_shape(tower.vision.init, jax.random.key(0), images)["params"]
    return {"vision": jax.tree.map(lambda x: np.broadcast_to(np.float32(0), x.shape), shapes)}
