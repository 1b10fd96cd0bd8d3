import numpy as np
import pytest

from lift_jax.weights.positions import resize_positions


@pytest.mark.parity
@pytest.mark.parametrize("old, new", [(14, 24), (7, 7), (24, 14), (3, 10)])
def test_resizing_against_pytorch(old, new):
    torch = pytest.importorskip("torch", reason="torch is the peer (tests/requirements-parity-light.txt)")
    embedding = np.random.default_rng(0).normal(size=(1 + old * old, 5)).astype(np.float32)
    grid = torch.from_numpy(embedding[1:].reshape(1, old, old, 5).transpose(0, 3, 1, 2))
    resize = torch.nn.functional.interpolate
    expected = resize(grid, (new, new), mode="bicubic", antialias=True, align_corners=False)[0]
    resized = resize_positions(embedding, new)
    np.testing.assert_array_equal(resized[0], embedding[0])
    np.testing.assert_allclose(resized[1:], expected.numpy().transpose(1, 2, 0).reshape(-1, 5), atol=2e-5)
