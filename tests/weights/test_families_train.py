"""LIFT on a tiny model of every transformer family: a run opens it, each trainable array moves, and it evaluates."""

import jax
import numpy as np
import pytest
import safetensors.numpy
import test_weight_sources as sources
from conftest import flatten
from small_runs import build, small_config

pytestmark = pytest.mark.slow

FAMILIES = [name for name in sources.LAYOUTS if "convnext" not in name.lower()]


@pytest.mark.parametrize("family", FAMILIES)
def test_lift_trains_and_evaluates(tmp_path, family):
    arrays = sources._write_configuration(tmp_path, family)
    # As at the start of a training, so that the activations keep their size.
    small = {name: np.asarray(0.1 * array, np.float32) for name, array in arrays.items()}
    safetensors.numpy.save_file(small, tmp_path / "model.safetensors")
    config = small_config(str(tmp_path), method="lift", head_init="random")
    config.tuner.dim = 16  # of fewer units all may be off
    built = build(config)
    side, generator = built.backbone.resolution, np.random.default_rng(0)
    batch = {
        "image": generator.integers(0, 256, (8, side, side, 3), dtype=np.uint8),
        "label": generator.integers(0, 10, 8, dtype=np.int32),
        "mask": np.ones(8, bool),
    }
    step, state = jax.jit(built.step()), built.state()
    before = flatten(jax.device_get(state.trainable))
    frozen = built.network.parts.frozen
    for i in range(3):
        state, metrics = step(state, frozen, batch, jax.random.key(i), built.objective.hyperparameters)
        assert np.isfinite(metrics.loss)
    after = flatten(jax.device_get(state.trainable))
    # The up projections are zero at first, and the down projections' gradients with them, but not for long.
    assert [path for path in after if np.array_equal(before[path], after[path])] == []
    assert any("tuner_adaptformer" in path for path in after)
    params = built.network.with_trained(state.trainable).params
    images = generator.normal(size=(2, side, side, 3)).astype(np.float32)
    logits = jax.jit(built.network.classifier.apply)({"params": params}, images)
    assert np.isfinite(logits).all() and np.shape(logits) == (2, 10)
