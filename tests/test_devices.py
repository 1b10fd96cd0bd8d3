"""Several devices give what one device gives."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lift_jax import devices
from lift_jax.errors import UserError

ROOT = Path(__file__).parent.parent


def start(folder: str, workdir: Path, num_devices: int, *flags: str) -> subprocess.Popen:
    """Two short epochs on the digits, on so many simulated devices."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={num_devices}",
    }
    changes = {"backbone": folder, "num_epochs": 2, "lr": 0.05, "log_every": 1, "sweep": "", "method": "lift"}
    arguments = [*(f"--config.{key}={value}" for key, value in changes.items()), f"--workdir={workdir}", *flags]
    command = [sys.executable, "-m", "lift_jax.main", "--config=configs/quickstart.py", *arguments]
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
    assert len(losses) > 4
    # float32 sums in another order.
    np.testing.assert_allclose([x["loss"] for x in other_lines if x["split"] == "train"], losses, rtol=2e-6)
    np.testing.assert_array_equal(other_predictions["index"], predictions["index"])
    np.testing.assert_array_equal(other_predictions["prediction"], predictions["prediction"])
    for section in results:
        for key in results[section]:
            assert other_results[section][key] == pytest.approx(results[section][key], abs=1e-4), (section, key)


def test_four_devices_train_and_evaluate_as_one(tiny_folder, of_one, tmp_path):
    finish(start(tiny_folder, tmp_path / "four", 4))
    assert_same_run(of_one, tmp_path / "four")


def test_two_processes_train_and_evaluate_as_one(tiny_folder, of_one, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = [f"--coordinator=127.0.0.1:{port}", "--num_processes=2"]
    both = [start(tiny_folder, tmp_path / "two", 1, *common, f"--process_id={i}") for i in range(2)]
    first, second = [finish(process) for process in both]
    assert_same_run(of_one, tmp_path / "two")
    assert "mean class" in first
    assert "mean class" not in second


def test_a_batch_that_the_devices_do_not_divide(monkeypatch):
    monkeypatch.setattr("jax.device_count", lambda: 8)
    with pytest.raises(UserError, match="multiple of 16, such as 96"):
        devices.check_batch(100, 2)
    devices.check_batch(96, 2)
