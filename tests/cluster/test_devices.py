"""Several devices give what one device gives."""

import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import sharded_steps
import simulated_devices

from lift_jax.cluster import placement, preemption
from lift_jax.errors import UserError
from lift_jax.workdir import checkpoints

ROOT = Path(__file__).parents[2]


def start(folder: str, workdir: Path, num_devices: int, *flags: str) -> subprocess.Popen:
    """Two short epochs on the digits, on so many simulated devices."""
    environment = simulated_devices.environment(num_devices)
    changes = {"backbone": folder, "num_epochs": 2, "lr": 0.01, "log_every": 1, "sweep": "", "method": "lift"}
    arguments = [*(f"--config.{key}={value}" for key, value in changes.items()), f"--workdir={workdir}", *flags]
    command = [sys.executable, "-m", "lift_jax.main", "--config=configs/digits.py", *arguments]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(process: subprocess.Popen) -> str:
    """What it printed; it must have succeeded."""
    out, error = process.communicate(timeout=400)
    assert process.returncode == 0, error
    return out


@pytest.fixture(scope="module")
def of_one(tiny_folder, tmp_path_factory) -> Path:
    """The run of one process with one device."""
    workdir = tmp_path_factory.mktemp("devices") / "one"
    finish(start(tiny_folder, workdir, 1))
    return workdir


def assert_same_run(workdir: Path, other: Path) -> None:
    (lines, results, predictions), (other_lines, other_results, other_predictions) = (
        (
            [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()],
            json.loads((folder / "eval.json").read_text()),
            dict(np.load(folder / "predictions.npz")),
        )
        for folder in (workdir, other)
    )
    losses = [line["loss"] for line in lines if line["split"] == "train"]
    assert len(losses) == 20
    # float32 sums in another order.
    np.testing.assert_allclose([x["loss"] for x in other_lines if x["split"] == "train"], losses, rtol=1e-6)
    np.testing.assert_array_equal(other_predictions["index"], predictions["index"])
    np.testing.assert_array_equal(other_predictions["prediction"], predictions["prediction"])
    assert other_results.pop("classes") == results.pop("classes")
    for section in results:
        for key in results[section]:
            assert other_results[section][key] == pytest.approx(results[section][key], abs=1e-4), (section, key)


@pytest.mark.parametrize("fsdp", [pytest.param(False, marks=pytest.mark.slow), True])
def test_eight_devices_train_and_evaluate_as_one(tiny_folder, of_one, tmp_path, fsdp):
    finish(start(tiny_folder, tmp_path / "eight", 8, f"--config.fsdp={fsdp}"))
    assert_same_run(of_one, tmp_path / "eight")


@pytest.mark.slow
def test_steps_are_those_of_one_device_for_losses_of_every_form_and_weights_in_pieces():
    cases = simulated_devices.printed(sharded_steps.__file__, 4)
    assert sum(" 0 arrays" not in name for name in cases) == 3
    for name, found in cases.items():
        assert found["values"][1] == pytest.approx(found["values"][0], rel=1e-6), name
        assert found["apart"] < 1e-6 < 0.05 < found["moved"], (name, found)


