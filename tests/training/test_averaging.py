"""What a run's results are of: the average of the trained parameters (config.ema), the tuner at a strength."""

import json
import shutil
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import flatten
from etils import epath
from hypothesis import given, settings
from hypothesis import strategies as st
from small_runs import build, small_config

import lift_jax
from lift_jax.data.digits import load_digits
from lift_jax.errors import UserError
from lift_jax.inference import compact
from lift_jax.run import run, run_together
from lift_jax.training import optimizer
from lift_jax.training.averaging import average, averaged
from lift_jax.workdir import checkpoints, metrics_file
from lift_jax.workdir.logs import Logs

DECAY, STEPS = 0.8, 6


def weighted_mean(trees: list[Any], decay: float) -> Any:
    """The mean of the trees, in float64, each of which counts `decay` times as much as the one after it."""
    shares = [decay ** (len(trees) - 1 - index) for index in range(len(trees))]

    def mean(*arrays):
        return sum(share * np.asarray(x, np.float64) for share, x in zip(shares, arrays, strict=True)) / sum(shares)

    return jax.tree.map(mean, *trees)


@given(st.floats(1e-4, 0.9999), st.lists(st.floats(-100, 100), min_size=1, max_size=12))
@settings(max_examples=30, deadline=None)
def test_it_is_the_weighted_mean_of_the_parameters_after_each_step(decay, values):
    tx = average(decay)
    params: Any = {"head": jnp.array([7.0])}  # of which nothing stays in the average
    state = tx.init(params)
    seen = []
    for value in values:
        updates, state = tx.update({"head": value - params["head"]}, state, params)
        params = optax.apply_updates(params, updates)
        seen.append(params)
    found = averaged(state, None)["head"]
    np.testing.assert_allclose(found, weighted_mean(seen, decay)["head"], rtol=1e-4, atol=1e-3)


def test_without_it_the_optimizer_is_as_it_was_and_with_it_the_steps_are_the_same():
    params: Any = {"tuner": {"x": jnp.arange(3.0)}, "head": {"y": jnp.ones(2)}}
    gradient = jax.tree.map(lambda x: 0.3 * x + 1, params)
    ends = []
    for ema in 0.0, 0.9:
        tx, trained = optimizer.make(0.1, 0.9, 5e-4, ema), params
        state = tx.init(trained)
        for _ in range(3):
            updates, state = tx.update(gradient, state, trained)
            trained = optax.apply_updates(trained, updates)
        ends.append((trained, state))
    jax.tree.map(np.testing.assert_array_equal, ends[0][0], ends[1][0])
    assert averaged(ends[0][1], "none") == "none"
    assert jax.tree.structure(ends[0][1]) == jax.tree.structure(optimizer.make(0.1, 0.9, 5e-4).init(params))


def digits() -> np.ndarray:
    """The test images of the runs."""
    _, test = load_digits(50)
    return np.stack([test.source[index] for index in range(len(test))])


def config_of(folder: str, **changes):
    config = small_config(folder, validation="balanced:5", keep=STEPS, checkpoint_every=1)
    config.tte.enabled = False
    config.update(num_epochs=2, lr=0.2, ema=DECAY)
    config.update(changes)
    return config


def states_of(config: Any, workdir: Path) -> dict[int, Any]:
    built = build(config)
    return {
        step: jax.device_get(checkpoints.restore(folder, built.state(), built.identity).state)
        for step in checkpoints.steps(workdir)
        for folder in [workdir / "checkpoints" / str(step)]
    }


def assert_averages_of_the_steps(config: Any, workdir: Path) -> None:
    states = states_of(config, workdir)
    assert list(states) == list(range(1, STEPS + 1))
    expected = weighted_mean([state.trainable for state in states.values()], DECAY)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=0, atol=1e-5), states[STEPS].result, expected)
    apart = jax.tree.map(lambda x, y: float(np.abs(x - y).max()), states[STEPS].trainable, expected)
    assert max(jax.tree.leaves(apart)) > 1e-3


