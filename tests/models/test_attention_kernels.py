"""Attention by JAX's kernels: its padding, masks, gradients and mapped axes, and the calls of cuDNN."""

import ctypes
import functools
import re
from collections.abc import Callable
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax._src.cudnn import fused_attention_stablehlo

from lift_jax.models import attention_kernels
from lift_jax.models.attention_kernels import fused_attention
from lift_jax.models.device import suited_to
from lift_jax.models.heads import Classifier, CosineHead
from lift_jax.models.text import TextTransformer
from lift_jax.models.vit import VisionTransformer
from lift_jax.tuners.vpt import VPT

CPU = jax.devices("cpu")[0]


def defined(q, k, v, causal):
    """The definition, in the dtype of the arguments."""
    scores = jnp.einsum("bshd,bthd->bhst", q, k) / np.sqrt(q.shape[-1])
    if causal:
        scores = jnp.where(np.tril(np.ones(scores.shape[2:], bool)), scores, -jnp.inf)
    return jnp.einsum("bhst,bthd->bshd", jax.nn.softmax(scores), v)


def fused(causal: bool, implementation: Literal["xla", "cudnn"] = "xla") -> Callable[..., jax.Array]:
    return functools.partial(fused_attention, causal=causal, implementation=implementation)


def drawn(*shapes):
    generator = np.random.default_rng(0)
    return [generator.standard_normal(shape) for shape in shapes]


def float32(arrays):
    return [jnp.asarray(x, jnp.float32) for x in arrays]


@pytest.mark.parametrize("s, t, causal", [(7, 7, False), (7, 7, True), (8, 8, True), (1, 8, False), (3, 7, True)])
def test_attention_and_its_gradients_are_those_of_float64_for_even_and_odd_lengths(s, t, causal):
    arrays = drawn((2, s, 3, 8), (2, t, 3, 8), (2, t, 3, 8), (2, s, 3, 8))

    def with_gradients(attention, q, k, v, towards):
        y, pull = jax.vjp(attention, q, k, v)
        return y, attention(q, k, v), *pull(towards)

    with jax.enable_x64():
        expected = jax.jit(functools.partial(with_gradients, lambda q, k, v: defined(q, k, v, causal)))(*arrays)
    found = jax.jit(functools.partial(with_gradients, fused(causal)))(*float32(arrays))
    for own, exact in zip(found, expected, strict=True):
        np.testing.assert_allclose(own, exact, rtol=0, atol=3e-6)


@pytest.mark.parametrize("s, hidden", [(8, 1), (7, 2), (1, 1), (1, 3)])
def test_hidden_tokens_are_seen_by_none_and_get_no_gradient(s, hidden):
    q, k, v, towards = arrays = float32(drawn((2, s, 3, 8), (2, 8, 3, 8), (2, 8, 3, 8), (2, s, 3, 8)))
    asking = min(s, 8 - hidden)
    attention = functools.partial(fused_attention, causal=False, implementation="xla", hidden=hidden)
    found, pull = jax.vjp(attention, q, k, v)
    seen = [x[:, : 8 - hidden] for x in arrays]
    expected, expected_pull = jax.vjp(fused(False), *seen[:3])
    np.testing.assert_allclose(found[:, :asking], expected, rtol=0, atol=1e-6)
    assert not np.any(found[:, asking:])
    for own, alone in zip(pull(towards), expected_pull(seen[3]), strict=True):
        np.testing.assert_allclose(own[:, : alone.shape[1]], alone, rtol=0, atol=1e-6)
        assert not np.any(own[:, alone.shape[1] :])


@pytest.mark.parametrize("axes", [(0, 0, 0), (None, 0, 0), (1, None, 4)])
def test_a_mapped_axis_becomes_part_of_the_batch_and_changes_nothing(axes):
    shapes = [(2, 5, 3, 8), (2, 7, 3, 8), (2, 7, 3, 8)]
    whole = [s if axis is None else (*s[:axis], 4, *s[axis:]) for s, axis in zip(shapes, axes, strict=True)]
    arrays = float32(drawn(*whole))
    gradients = jax.grad(lambda *x: jnp.sum(fused(False)(*x) ** 2), argnums=(0, 1, 2))
    mapped = jax.vmap(gradients, in_axes=axes)
    nested = jax.vmap(lambda scale, *x: mapped(*(scale * each for each in x)), in_axes=(0, None, None, None))
    found, twice = jax.jit(mapped)(*arrays), jax.jit(nested)(jnp.asarray([0.5, 1.0]), *arrays)
    alone = jax.jit(gradients)
    for member in range(4):
        one = [
            x if axis is None else np.take(np.asarray(x), member, axis) for x, axis in zip(arrays, axes, strict=True)
        ]
        for own, inner, expected in zip(found, twice, alone(*one), strict=True):
            np.testing.assert_allclose(own[member], expected, rtol=1e-5, atol=1e-5)
            np.testing.assert_allclose(inner[1, member], expected, rtol=1e-5, atol=1e-5)


