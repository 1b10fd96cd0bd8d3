"""What the runs of a sweep share."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache

from lift_jax.sweep import programs_compiled_once

KEY = "jax_compilation_cache_dir"


@pytest.fixture
def own_cache():
    """JAX as a user has it, with no cache of compiled programs."""
    before = jax.config.values[KEY]
    jax.config.update(KEY, None)
    compilation_cache.reset_cache()
    yield
    jax.config.update(KEY, before)
    compilation_cache.reset_cache()


def step(rate: float):
    """A new function for each call, as each run makes its own."""
    return jax.jit(lambda x: jnp.tanh(x @ x.T).sum() * jnp.float32(rate))


@pytest.mark.usefixtures("own_cache")
def test_equal_programs_are_compiled_once_and_different_ones_apart():
    x = np.eye(5, dtype=np.float32)
    hits: list[str] = []
    jax.monitoring.register_event_listener(lambda event, **_: hits.append(event) if "cache_hits" in event else None)
    with programs_compiled_once():
        folder = jax.config.values[KEY]
        first = step(1.0)(x)
        assert len(hits) == 0
        np.testing.assert_array_equal(step(1.0)(x), first)
        assert len(hits) == 1
        np.testing.assert_allclose(step(3.0)(x), 3 * first, rtol=1e-6)
        assert len(hits) == 1
    assert jax.config.values[KEY] is None and not os.path.exists(folder)


def test_a_cache_of_the_user_stays(tmp_path):
    before = jax.config.values[KEY]
    jax.config.update(KEY, str(tmp_path))
    try:
        with programs_compiled_once():
            assert jax.config.values[KEY] == str(tmp_path)
        assert jax.config.values[KEY] == str(tmp_path) and tmp_path.exists()
    finally:
        jax.config.update(KEY, before)
