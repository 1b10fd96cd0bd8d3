"""Several runs at once: each is what it would be alone."""

import functools
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest
from etils import epath
from small_runs import build, small_config

import lift_jax
from lift_jax import sweep
from lift_jax.errors import DivergedError
from lift_jax.run import run, run_together
from lift_jax.training.state import TrainState
from lift_jax.workdir import checkpoints
from lift_jax.workdir.logs import Logs

APART = 1e-5
"""How far a parameter of a member may be from that of its lone run after six steps. The largest parameters are between
2 and 4, where neighbours in float32 are 2.4e-7 apart, and each step sums a stack of products in another order."""


def small(folder: str, **changes):
    config = small_config(folder, checkpoint_every=1, keep=9)
    config.update(changes)
    config.tte.enabled = False
    return config


def together(configs: dict, root: Path) -> list:
    return run_together({epath.Path(root / name): config for name, config in configs.items()})


def lines_of(workdir: Path) -> list[dict]:
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def newest_state(built, workdir: Path) -> TrainState:
    saved = checkpoints.restore_newest(workdir, built.state(), built.identity, Logs(None, enabled=False))
    assert saved is not None
    return jax.device_get(saved.state)


def assert_same_run(one: Path, other: Path) -> None:
    """Equal configs, lines, results and predictions, to the last bit."""
    assert lines_of(one) == lines_of(other)
    for name in "config.json", "eval.json":
        assert json.loads((one / name).read_text()) == json.loads((other / name).read_text())
    rows, other_rows = np.load(one / "predictions.npz"), np.load(other / "predictions.npz")
    assert set(rows) == set(other_rows)
    for name in rows:
        np.testing.assert_array_equal(rows[name], other_rows[name])


@pytest.fixture(scope="module")
def configs(tiny_folder) -> dict:
    return {
        "a": small(tiny_folder, seed=0, lr=0.05),
        "b": small(tiny_folder, seed=1, lr=0.05),
        "c": small(tiny_folder, seed=1, lr=0.02),
    }


@pytest.fixture(scope="module")
def lone(configs, tmp_path_factory) -> Callable[[str], Path]:
    """Gives the folder of a lone run, which is made when it is first asked for."""
    root = tmp_path_factory.mktemp("lone")

    @functools.cache
    def workdir(name: str) -> Path:
        run(configs[name], root / name)
        return root / name

    return workdir


@pytest.fixture(scope="module")
def group(configs, tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("group")
    together(configs, root)
    return root


def test_a_group_of_one_is_its_lone_run_to_the_last_bit(tiny_folder, configs, lone, tmp_path):
    together({"a": configs["a"]}, tmp_path)
    assert_same_run(tmp_path / "a", lone("a"))
    built = build(configs["a"])
    jax.tree.map(np.testing.assert_array_equal, newest_state(built, tmp_path / "a"), newest_state(built, lone("a")))


@pytest.mark.parametrize(
    "name", ["a", pytest.param("b", marks=pytest.mark.slow), pytest.param("c", marks=pytest.mark.slow)]
)
def test_members_of_a_larger_group_end_as_their_lone_runs(configs, lone, group, name):
    built = build(configs[name])
    member, alone = newest_state(built, group / name), newest_state(built, lone(name))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=0, atol=APART), member, alone)
    assert json.loads((group / name / "config.json").read_text()) == json.loads(
        (lone(name) / "config.json").read_text()
    )
    assert {path.name for path in (group / name).iterdir()} == {path.name for path in (lone(name)).iterdir()}
    lines, other_lines = lines_of(group / name), lines_of(lone(name))
    assert [line.keys() for line in lines] == [line.keys() for line in other_lines]
    for line, other in zip(lines, other_lines, strict=True):
        if line["split"] == "train":
            assert (line["step"], line["lr"]) == (other["step"], other["lr"])
            np.testing.assert_allclose(line["loss"], other["loss"], rtol=1e-5)


@pytest.mark.slow
def test_a_sweep_trains_learning_rates_of_one_seed_at_once(configs, lone, tmp_path, capsys):
    config = configs["a"].copy_and_resolve_references()
    config.sweep = "lr=0.05,0.02 tte.mode=fivecrop"
    sweep.run(config, tmp_path)
    out = capsys.readouterr().out
    names = ["lr=0.05,tte.mode=fivecrop", "lr=0.02,tte.mode=fivecrop"]
    assert f"2 runs train at once: {', '.join(names)}" in out
    assert [line.split()[0] for line in out.splitlines()[-2:]] == names
    states = [newest_state(build(configs["a"]), folder) for folder in (tmp_path / names[0], lone("a"))]
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=0, atol=APART), *states)