PROMPTS = functools.partial(VPT, 1, nn.initializers.normal())  # which make the length of 17 even
TOWERS: dict[str, nn.Module] = {
    "attention pooling": VisionTransformer(4, 16, 1, 2, 32, pool="attention"),
    "one query, rotary positions, registers": VisionTransformer(4, 16, 2, 2, 32, num_registers=3, rope_theta=100.0),
    "rotary positions, an odd number of tokens": VisionTransformer(4, 16, 2, 2, 32, num_registers=2, rope_theta=100.0),
    "the mean of an odd number of tokens": VisionTransformer(4, 16, 2, 2, 32, pool="mean", unpooled_class=True),
    "norms inside": VisionTransformer(4, 16, 2, 2, 32, gated=True, inner_norms=True),
    "prompts": VisionTransformer(4, 16, 2, 2, 32, tuners=lambda block: {"vpt_deep": PROMPTS}),
}


@pytest.mark.parametrize("name", TOWERS)
def test_image_towers_and_their_gradients_are_those_of_plain_attention(name):
    compare(TOWERS[name], np.random.default_rng(1).standard_normal((2, 16, 16, 3), np.float32))


@pytest.mark.parametrize("causal", [False, True])
def test_text_towers_and_their_gradients_are_those_of_plain_attention(causal):
    tokens = np.random.default_rng(1).integers(0, 10, (2, 7))
    compare(TextTransformer(10, 7, 16, 1, 2, 32, causal=causal), tokens)


def compare(tower: Any, given: np.ndarray) -> None:
    generator = np.random.default_rng(0)
    shapes = jax.eval_shape(tower.init, jax.random.key(0), given)
    params = jax.tree.map(lambda x: 0.3 * generator.standard_normal(x.shape, np.float32), shapes)

    @functools.partial(jax.jit, static_argnums=0)
    def value(tower, params):
        return jax.value_and_grad(lambda params: jnp.sum(tower.apply(params, given) ** 2))(params)

    found, expected = (jax.tree.leaves(value(each, params)) for each in (tower.clone(attention="xla"), tower))
    for own, plain in zip(found, expected, strict=True):
        np.testing.assert_allclose(own, plain, rtol=0, atol=1e-5 * max(1, np.abs(plain).max()))


@pytest.fixture
def cudnn(monkeypatch):
    """Lets JAX lower cuDNN's calls on a machine that has no cuDNN; nothing runs."""
    monkeypatch.setattr(fused_attention_stablehlo, "check_cudnn_version", lambda: 91000)


def calls(function: Any, *shapes: tuple[int, ...]) -> list[tuple[str, str]]:
    """The name and the shape of the queries of each of cuDNN's calls in a program for CUDA."""
    arrays = [jax.ShapeDtypeStruct(shape, jnp.bfloat16) for shape in shapes]
    text = jax.jit(function).trace(*arrays).lower(lowering_platforms=("cuda",)).as_text()
    return re.findall(r"custom_call @__cudnn\$(\w+)\(.* : \(tensor<([\dx]+)xbf16>", text)


def loss(causal: bool, *arrays: jax.Array) -> jax.Array:
    return jnp.sum(fused(causal, "cudnn")(*arrays), dtype=jnp.float32)


LENGTHS = {"ViT-B/16": (197, 197), "one query": (1, 197), "text": (77, 77), "even": (208, 208)}


