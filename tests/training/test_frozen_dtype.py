"""Frozen kernels in fewer bits than the activations: which they are, and what a run with them does."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import flatten
from small_runs import small_config

import lift_jax
from lift_jax import config as lift_config
from lift_jax import tuners
from lift_jax.bench import quantised as bench
from lift_jax.classifier import frozen
from lift_jax.classifier import network as networks
from lift_jax.classifier.network import Network
from lift_jax.cluster import placement
from lift_jax.data.digits import load_digits
from lift_jax.errors import UserError
from lift_jax.export import weights as exported
from lift_jax.models.quantised import Quantised
from lift_jax.models.resnet import ResNet
from lift_jax.run import run
from lift_jax.training import losses, optimizer
from lift_jax.training.hyperparameters import Hyperparameters
from lift_jax.training.state import initial_state
from lift_jax.training.step import TrainingStep
from lift_jax.weights.backbone import Backbone
from lift_jax.workdir import checkpoints, config_file

LAYERS = {"attn_in", "attn_out", "mlp_in", "mlp_out"}
IN_EACH_BLOCK = {f"block_{i}/{layer}" for i in range(3) for layer in LAYERS}


_BUILT: dict[str, Network] = {}


def network(backbone: Backbone, frozen_dtype: str, method: str = "lift", **options: Any) -> Network:
    """The network of a method on a backbone, built once."""
    key = repr((backbone.name, frozen_dtype, method, options))
    if key not in _BUILT:
        config = lift_config.default()
        config.update(method=method, dtype="float32", frozen_dtype=frozen_dtype)
        config.tuner.update(options)
        resolved = lift_config.resolve(config)
        made = networks.build(resolved, tuners.resolve(resolved.method, resolved.tuner), backbone, list("abcdefg"))
        _BUILT[key] = made
    return _BUILT[key]


def quantised(built: Network) -> set[str]:
    flat = flatten(built.parts.frozen)
    return {"/".join(path[1:-1]) for path, array in flat.items() if isinstance(array, Quantised)}


def test_auto_keeps_every_frozen_array_as_it_was_loaded(tiny_clip):
    own = flatten(tiny_clip.params["vision"])
    for path, array in flatten(network(tiny_clip, "auto").parts.frozen).items():
        np.testing.assert_array_equal(array, own[path[1:]])
        assert array.dtype == np.float32


@pytest.mark.parametrize(
    "frozen_dtype, dtype, vectors, single", [("int8", "int8", 2, 0), ("fp8", "float8_e4m3fn", 0, 2)]
)
def test_kernels_take_half_the_memory_of_bfloat16_and_all_else_is_as_it_was(
    tiny_clip, frozen_dtype, dtype, vectors, single
):
    plain, built = network(tiny_clip, "auto"), network(tiny_clip, frozen_dtype)
    assert quantised(built) == IN_EACH_BLOCK
    flat = flatten(built.parts.frozen)
    for path, array in flatten(plain.parts.frozen).items():
        if isinstance(kernel := flat[path], Quantised):
            assert kernel.values.dtype == dtype and kernel.shape == array.shape
            expected = array.size + 4 * (vectors * array.shape[1] + single)
            assert sum(x.nbytes for x in jax.tree.leaves(kernel)) == expected
        else:
            np.testing.assert_array_equal(kernel, array)
    assert jax.tree.all(jax.tree.map(np.array_equal, built.parts.trainable, plain.parts.trainable))


def test_bfloat16_is_the_kernels_alone(tiny_clip):
    types = {path[-1]: array.dtype for path, array in flatten(network(tiny_clip, "bfloat16").parts.frozen).items()}
    assert types["kernel"] == jnp.bfloat16 and types["bias"] == types["position_embedding"] == np.float32


@pytest.mark.parametrize(
    "method, options, kept",
    [
        ("mask_attn", {"mask_ratio": 0.1}, {"attn_in", "attn_out"}),
        ("mask_mlp+bias_tuning", {"mask_ratio": 0.1}, {"mlp_in", "mlp_out"}),
    ],
)
def test_kernels_of_which_a_mask_trains_entries_stay_as_they_are(tiny_clip, method, options, kept):
    for frozen_dtype in "int8", "bfloat16":
        built = network(tiny_clip, frozen_dtype, method, **options)
        wide = (
            {
                path[2]
                for path, x in flatten(built.parts.frozen).items()
                if path[-1] == "kernel" and x.dtype == np.float32
            }
            if frozen_dtype == "bfloat16"
            else LAYERS - {name.split("/")[1] for name in quantised(built)}
        )
        assert wide == kept


def test_blocks_that_are_tuned_as_a_whole_stay_and_a_network_without_others_is_refused(tiny_clip):
    assert quantised(network(tiny_clip, "int8", "full_tuning", partial="1")) == {
        name for name in IN_EACH_BLOCK if not name.startswith("block_2")
    }
    sentence = r"^config\.frozen_dtype is 'int8', which is for the linear layers .* are not trained.*; leave it out\.$"
    with pytest.raises(UserError, match=sentence):
        network(tiny_clip, "int8", "full_tuning")
    assert not quantised(network(tiny_clip, "auto", "full_tuning"))


def test_a_resnet_is_refused():
    vision = ResNet(layers=(1, 1, 1, 1), stem_width=4, width=8, num_heads=2)
    shapes = jax.eval_shape(vision.init, jax.random.key(0), np.zeros((1, 32, 32, 3)))["params"]
    params = jax.tree.map(lambda x: np.zeros(x.shape, np.float32), shapes)
    backbone = Backbone("resnet", vision, {"vision": params}, 32, (0.5, 0.5, 0.5), (0.2, 0.2, 0.2), None, None, "")
    with pytest.raises(UserError, match=r"^config\.frozen_dtype is 'fp8', .*\(a ResNet, .*\); leave it out\.$"):
        network(backbone, "fp8", "head_only")


@pytest.mark.slow
def test_a_text_tower_that_is_tuned_is_quantised_too(tiny_clip):
    images = np.random.default_rng(0).normal(size=(4, 16, 16, 3)).astype(np.float32)
    logits = []
    for frozen_dtype in "auto", "int8":
        built = network(tiny_clip, frozen_dtype, "coop", context_len=2)
        tower = built.parts.frozen["text"]["tower"]
        assert isinstance(tower["block_1"]["mlp_in"]["kernel"], Quantised) == (frozen_dtype == "int8")
        logits.append(np.asarray(jax.jit(built.classifier.apply)({"params": built.params}, images)))
    assert bench.cosine(logits[1].ravel(), logits[0].ravel()) > 0.99
    assert not np.array_equal(*logits)


def test_what_the_run_says_of_it(tiny_clip):
    cpu = jax.devices("cpu")[0]
    assert not list(frozen.remarks(network(tiny_clip, "auto").parts, "auto", cpu))
    (said,) = frozen.remarks(network(tiny_clip, "int8", "mask_attn").parts, "int8", cpu)
    assert said.startswith("The kernels of 6 of 12 linear layers are kept in int8: 0.0 MB, ")
    (_, warning) = frozen.remarks(network(tiny_clip, "fp8").parts, "fp8", cpu)
    assert warning.startswith("Warning: cpu has no products of fp8, which are emulated")


@pytest.mark.parametrize(
    "platform, kind, capability, warnings",
    [
        ("gpu", "NVIDIA H200", "9.0", 0), ("gpu", "NVIDIA L4", "8.9", 0), ("gpu", "NVIDIA A100", "8.0", 1),
        ("tpu", "TPU v5 lite", None, 1), ("tpu", "TPU7x", None, 0),
    ],
)  # fmt: skip
def test_devices_that_multiply_fp8(tiny_clip, platform, kind, capability, warnings):
    device = SimpleNamespace(platform=platform, device_kind=kind, compute_capability=capability)
    assert len(list(frozen.remarks(network(tiny_clip, "fp8").parts, "fp8", device))) == 1 + warnings


@pytest.mark.parametrize("frozen_dtype", ["int8", pytest.param("fp8", marks=pytest.mark.slow)])
def test_micro_batches_and_weights_in_pieces_take_the_same_step(tiny_clip, frozen_dtype):
    built, mesh, numbers = network(tiny_clip, frozen_dtype), placement.make_mesh(), Hyperparameters(0.1)

    def tx(numbers):
        return optimizer.make(numbers.lr, 0.9, 0.0)

    loss, generator = losses.make("LA", [300, 90, 40, 20, 9, 3, 1]), np.random.default_rng(0)
    batch = {
        "image": generator.integers(0, 256, (8, 16, 16, 3), np.uint8),
        "label": generator.integers(0, 7, 8).astype(np.int32),
        "mask": np.arange(8) != 5,
    }
    ends = []
    for accumulate, fsdp in (1, False), (2, False), (1, True):
        placed = built.placed(mesh, fsdp)
        step = TrainingStep(built.classifier, loss, tx, built.input, mesh, accumulate, fsdp=fsdp)
        state = initial_state(placed.parts, tx(numbers), mesh)
        key, rows = jax.random.key(0), placement.shard_batch(batch, mesh)
        ends.append(jax.device_get(jax.jit(step)(state, placed.parts.frozen, rows, key, numbers)[0].trainable))
    for other in ends[1:]:
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=0, atol=1e-6), ends[0], other)


@pytest.mark.slow
def test_gradients_point_where_those_of_float32_do(tiny_clip):
    ways = ("float32", "int8"), ("float32", "fp8")
    table = bench.compare(tiny_clip, bench.photographs([]), batch=8, draws=1, ways=ways)
    for (vectors, single), row in zip(((2, 0), (0, 2)), table.values(), strict=True):
        numbers = vectors * (3 * 24 + 24 + 48 + 24) + single * 4
        assert row.pop("bytes") == 3 * (4 * 24 * 24 + 2 * 24 * 48 + 4 * numbers)
        assert set(row) == {"block 0", "block 1", "block 2", "features", "head"}
        assert all(0.99 < cosine < 1 for cosine in row.values()), row


@pytest.fixture(scope="module")
def trained(tiny_folder, tmp_path_factory) -> Path:
    workdir = tmp_path_factory.mktemp("frozen") / "run"
    run(_config(tiny_folder), workdir)
    return workdir


def _config(folder: str, **changes: Any) -> Any:
    config = small_config(folder, frozen_dtype="int8", method="lora", **changes)
    config.tte.enabled = False
    return config


def test_a_run_is_loaded_with_the_predictions_of_its_evaluation(trained):
    model = lift_jax.load(trained)
    assert model.config.frozen_dtype == "int8" and quantised(model.network) == IN_EACH_BLOCK
    _, test = load_digits(50)
    probabilities = model.predict(np.stack([test.source[i] for i in range(len(test))]))
    with np.load(trained / "predictions.npz") as saved:
        np.testing.assert_array_equal(probabilities.argmax(axis=1), saved["prediction"])
        np.testing.assert_array_equal(probabilities.max(axis=1), saved["confidence"])


def test_a_run_goes_on_to_the_same_bits(trained, tiny_folder, tmp_path):
    again = shutil.copytree(trained, tmp_path / "run")
    (_, newest) = checkpoints.steps(again)
    shutil.rmtree(again / "checkpoints" / str(newest))
    (again / "eval.json").unlink()
    assert checkpoints.steps(again) == [3]
    run(_config(tiny_folder), again)
    for name in "metrics.jsonl", "eval.json":
        assert (again / name).read_bytes() == (trained / name).read_bytes(), name
    with np.load(again / "predictions.npz") as ours, np.load(trained / "predictions.npz") as whole:
        np.testing.assert_array_equal(ours["confidence"], whole["confidence"])


def test_a_run_keeps_its_format(trained, tiny_folder):
    assert config_file.read(trained).frozen_dtype == "int8"
    for mode in "train", "eval":
        with pytest.raises(UserError, match=r'was made with config\.frozen_dtype="int8" \(here "auto"\); leave'):
            config = _config(tiny_folder)
            config.frozen_dtype = "auto"
            run(config, trained, mode)


def test_a_plain_backbone_of_it_is_refused(trained, tmp_path):
    with pytest.raises(
        UserError, match=r"config\.frozen_dtype is 'int8', .*; export it with --format stablehlo or saf"
    ):
        exported.write_merged(lift_jax.load(trained), tmp_path / "merged")
    assert not (tmp_path / "merged").exists()
