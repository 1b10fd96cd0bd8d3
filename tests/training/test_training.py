"""The training step and the job around it."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_runs import Built, build, small_config

from lift_jax.data.groups import GROUPS, class_groups
from lift_jax.models import micro_batches, partition
from lift_jax.run import run
from lift_jax.training import losses
from lift_jax.training.hyperparameters import Hyperparameters, stacked
from lift_jax.training.state import TrainState
from lift_jax.training.step import TrainingStep


@pytest.fixture(scope="module")
def built(tiny_folder) -> Built:
    return build(small_config(tiny_folder))


def take(built: Built, step: TrainingStep, state: TrainState, batch: dict, seed: int = 0):
    """The state and the metrics after a step on `batch`."""
    return jax.jit(step)(
        state, built.network.parts.frozen, batch, jax.random.key(seed), built.objective.hyperparameters
    )


def one_step(built: Built, batch: dict, accumulate: int = 1, loss: losses.Loss | None = None):
    """The trainable parameters and the metrics after a step on `batch`."""
    new, values = take(built, built.step(accumulate, loss=loss), built.state(), batch)
    return new.trainable, values


def random_batch(rows: int, seed: int = 0) -> dict:
    generator = np.random.default_rng(seed)
    return {
        "image": generator.integers(0, 256, (rows, 16, 16, 3), dtype=np.uint8),
        "label": generator.integers(0, 10, rows, dtype=np.int32),
        "mask": np.ones(rows, bool),
    }


def assert_close(a, b, tolerance: float):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=0, atol=tolerance), a, b)


@pytest.mark.parametrize("name", ["LA", "CB"])
def test_micro_batches_take_the_step_of_the_whole_batch(built, name):
    batch = random_batch(16)
    batch["mask"][11:] = False
    loss = losses.make(name, built.data.train.class_counts)
    whole, whole_values = one_step(built, batch, loss=loss)
    parts, parts_values = one_step(built, batch, accumulate=4, loss=loss)
    # float32 sums in another order. Parameters are below 1, where neighbours are 6e-8 apart, and move by up to 1e-2.
    assert_close(whole, parts, 3e-7)
    np.testing.assert_allclose(whole_values.loss, parts_values.loss, rtol=1e-6)
    assert (whole_values.correct, whole_values.examples) == (parts_values.correct, parts_values.examples)


def test_a_cpu_cuts_a_large_batch_by_itself_to_the_same_step(built, monkeypatch):
    batch = random_batch(12)
    whole, whole_values = one_step(built, batch)
    monkeypatch.setattr(micro_batches, "CACHE", 4 * 16 * built.network.classifier.backbone.mlp_dim * 4)
    assert micro_batches.suitable(built.network.classifier.backbone, batch["image"].shape, "cpu") > 1
    parts, parts_values = one_step(built, batch, accumulate=0)
    assert_close(whole, parts, 1e-7)
    np.testing.assert_allclose(whole_values.loss, parts_values.loss, rtol=1e-6)


def test_padding_changes_nothing(built):
    batch = random_batch(6)
    padded = {key: np.concatenate([rows, rows[:2]]) for key, rows in batch.items()}
    padded["mask"][6:] = False
    plain, values = one_step(built, batch)
    with_padding, padded_values = one_step(built, padded)
    assert_close(plain, with_padding, 3e-7)  # sums of float32 in another order
    np.testing.assert_allclose(values.loss, padded_values.loss, rtol=1e-6)
    assert padded_values.examples == 6


def test_flips_depend_on_the_step_and_the_seed(built):
    step, start, batch = built.step(mirrored=True), built.state(), random_batch(8)

    def loss(state, seed):
        return float(take(built, step, state, batch, seed)[1].loss)

    assert loss(start, 0) == loss(start, 0)
    assert len({loss(start, 0), loss(start, 1), loss(start.replace(step=start.step + 1), 0)}) == 3


@pytest.mark.parametrize("method", ["lift", "full_tuning", "head_only"])
def test_training_learns_and_leaves_the_frozen_part_alone(tiny_folder, method):
    built = build(small_config(tiny_folder, method=method))
    frozen = built.network.parts.frozen
    before = jax.device_get(frozen)
    step, state, batch = jax.jit(built.step()), built.state(), random_batch(32)
    values = []
    for _ in range(12):
        state, result = step(state, frozen, batch, jax.random.key(0), built.objective.hyperparameters)
        values.append(float(result.loss))
    assert min(values[-3:]) < values[0] - 0.05
    trains = built.network.tuning.trains
    after = partition.split(built.network.with_trained(state.trainable).params, trains).frozen
    jax.tree.map(np.testing.assert_array_equal, before, jax.device_get(after))
    frozen_of_file = partition.split({"backbone": built.backbone.params["vision"], "head": {}}, trains).frozen
    jax.tree.map(np.testing.assert_array_equal, before, frozen_of_file)


MEMBERS_APART = 5e-6
"""How far a member of a group may be from its lone run after five steps: the largest parameters are between 2 and 4,
where neighbours in float32 are 2.4e-7 apart, and each of the five steps sums a stack of products in another order than
one product. The largest distance seen, over several kinds of CPU, is 1.3e-6."""


def members_and_lone_runs(built: Built, numbers: list[Hyperparameters], steps: int = 5):
    """The parameters of runs that train as members of one group, and of the same runs alone."""
    frozen, step, batches = built.network.parts.frozen, built.step(mirrored=True), [random_batch(8, i) for i in (0, 1)]
    keys = [jax.random.key(seed) for seed in range(len(numbers))]
    lone = []
    for own, key in zip(numbers, keys, strict=True):
        state = built.state()
        for i in range(steps):
            state, _ = jax.jit(step)(state, frozen, batches[i % 2], key, own.placed(built.mesh))
        lone.append(jax.device_get(state.trainable))
    group = jax.tree.map(lambda x: jnp.stack([x] * len(numbers)), built.state())
    for i in range(steps):
        group, metrics = jax.jit(step.of_members)(
            group, frozen, batches[i % 2], jnp.stack(keys), stacked(numbers, built.mesh)
        )
    assert metrics.loss.shape == (len(numbers),)
    return [jax.device_get(jax.tree.map(lambda x, i=i: x[i], group.trainable)) for i in range(len(numbers))], lone


@pytest.mark.parametrize(
    "method, loss",
    [
        ("lift", "LA"),
        *(pytest.param(*each, marks=pytest.mark.slow) for each in [("lora+ln_tuning", "LADE"), ("coop", "LA")]),
    ],
)
def test_a_group_of_one_ends_as_its_lone_run_to_the_last_bit(tiny_folder, method, loss):
    (member,), (lone,) = members_and_lone_runs(
        build(small_config(tiny_folder, method=method, loss=loss)), [Hyperparameters(0.05, 0.8, 3e-3, 0.7)]
    )
    jax.tree.map(np.testing.assert_array_equal, member, lone)


@pytest.mark.parametrize(
    "method, loss",
    [
        ("lora+ln_tuning", "LADE"),
        *(pytest.param(*each, marks=pytest.mark.slow) for each in [("lift", "LA"), ("mask", "CB")]),
    ],
)
def test_members_of_a_larger_group_end_as_their_lone_runs(tiny_folder, method, loss):
    built = build(small_config(tiny_folder, method=method, loss=loss))
    members, lone = members_and_lone_runs(built, [Hyperparameters(0.05), Hyperparameters(0.02), Hyperparameters(0.1)])
    for one, other in zip(members, lone, strict=True):
        assert_close(one, other, MEMBERS_APART)
    apart = jax.tree.map(lambda x, y: float(np.abs(x - y).max()), lone[0], lone[2])
    assert max(jax.tree.leaves(apart)) > 1e-3  # so that a member which took another's learning rate would be seen


def test_members_have_their_own_momentum_weight_decay_and_tau(tiny_folder):
    built, first = build(small_config(tiny_folder)), Hyperparameters(0.05)
    others = [first._replace(momentum=0.5), first._replace(weight_decay=0.5), first._replace(tau=0.0)]
    members, lone = members_and_lone_runs(built, [first, *others])
    for one, other in zip(members, lone, strict=True):
        assert_close(one, other, MEMBERS_APART)
    for other in lone[1:]:
        apart = jax.tree.map(lambda x, y: float(np.abs(x - y).max()), lone[0], other)
        assert max(jax.tree.leaves(apart)) > 100 * MEMBERS_APART


def test_without_tau_the_logit_adjusted_loss_is_cross_entropy(built):
    batch, key, numbers = random_batch(8), jax.random.key(0), built.objective.hyperparameters._replace(tau=0.0)
    _, adjusted = jax.jit(built.step())(built.state(), built.network.parts.frozen, batch, key, numbers)
    _, plain = one_step(built, batch, loss=losses.make("CE", built.data.train.class_counts))
    np.testing.assert_allclose(adjusted.loss, plain.loss, rtol=1e-6)


def files_of(workdir):
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return lines, json.loads((workdir / "eval.json").read_text()), dict(np.load(workdir / "predictions.npz"))


def test_a_run_that_lost_its_second_half_ends_as_the_one_that_did_not(tiny_folder, tmp_path):
    config = small_config(tiny_folder, checkpoint_every=1, keep=9)
    whole = tmp_path / "whole"
    run(config, whole)
    steps = sorted(int(p.name) for p in (whole / "checkpoints").iterdir())
    assert steps == list(range(1, steps[-1] + 1))

    cut = tmp_path / "cut"
    shutil.copytree(whole, cut)
    middle = steps[-1] // 2 + 1  # inside the second epoch
    for step in steps[middle:]:
        shutil.rmtree(cut / "checkpoints" / str(step))
    for name in "eval.json", "predictions.npz":
        (cut / name).unlink()
    run(config, cut)

    lines, results, predictions = files_of(cut)
    other_lines, other_results, other_predictions = files_of(whole)
    assert [line["step"] for line in lines] == [line["step"] for line in other_lines]
    assert lines == other_lines
    assert results == other_results
    for name in other_predictions:
        np.testing.assert_array_equal(predictions[name], other_predictions[name])


def test_what_a_run_writes_agrees_with_itself(tiny_folder, tmp_path):
    config = small_config(tiny_folder)
    results = run(config, tmp_path / "run")
    _, written, predictions = files_of(tmp_path / "run")
    assert set(written) == {"plain", "tte", "classes"}
    for section, prefix in ("tte", ""), ("plain", "plain_"):
        right = predictions[f"{prefix}prediction"] == predictions["label"]
        np.testing.assert_allclose(written[section]["accuracy"], 100 * right.mean())
        recalls = [100 * right[predictions["label"] == c].mean() for c in range(10)]
        np.testing.assert_allclose(written[section]["mean_acc"], np.mean(recalls))
        assert written[section]["num_examples"] == len(right) == results[section]["num_examples"]
    np.testing.assert_array_equal(predictions["index"], np.arange(len(predictions["index"])))
    assert np.all((predictions["confidence"] > 0) & (predictions["confidence"] <= 1))

    again = run(config, tmp_path / "run", mode="eval")
    assert again == results
    newest = max((tmp_path / "run" / "checkpoints").iterdir(), key=lambda p: int(p.name))
    assert run(config, tmp_path / "elsewhere", mode="eval", checkpoint=newest) == results


def test_groups_of_cifar_are_those_of_imbalance_100():
    groups = class_groups("imbalance_100", np.full(100, 500))  # whatever the training set is
    np.testing.assert_array_equal(np.bincount(groups), [35, 35, 30])  # the published 35 many, 35 medium, 30 few
    np.testing.assert_array_equal(class_groups("", np.array([101, 100, 20, 19])), [0, 1, 1, 2])
    assert GROUPS == ("many", "med", "few")


@pytest.mark.parametrize("remat", ["minimal", "full"])
def test_what_is_computed_anew_changes_no_gradient(tiny_folder, built, remat):
    batch = random_batch(8)
    kept, values = one_step(built, batch)
    anew, anew_values = one_step(build(small_config(tiny_folder, remat=remat)), batch)
    assert_close(kept, anew, 1e-7)
    np.testing.assert_allclose(values.loss, anew_values.loss, rtol=1e-6)