@pytest.fixture(scope="module")
def trained(tiny_folder, tmp_path_factory) -> tuple[Path, Any]:
    workdir = tmp_path_factory.mktemp("averaging") / "run"
    return workdir, run(config_of(tiny_folder), workdir)


def test_checkpoints_hold_the_average_of_all_steps(trained, tiny_folder):
    assert_averages_of_the_steps(config_of(tiny_folder), trained[0])


def test_the_average_is_what_is_judged_evaluated_and_loaded(trained, tiny_folder):
    workdir, results = trained
    lines, _ = metrics_file.parse((workdir / "metrics.jsonl").read_bytes())
    curve = {line["step"]: line["mean_acc"] for _, line in lines if line["split"] == "validation"}
    folder = checkpoints.chosen(workdir)
    assert folder is not None
    assert results["validation"]["mean_acc"] == curve[int(folder.name)] == max(curve.values())
    model = lift_jax.load(workdir)
    with np.load(workdir / "predictions.npz") as written:
        np.testing.assert_array_equal(model.predict(digits()).max(axis=1), written["confidence"])
    saved = states_of(config_of(tiny_folder), workdir)[int(folder.name)]
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(model.network.parts.trainable), saved.result)


def test_a_run_that_goes_on_ends_the_same_to_the_last_bit(trained, tiny_folder, tmp_path):
    whole, results = trained
    workdir = tmp_path / "run"
    shutil.copytree(whole, workdir)
    for step in checkpoints.steps(workdir):
        if step > 2:
            shutil.rmtree(workdir / "checkpoints" / str(step))
    (workdir / "eval.json").unlink()
    assert run(config_of(tiny_folder), workdir) == results
    one, other = (states_of(config_of(tiny_folder), folder)[STEPS] for folder in (workdir, whole))
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_a_checkpoint_without_an_average_is_told_from_one_with(trained, tiny_folder):
    built = build(config_of(tiny_folder, ema=0.0))
    with pytest.raises(UserError, match=r"made with another value of config\.ema \(0\.8, here 0\.0\)"):
        checkpoints.restore_newest(trained[0], built.state(), built.identity, Logs(None, enabled=False))


def test_the_strength_of_the_tuner_is_that_of_the_evaluation(trained, tiny_folder, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(trained[0], workdir)
    before = {name: (workdir / name).read_bytes() for name in ("eval.json", "predictions.npz")}
    with pytest.raises(UserError, match=r"config\.tuner_strength=1\.0 \(here 0\.5\); add --mode eval"):
        run(config_of(tiny_folder, tuner_strength=0.5), workdir)
    whole = lift_jax.load(workdir).network
    assert run(config_of(tiny_folder, tuner_strength=0.5), workdir, mode="eval")["plain"] != trained[1]["plain"]
    model = lift_jax.load(workdir)
    with np.load(workdir / "predictions.npz") as written:
        np.testing.assert_array_equal(model.predict(digits()).max(axis=1), written["confidence"])
    flat, other = (flatten(network.parts.tuner) for network in (model.network, whole))
    for path, array in flat.items():
        factor = 0.5 if path[-2] == "up_proj" else 1
        np.testing.assert_array_equal(array, factor * np.asarray(other[path]))
    again = compact.load(compact.write(model, tmp_path))
    np.testing.assert_array_equal(again.predict(digits()[:9]), model.predict(digits()[:9]))

    assert run(config_of(tiny_folder), workdir, mode="eval") == trained[1]
    assert (workdir / "eval.json").read_bytes() == before["eval.json"]


@pytest.mark.slow
@pytest.mark.parametrize("fsdp", [False, True])
def test_members_of_a_group_and_runs_in_pieces_have_their_averages(tiny_folder, tmp_path, fsdp):
    configs = {name: config_of(tiny_folder, lr=lr, fsdp=fsdp) for name, lr in {"a": 0.2, "b": 0.1}.items()}
    run_together({epath.Path(tmp_path / name): config for name, config in configs.items()})
    for name, config in configs.items():
        assert_averages_of_the_steps(config, tmp_path / name)
        assert json.loads((tmp_path / name / "config.json").read_text())["ema"] == DECAY
