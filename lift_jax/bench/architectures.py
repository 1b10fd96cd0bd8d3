"""Foundation models by their shapes alone: without their weights, and without a download."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lift_jax import weights
from lift_jax.errors import UserError
from lift_jax.weights import Backbone
from lift_jax.weights.huggingface import MODEL_TYPES, read_layout

_LARGE = dict(hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16)
_HUGE = dict(hidden_size=1280, intermediate_size=5120, num_hidden_layers=32, num_attention_heads=16)
_SO400M = dict(hidden_size=1152, intermediate_size=4304, num_hidden_layers=27, num_attention_heads=16)


def _vision_config(model_type: str, patch_size: int, image_size: int = 224, **size: Any) -> dict[str, Any]:
    """Gives a vision tower's config.json in transformers' layout; sizes left out are those of ViT-B."""
    return dict(model_type=model_type, patch_size=patch_size, image_size=image_size, **size)


ARCHITECTURES: Mapping[str, Mapping[str, Any]] = {
    "openai/clip-vit-base-patch32": _vision_config("clip_vision_model", 32),
    "openai/clip-vit-base-patch16": _vision_config("clip_vision_model", 16),
    "openai/clip-vit-large-patch14": _vision_config("clip_vision_model", 14, **_LARGE),
    "openai/clip-vit-large-patch14-336": _vision_config("clip_vision_model", 14, 336, **_LARGE),
    "laion/CLIP-ViT-B-16-laion2B-s34B-b88K": _vision_config("clip_vision_model", 16, hidden_act="gelu"),
    "laion/CLIP-ViT-L-14-laion2B-s32B-b82K": _vision_config("clip_vision_model", 14, hidden_act="gelu", **_LARGE),
    "laion/CLIP-ViT-H-14-laion2B-s32B-b79K": _vision_config("clip_vision_model", 14, hidden_act="gelu", **_HUGE),
    "google/vit-base-patch16-224-in21k": _vision_config("vit", 16),
    "google/vit-base-patch16-384": _vision_config("vit", 16, 384),
    "google/vit-large-patch16-224-in21k": _vision_config("vit", 16, **_LARGE),
    "google/siglip-base-patch16-224": _vision_config("siglip_vision_model", 16),
    "google/siglip-so400m-patch14-384": _vision_config("siglip_vision_model", 14, 384, **_SO400M),
}
"""The image towers of well-known models, by their names on the hub."""


def backbone(name: str, resolution: int | None = None) -> Backbone:
    """Gives the image tower of a model; every parameter is 0, and none of them is in memory.

    Args:
        name: a key of `ARCHITECTURES`, or a folder whose config.json has a model_type that we read.
        resolution: pixels; the model's own if None or 0.

    Raises:
        UserError: if it is neither, or the patch size does not divide the resolution.
    """
    if name not in ARCHITECTURES and not (Path(name) / "config.json").is_file():
        raise UserError(
            f"config.backbone is {name!r}, whose shapes are not known; take one of {', '.join(ARCHITECTURES)}, or a "
            "folder with a config.json of transformers."
        )
    known = ARCHITECTURES.get(name)
    layout = MODEL_TYPES[known["model_type"]](known) if known else read_layout(Path(name))
    images = jnp.zeros((1, layout.resolution, layout.resolution, 3))
    shapes = jax.eval_shape(layout.vision.init, jax.random.key(0), images)["params"]
    params = jax.tree.map(lambda x: np.broadcast_to(np.float32(0), x.shape), shapes)
    mean, std = layout.mean, layout.std
    plain = Backbone(name, layout.vision, {"vision": params}, layout.resolution, mean, std, None, None, "")
    return weights.resize(plain, resolution) if resolution else plain
