"""Rows of a batch a few at a time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lift_jax.models import micro_batches
from lift_jax.models.resnet import ResNet
from lift_jax.models.vit import VisionTransformer

VIT = VisionTransformer(patch_size=16, width=768, depth=12, num_heads=12, mlp_dim=3072)


@given(rows=st.integers(1, 300), side=st.integers(1, 30))
def test_micro_batches_are_as_large_as_the_cache_allows(rows, side):
    parts = micro_batches.suitable(VIT, (rows, 16 * side, 16 * side, 3), "cpu")
    image = side**2 * 3072 * 4
    assert rows % parts == 0
    assert rows // parts * image <= micro_batches.CACHE or parts == rows
    larger = [rows // n for n in range(1, parts) if rows % n == 0]
    assert all(size * image > micro_batches.CACHE for size in larger)


def test_a_resnet_takes_the_batch_as_a_whole():
    resnet = ResNet(layers=(1, 1, 1, 1), stem_width=8, width=32, num_heads=4)
    assert micro_batches.suitable(resnet, (512, 224, 224, 3), "cpu") == 1


@pytest.mark.parametrize("platform", ["gpu", "tpu"])
def test_an_accelerator_takes_the_batch_as_a_whole(platform):
    assert micro_batches.suitable(VIT, (512, 224, 224, 3), platform) == 1


def test_rows_keep_their_order():
    images = np.arange(12 * 64 * 64 * 3, dtype=np.float32).reshape(12, 64, 64, 3)
    parts = micro_batches.suitable(VIT.clone(mlp_dim=2**16), images.shape, "cpu")
    assert parts > 1
    sums = jax.jit(lambda x: micro_batches.map_rows(lambda y: y.sum(axis=(1, 2)), x, parts))(jnp.asarray(images))
    np.testing.assert_allclose(sums, images.sum(axis=(1, 2), dtype=np.float64), rtol=1e-5)
