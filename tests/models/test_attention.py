"""Attention against its definition in float64."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lift_jax.models.attention import multi_head_attention

HEADS = 3


def defined(qkv: jax.Array, causal: bool) -> jax.Array:
    """The definition, head by head, in the dtype of `qkv`."""
    q, k, v = (x.reshape(*x.shape[:2], HEADS, -1).swapaxes(1, 2) for x in jnp.split(qkv, 3, axis=-1))
    scores = q @ k.swapaxes(2, 3) / np.sqrt(q.shape[-1])
    if causal:
        scores = jnp.where(np.tril(np.ones(scores.shape[2:], bool)), scores, -jnp.inf)
    weights = jnp.exp(scores) / jnp.exp(scores).sum(-1, keepdims=True)
    return (weights @ v).swapaxes(1, 2).reshape(*qkv.shape[:2], -1)


@pytest.fixture
def qkv() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((2, 7, 3 * 12)).astype(np.float32)


@pytest.mark.parametrize("first", [None, 1, 3])
@pytest.mark.parametrize("causal", [False, True])
def test_attention_and_its_gradient_are_those_of_float64(qkv, causal, first):
    # Seven terms of about 1, each rounded a few times to 2^-24 of itself.
    close: Any = functools.partial(np.testing.assert_allclose, rtol=0, atol=2e-6)
    with jax.enable_x64():
        expected, pull = jax.vjp(lambda x: defined(x, causal)[:, :first], jnp.asarray(qkv, jnp.float64))
        towards = np.random.default_rng(1).standard_normal(expected.shape)
        (gradient,) = pull(towards)

    def attention(x):
        return multi_head_attention(x, HEADS, causal, first)

    close(attention(jnp.asarray(qkv)), expected)
    found, pull = jax.vjp(attention, jnp.asarray(qkv))
    close(found, expected)
    close(pull(towards.astype(np.float32))[0], gradient)


def test_attention_of_bfloat16_is_exact_but_for_the_rounding_of_its_products(qkv):
    x = jnp.asarray(qkv, jnp.bfloat16)
    with jax.enable_x64():
        expected = defined(x.astype(jnp.float64), causal=False)
    found = multi_head_attention(x, HEADS)
    assert found.dtype == jnp.bfloat16
    # bfloat16 holds 8 bits: queries, weights and the result are each rounded to 2^-9 of themselves.
    np.testing.assert_allclose(found.astype(jnp.float32), expected, rtol=0, atol=2**-7)


def test_of_scores_too_large_for_an_exponential_the_largest_takes_all(qkv):
    x = jnp.asarray(qkv).at[..., :24].multiply(100)  # queries and keys: scores of up to tens of thousands
    q, k, v = (np.asarray(a, np.float64).reshape(2, 7, HEADS, 4).swapaxes(1, 2) for a in jnp.split(x, 3, axis=-1))
    best = (q @ k.swapaxes(2, 3)).argmax(-1)
    expected = np.take_along_axis(v, best[..., None], axis=2).swapaxes(1, 2).reshape(2, 7, 12)
    np.testing.assert_allclose(multi_head_attention(x, HEADS), expected, rtol=0, atol=1e-6)