def start_several(folder: str, workdir: Path, *flags: Sequence[str]) -> list[subprocess.Popen]:
    """A run of several processes of one device each, with `flags` of their own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = [f"--coordinator=127.0.0.1:{port}", f"--num_processes={len(flags)}"]
    return [start(folder, workdir, 1, *common, f"--process_id={i}", *own) for i, own in enumerate(flags)]


@pytest.mark.parametrize(
    "number, fsdp",
    [(2, False), pytest.param(2, True, marks=pytest.mark.slow), pytest.param(4, False, marks=pytest.mark.slow)],
)
def test_several_processes_train_and_evaluate_as_one(tiny_folder, of_one, tmp_path, number, fsdp):
    flags = [[f"--config.fsdp={fsdp}"]] * number
    first, *others = [finish(process) for process in start_several(tiny_folder, tmp_path / "run", *flags)]
    assert_same_run(of_one, tmp_path / "run")
    assert "mean class" in first
    assert not any("mean class" in other for other in others)


@pytest.mark.slow
def test_processes_of_which_one_is_told_to_stop_stop_together_and_go_on(tiny_folder, tmp_path):
    # JAX looks for the signal once a second, so the training has to take some.
    long = ["--config.num_epochs=60"]
    for process in start_several(tiny_folder, tmp_path / "whole", long, long):
        finish(process)
    both = start_several(tiny_folder, tmp_path / "run", long, long)
    lines = tmp_path / "run" / "metrics.jsonl"
    while not (lines.exists() and lines.read_bytes().count(b"\n") > 2):
        assert both[0].poll() is None, both[0].communicate()
        time.sleep(0.01)
    both[1].terminate()
    for process in both:
        out, error = process.communicate(timeout=200)
        assert process.returncode == preemption.EXIT_CODE, out + error
    assert 2 < checkpoints.steps(tmp_path / "run")[-1] < 600
    for process in start_several(tiny_folder, tmp_path / "run", long, long):
        finish(process)
    for name in "metrics.jsonl", "eval.json":
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


@pytest.mark.slow
def test_a_process_that_is_lost_is_a_sentence_of_the_first(tiny_folder, tmp_path):
    first, lost = start_several(tiny_folder, tmp_path / "run", *[["--config.num_epochs=1000"]] * 2)
    lines = tmp_path / "run" / "metrics.jsonl"
    while not (lines.exists() and lines.read_bytes().count(b"\n") > 15):
        assert first.poll() is None, first.communicate()
        time.sleep(0.01)
    lost.kill()
    _, error = first.communicate(timeout=200)
    assert first.returncode == preemption.EXIT_CODE
    assert re.search(r"^error: Another process of this run was lost .* newest checkpoint\.\n", error, re.M)
    assert "Traceback" not in error


def sentences(processes: list[subprocess.Popen]) -> list[str]:
    """What processes that must fail say on standard error, without the lines of the library that connects them."""
    errors = [process.communicate(timeout=200)[1] for process in processes]
    assert [process.returncode for process in processes] == [1] * len(processes), errors
    return ["".join(line for line in error.splitlines(True) if "[Gloo]" not in line) for error in errors]


@pytest.mark.parametrize(
    "flag, sentence",
    [
        ("--config.lr=0.06", r"error: The processes of this run disagree on config;.*\n"),
        ("--workdir=/proc/run", r"error: Process 1 of 2: The workdir /proc/run cannot be written to .*\n"),
    ],
)
def test_processes_that_differ_stop_with_the_same_sentence(tiny_folder, tmp_path, flag, sentence):
    said = sentences(start_several(tiny_folder, tmp_path / "run", [], [flag]))
    assert said[0] == said[1]
    assert re.fullmatch(sentence, said[0])
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("process_id", [0, 1])
def test_a_process_that_is_not_found_is_a_sentence(tiny_folder, tmp_path, monkeypatch, process_id):
    monkeypatch.setenv("LIFT_JAX_CONNECT_SECONDS", "2")
    flags = ["--coordinator=127.0.0.1:9", "--num_processes=2", f"--process_id={process_id}"]
    if process_id == 0:
        flags[0] = "--coordinator=127.0.0.1:47391"
    (said,) = sentences([start(tiny_folder, tmp_path / "run", 1, *flags)])
    assert re.fullmatch(r"error: .* did not find each other within 2 s; see that all are started .*\n", said)


def test_a_batch_that_the_devices_do_not_divide(monkeypatch):
    monkeypatch.setattr("jax.device_count", lambda: 8)
    with pytest.raises(UserError, match="multiple of 16, such as 96"):
        placement.check_batch(100, 2)
    placement.check_batch(96, 2)
