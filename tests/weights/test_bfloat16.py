"""Inference in bfloat16 against float32."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from comparison import random_images

from lift_jax.models.vit import VisionTransformer

SIZES = {
    "tiny": (VisionTransformer(patch_size=8, width=64, depth=4, num_heads=4, mlp_dim=256), 32),
    "ViT-B/16": (VisionTransformer(patch_size=16, width=768, depth=12, num_heads=12, mlp_dim=3072), 224),
}


@pytest.mark.parametrize("size", ["tiny", pytest.param("ViT-B/16", marks=pytest.mark.slow)])
def test_features_point_the_same_way(size):
    vision, side = SIZES[size]
    images = random_images(4, side)
    params = vision.init(jax.random.key(0), images[:1])
    exact = np.asarray(jax.jit(vision.apply)(params, images), np.float64)
    stored = jax.tree.map(lambda x: x.astype(jnp.bfloat16), params)
    rough = np.asarray(jax.jit(vision.clone(dtype=jnp.bfloat16).apply)(stored, images), np.float64)
    cosines = (exact * rough).sum(-1) / np.linalg.norm(exact, axis=-1) / np.linalg.norm(rough, axis=-1)
    assert cosines.min() >= 0.999
