"""The models of a reference folder, each read once."""

import functools
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float

from lift_jax import weights
from lift_jax.models.vit import VisionTransformer
from lift_jax.weights import Backbone


@functools.cache
def load(folder: Path) -> Backbone:
    return weights.load(str(folder))


@functools.partial(jax.jit, static_argnums=0)
def _apply(vision: VisionTransformer, params: Any, images: Array) -> Array:
    with jax.default_matmul_precision("highest"):
        return vision.apply({"params": params}, images)  # pyright: ignore[reportReturnType]


def features(backbone: Backbone, images: Float[np.ndarray, "b h w 3"]) -> Float[Array, "b d"]:
    """Of the frozen image network."""
    return _apply(backbone.vision, backbone.params["vision"], images)


def all_of(root: Path) -> list[Backbone]:
    """Every model below a folder."""
    folders = sorted(file.parent for file in root.rglob("config.json"))
    assert folders, f"there is no model in {root}"
    return [load(folder) for folder in folders]
