"""The two programs that the benchmark of the step compares do the same."""

import jax
import numpy as np
import pytest

from lift_jax.bench import step
from lift_jax.bench.workload import Workload
from lift_jax.models.vit import VisionTransformer

pytest.importorskip("torch", reason="torch is the peer (tests/requirements-parity-light.txt)")
pytest.importorskip("transformers", reason="transformers is the peer (tests/requirements-parity-light.txt)")


@pytest.mark.parity
@pytest.mark.parametrize("accumulate", [1, 2])
def test_both_sides_take_the_same_steps(accumulate):
    vision = VisionTransformer(patch_size=4, width=24, depth=3, num_heads=2, mlp_dim=48)
    workload = Workload(vision, resolution=16, dim=6, num_classes=7, batch=4, accumulate=accumulate)
    ours, theirs = (step.side(name, workload) for name in (step.OURS, step.PEER))
    (prediction, confidence), (expected_prediction, expected_confidence) = ours.evaluate(), theirs.evaluate()
    np.testing.assert_array_equal(prediction, expected_prediction)
    close(confidence, expected_confidence, 2e-5)
    start = ours.trained()
    for _ in range(2):  # the second has momentum
        close(ours.train(), theirs.train(), 2e-5)
    before, after, expected = (jax.tree.leaves_with_path(x) for x in (start, ours.trained(), theirs.trained()))
    for (path, old), (_, new), (_, peer) in zip(before, after, expected, strict=True):
        close(new - old, peer - old, 1e-3, jax.tree_util.keystr(path))


def close(actual, expected, tolerance, name=""):
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * np.abs(expected).max(), err_msg=name)
