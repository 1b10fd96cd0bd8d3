"""What the weights of a block say about the size of its linear layers' inputs."""

from typing import Any

import flax.linen as nn
import jax
import numpy as np
import pytest
from flax import traverse_util
from hypothesis import given, settings
from hypothesis import strategies as st

from lift_jax.models.limits import limits
from lift_jax.models.linear import Linear
from lift_jax.models.transformer import Block

WIDTH, TOKENS = 16, 5
FORMS: list[dict[str, Any]] = [
    {"activation": "quick_gelu"},
    {"activation": "gelu", "causal": True, "layer_scale": True},
    {"activation": "silu", "gated": True, "rms": True},
    {"activation": "gelu_pytorch_tanh", "inner_norms": True},
]


def inputs(block: Block, params: Any, x: np.ndarray) -> dict[str, float]:
    """The largest magnitude among the inputs of each linear layer."""
    found = {}

    def record(call: Any, args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
        if isinstance(context.module, Linear):
            found[context.module.name] = float(np.abs(np.asarray(args[0])).max())
        return call(*args, **kwargs)

    with nn.intercept_methods(record):
        block.apply({"params": params}, x)
    return found


def drawn(block: Block, seed: int) -> Any:
    """Parameters of which none is zero, as biases are at first."""
    shapes = jax.eval_shape(block.init, jax.random.key(0), np.zeros((1, TOKENS, WIDTH), np.float32))["params"]
    generator = np.random.default_rng(seed)
    return jax.tree.map(lambda s: generator.normal(size=s.shape).astype(np.float32), shapes)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form["activation"])
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), size=st.integers(-3, 6), outlier=st.sampled_from([1, 1e3, 1e6]))
def test_no_input_is_larger_than_its_limit(form, seed, size, outlier):
    block = Block(num_heads=2, mlp_dim=24, epsilon=1e-6, **form)
    params = drawn(block, seed)
    x = np.random.default_rng(seed).normal(size=(3, TOKENS, WIDTH)).astype(np.float32) * 10.0**size
    x[:, :, seed % WIDTH] *= outlier
    found = inputs(block, params, x)
    for name, most in limits(params).items():
        assert found[name] <= most * (1 + 1e-5), name


def test_the_limits_are_reached():
    block = Block(num_heads=2, mlp_dim=WIDTH, activation="silu", epsilon=1e-12, rms=True)
    # A token of one entry is sqrt(d) after an RMSNorm; the projections are multiples of the identity.
    eye = np.eye(WIDTH, dtype=np.float32)
    flat = {path: np.zeros_like(x) for path, x in traverse_util.flatten_dict(drawn(block, 0)).items()}
    flat[("attn_in", "kernel")] = np.tile(2 * eye, 3)
    flat[("mlp_in", "kernel")] = 20 * eye
    flat |= {(norm, "scale"): np.full(WIDTH, 3, np.float32) for norm in ("ln_1", "ln_2")}
    params = traverse_util.unflatten_dict(flat)
    found = inputs(block, params, np.tile(eye[0], (1, TOKENS, 1)))
    assert found == pytest.approx(limits(params), rel=1e-5)
    assert found == pytest.approx({"attn_in": 12, "attn_out": 24, "mlp_in": 12, "mlp_out": 240}, rel=1e-5)