@pytest.mark.parametrize("name", LENGTHS)
@pytest.mark.parametrize("members", [0, 3])
def test_a_program_for_cuda_calls_cudnn_forward_and_backward_with_even_lengths(cudnn, name, members):
    s, t = LENGTHS[name]
    batch = (members,) if members else ()
    shapes = [(*batch, 4, length, 12, 64) for length in (s, t, t)]
    causal = name == "text"
    forward: Any = fused(causal, "cudnn")
    gradient: Any = jax.grad(functools.partial(loss, causal), argnums=(0, 1, 2))
    if members:
        forward, gradient = jax.vmap(forward), jax.vmap(gradient)
    queries = f"{4 * max(1, members)}x{s + s % 2}x12x64"
    assert calls(forward, *shapes) == [("fmhaSoftmax", queries)]
    found = calls(gradient, *shapes)
    assert set(found) == {("fmhaSoftmax", queries), ("fmhaSoftmaxBackward", queries)}


def test_a_whole_network_for_cuda_computes_every_attention_by_cudnn(cudnn):
    tower = VisionTransformer(16, 128, 2, 2, 256, dtype=jnp.bfloat16, attention="cudnn")  # pyright: ignore[reportArgumentType]
    shapes = jax.eval_shape(tower.init, jax.random.key(0), jnp.zeros((1, 224, 224, 3)))
    images = jax.ShapeDtypeStruct((4, 224, 224, 3), jnp.bfloat16)
    lowered = jax.jit(tower.apply).trace(shapes, images).lower(lowering_platforms=("cuda",)).as_text()
    assert lowered.count("@__cudnn$fmhaSoftmax") == 2
    pads = re.findall(r"stablehlo.pad .* : \(tensor<(.*)xbf16>, .* -> tensor<(.*)xbf16>", lowered)
    # The tower's tokens and the last block's one query become even, and nothing else is padded.
    assert {pad for pad in pads if pad[0] != pad[1]} == {("4x197x128", "4x198x128"), ("4x1x2x64", "4x2x2x64")}


class Device:
    """What is asked of a device; no such GPU can compute anything here."""

    platform = "gpu"


@pytest.mark.parametrize("dtype, reason", [("float32", "does not compute in float32"), ("bfloat16", r"\w+")])
def test_a_gpu_that_cannot_run_the_kernel_gets_plain_attention_and_one_warning(caplog, dtype, reason):
    device = Device()
    for _ in range(2):
        assert attention_kernels.best(device, np.dtype(jnp.dtype(dtype)), 64) == "plain"
    (record,) = caplog.records
    assert re.search(f"without cuDNN .*{reason}", record.getMessage())


def test_on_a_cpu_attention_is_plain_and_nothing_is_said(caplog):
    classifier = Classifier(VisionTransformer(4, 16, 1, 2, 32, attention="xla"), CosineHead(3))
    assert suited_to(CPU, classifier).backbone.attention == "plain"
    assert suited_to(None, classifier).backbone.attention == "plain"
    assert not caplog.records


@functools.cache
def allow_cudnn_to_be_compiled_here():
    """Lets XLA for the CPU compile cuDNN's calls to what must never run. A process can do it once."""
    nothing = ctypes.CFUNCTYPE(None)(lambda: None)
    new = ctypes.pythonapi.PyCapsule_New
    new.restype, new.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
    target = new(ctypes.cast(nothing, ctypes.c_void_p), b"xla._CUSTOM_CALL_TARGET", None)
    for name in "__cudnn$fmhaSoftmax", "__cudnn$fmhaSoftmaxBackward":
        jax.ffi.register_ffi_target(name, target, platform="cpu", api_version=0)
    return nothing  # which lives as long as the process


@pytest.mark.parametrize("members", [0, 3])
def test_a_training_step_computes_an_attention_forward_once(cudnn, members):
    allow_cudnn_to_be_compiled_here()
    batch = (members,) if members else ()
    arrays = [jax.ShapeDtypeStruct((*batch, 4, 197, 12, 64), jnp.bfloat16)] * 3
    gradient: Any = jax.value_and_grad(functools.partial(loss, False), argnums=(0, 1, 2))
    gradient = jax.vmap(gradient) if members else gradient
    # The pass of XLA that joins equal instructions is the same for every platform.
    compiled = jax.jit(gradient).trace(*arrays).lower(lowering_platforms=("cuda",)).compile()
    found = re.findall(r'custom_call_target="__cudnn\$(\w+)"', compiled.as_text() or "")
    assert sorted(found) == ["fmhaSoftmax", "fmhaSoftmaxBackward"]
