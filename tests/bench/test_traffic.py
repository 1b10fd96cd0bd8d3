"""The bytes that a compiled program moves, and compiling for GPUs that are not here."""

import importlib.util
import re

import jax
import jax.numpy as jnp
import pytest
from started_commands import start

from lift_jax.bench import gpus, instructions, traffic
from lift_jax.errors import UserError

needs_plugin = pytest.mark.skipif(
    not any(map(importlib.util.find_spec, ("jax_cuda12_plugin", "jax_cuda13_plugin"))),
    reason="JAX's plugin for GPUs is not installed: pip install 'jax[cuda12]'",
)


@pytest.mark.parametrize(
    "text, size",
    [
        ("bf16[2,3]{1,0}", 12),
        ("(f32[2,3]{1,0}, pred[8], /*index=2*/s4[3])", 24 + 8 + 3),
        ("f8e4m3fn[5,5]", 25),
        ("u64[]", 8),
        ("()", 0),
    ],
)
def test_arrays_have_their_bytes(text, size):
    assert instructions.size(text) == size


def test_an_element_by_element_program_moves_what_its_compiler_counts():
    x, y = jax.ShapeDtypeStruct((256, 33), jnp.float32), jax.ShapeDtypeStruct((256, 33), jnp.float32)
    compiled = jax.jit(lambda x, y: jnp.exp(x) * y + x).lower(x, y).compile()
    moved = sum(size for _, size in instructions.traffic(compiled.as_text() or ""))
    assert moved == (compiled.cost_analysis() or {})["bytes accessed"] == 3 * 256 * 33 * 4


def test_bytes_are_listed_by_layer_and_direction():
    text = """HloModule jit_step

%fused (p: bf16[8,4]) -> bf16[8,4] {
  %inside = bf16[8,4]{1,0} exponential(%p), metadata={op_name="jit(step)/jvp(Net)/block_0/act/exp"}
}

ENTRY %main (x: bf16[8,4], w: f32[4,4]) -> f32[] {
  %x = bf16[8,4]{1,0} parameter(0)
  %w = f32[4,4]{1,0} parameter(1)
  %a = bf16[8,4]{1,0} fusion(%x), kind=kLoop, calls=%fused, metadata={op_name="jit(step)/jvp(Net)/block_0/act/mul"}
  %b = bf16[8,4]{1,0} fusion(%a), kind=kLoop, calls=%fused, metadata={op_name="jit(step)/jvp(Net)/block_11/act/mul"}
  %c = (f32[8,4]{1,0}, s8[4096]{0}) custom-call(%b, %w), metadata={op_name="jit(s)/transpose(jvp())/block_0/mlp_in/dot"}
  %d = f32[8,4]{1,0} get-tuple-element(%c), index=0
  ROOT %r = f32[] reduce(%d, %w), dimensions={0,1}
}
"""
    # Two fusions of 64 + 64 bytes; a product of 64 + 64 + 128 and 4096 of scratch; a sum of 128 + 64 + 4. For 4 images:
    header, *lines = traffic.table(text, rows=4).splitlines()
    assert header.split() == ["MB", "an", "image", "share", "layer", "and", "operation"]
    assert [line.split()[1:] for line in lines] == [
        ["36.2", "%", "forward", "block/act/mul"],
        ["36.2", "%", "backward", "block/mlp_in/dot"],
        ["27.7", "%", "forward", "reduce"],
    ]
    assert sum(size for _, size in instructions.traffic(text)) == 2 * 128 + 256 + 196


@pytest.mark.parametrize("name, count", [("a100", 1), ("h100-8", 8), ("h200-2", 2)])
def test_gpus_are_named_by_kind_and_number(name, count):
    chip, found = gpus.parse(name)
    assert gpus.is_gpu(name) and found == count and chip.hbm >= 80e9


@pytest.mark.parametrize("name", ["h100-0", "h100-9", "h100-", "h100-2x2"])
def test_a_number_of_gpus_that_is_not_there(name):
    with pytest.raises(UserError, match=rf"--topology is '{name}'; write .*h100-8"):
        gpus.parse(name)


def test_without_the_plugin_the_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setattr(gpus, "_PLUGINS", ("no_such_plugin",))
    with pytest.raises(UserError, match=r"pip install 'jax\[cuda12\]'"):
        gpus.devices("h100")


@needs_plugin
def test_the_steps_of_a_tiny_model_compile_for_a_gpu(tiny_folder):
    flags = [f"--config.backbone={tiny_folder}", "--topology=h100", "--classes=10", "--batch=8", "--by_layer"]
    ended = start("lift_jax.bench.aot", "--config=configs/folder.py", *flags)
    assert ended.returncode == 0, ended.stderr
    training, evaluation = ended.stdout.split("evaluation step, ")
    assert "training step, 8 images a chip" in training
    assert re.search(r"bytes accessed +\d+\.\d GB, [1-9]\d*\.\d MB of images", training)
    for direction in "forward", "backward":
        assert re.search(rf"{direction} +backbone/block/mlp_in/dot_general", training)
    assert "backward" not in evaluation and "backbone/block/mlp_in/dot_general" in evaluation