def test_groups_of_a_sweep_are_those_that_one_program_holds(configs):
    alone = {"fsdp": True}, {"fsdp": True}, {"method": "zero_shot"}, {"method": "zero_shot", "seed": 3}
    plan = {}
    for index, changes in enumerate([{}, {"seed": 3}, {"batch_size": 64}, {"lr": 0.2}, {"seed": 4}, *alone]):
        plan[index] = configs["a"].copy_and_resolve_references()
        plan[index].update(changes)
    assert [list(group) for group in sweep.groups(plan, 3)] == [[0, 1, 3], [4], [2], [5], [6], [7, 8]]
    assert [list(group) for group in sweep.groups(plan, 1)] == [[0], [1], [3], [4], [2], [5], [6], [7], [8]]


def test_numbers_and_the_start_of_the_head_may_differ_in_one_program(configs):
    own = {"momentum": 0.8}, {"weight_decay": 0.1}, {"tau": 2.0}, {"head_init": "class_mean"}
    plan = {epath.Path(str(index)): configs["a"].copy_and_resolve_references() for index in range(5)}
    for config, changes in zip(plan.values(), [{}, *own], strict=True):
        config.update(changes)
    assert [len(group) for group in sweep.groups(plan, 8)] == [5]


def test_members_differ_from_one_another(configs, group):
    states = [newest_state(build(configs[name]), group / name).trainable for name in configs]
    for one, other in (0, 1), (1, 2):
        apart = jax.tree.map(lambda x, y: float(np.abs(x - y).max()), states[one], states[other])
        assert max(jax.tree.leaves(apart)) > 100 * APART


def test_each_console_log_tells_of_its_own_run(configs, lone, group):
    def said(workdir: Path) -> list[str]:
        lines = [line[22:].split(",")[0] for line in (workdir / "console.log").read_text().splitlines()]
        return [line for line in lines if not any(char.isdigit() for char in line)]

    for name in configs:
        text = (group / name / "console.log").read_text()
        assert text.count("3/3 steps in") == 2 and text.count("The first step was done") == 1
        assert text.count("evaluation, plain: 600/600 images in") == 1
    assert said(group / "a") == said(lone("a"))


def test_a_group_that_was_killed_ends_as_the_one_that_was_not(configs, group, tmp_path):
    shutil.copytree(group, tmp_path / "cut")
    for name, last in ("a", 2), ("b", 4), ("c", 3):  # a kill comes between two members' checkpoints, or three's
        folder = tmp_path / "cut" / name
        for step in range(last + 1, 7):
            shutil.rmtree(folder / "checkpoints" / str(step))
        (folder / "eval.json").unlink()
    together(configs, tmp_path / "cut")
    for name in configs:
        assert_same_run(tmp_path / "cut" / name, group / name)
        built = build(configs[name])
        states = newest_state(built, tmp_path / "cut" / name), newest_state(built, group / name)
        jax.tree.map(np.testing.assert_array_equal, *states)


@pytest.mark.slow
def test_a_run_of_a_group_is_a_run_as_any_other(configs, group, tmp_path):
    shutil.copytree(group / "b", tmp_path / "b")
    assert np.isfinite(lift_jax.load(tmp_path / "b").predict(np.zeros((1, 8, 8, 3), np.uint8))).all()
    evaluated = json.loads((tmp_path / "b" / "eval.json").read_text())["plain"]
    assert run(configs["b"], tmp_path / "b", mode="eval")["plain"] == evaluated


@pytest.mark.slow
def test_a_lone_run_goes_on_from_a_group(configs, group, tmp_path):
    shutil.copytree(group / "b", tmp_path / "b")
    longer = configs["b"].copy_and_resolve_references()
    longer.num_epochs = 3
    run(longer, tmp_path / "b")
    assert checkpoints.steps(tmp_path / "b")[-1] == 9


@pytest.mark.slow
def test_a_member_that_diverges_leaves_the_others_alone(tiny_folder, tmp_path, capsys):
    def config(lr: float):
        return small(tiny_folder, lr=lr, weight_decay=100.0, head="linear", head_init="random", num_epochs=10)

    configs = {"good": config(0.001), "bad": config(100.0), "fine": config(0.002)}
    good, bad, fine = together(configs, tmp_path)
    assert isinstance(bad, DivergedError) and "write a lower config.lr than 100" in str(bad)
    assert good["plain"]["num_examples"] == fine["plain"]["num_examples"] > 0
    assert not (tmp_path / "bad" / "eval.json").exists()
    assert all(line["loss"] is not None for line in lines_of(tmp_path / "bad"))
    assert checkpoints.steps(tmp_path / "fine")[-1] == 30 > checkpoints.steps(tmp_path / "bad")[-1]
