"""The pieces of a transformer block that the reference arrays see only as a whole."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lift_jax.models import transformer
from lift_jax.models.layer_norm import LayerNorm
from lift_jax.models.vit import VisionTransformer


@pytest.mark.parametrize("mean", [0.0, 100.0])
def test_layer_norm_and_its_gradients_are_those_of_float64(mean):
    generator = np.random.default_rng(0)
    x = mean + generator.standard_normal((3, 5, 48))
    params = {"scale": 1 + 0.1 * generator.standard_normal(48), "bias": generator.standard_normal(48)}
    towards = generator.standard_normal(x.shape)

    def loss(module, params, x):
        y = module.apply({"params": params}, x)
        return jnp.sum(y * towards), y

    def gradients(module, dtype):
        operands = jax.tree.map(lambda a: jnp.asarray(a, dtype), (params, x))
        return jax.grad(lambda *a: loss(module, *a), argnums=(0, 1), has_aux=True)(*operands)

    with jax.enable_x64():
        expected = gradients(nn.LayerNorm(epsilon=1e-5, use_fast_variance=False), jnp.float64)
    found = gradients(LayerNorm(1e-5), jnp.float32)
    # float32 holds x to about mean / 2^24, and a gradient sums the rounding of up to 48 terms of about 1.
    tolerance = 2e-6 + 4e-6 * mean
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=tolerance), found, expected)


def test_layer_norm_of_bfloat16_computes_in_float32():
    x = jnp.asarray(100 + np.random.default_rng(0).standard_normal((4, 64)), jnp.bfloat16)
    variables = {"params": {"scale": jnp.ones(64), "bias": jnp.zeros(64)}}
    y: Any = LayerNorm(1e-5).apply(variables, x)
    assert y.dtype == jnp.bfloat16
    exact = np.asarray(x, np.float64)
    exact = (exact - exact.mean(-1, keepdims=True)) / np.sqrt(exact.var(-1, keepdims=True) + 1e-5)
    np.testing.assert_array_equal(y, exact.astype(np.float32).astype(jnp.bfloat16))


def test_the_last_block_computes_for_the_class_token_alone():
    vision = VisionTransformer(patch_size=4, width=32, depth=2, num_heads=2, mlp_dim=64)
    images = jnp.zeros((2, 16, 16, 3))
    params = vision.init(jax.random.key(0), images)["params"]
    shapes: dict[str, tuple[int, ...]] = {}

    def note(next_function, args, kwargs, context):
        out = next_function(*args, **kwargs)
        if isinstance(context.module, transformer.Linear):
            shapes["/".join(context.module.path)] = out.shape
        return out

    with nn.intercept_methods(note):
        vision.apply({"params": params}, images)
    assert shapes["block_0/mlp_out"] == (2, 17, 32)
    assert shapes["block_1/attn_in"] == (2, 17, 96)
    assert shapes["block_1/attn_out"] == shapes["block_1/mlp_out"] == (2, 1, 32)
