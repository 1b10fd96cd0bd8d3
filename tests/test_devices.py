"""Several devices give what one device gives."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lift_jax import devices
from lift_jax.errors import UserError

ROOT = Path(__file__).parent.parent


def digits_run(folder: str, workdir: Path, num_devices: int) -> tuple[list[dict], dict, dict]:
    """Logged lines, results and predictions of two short epochs on so many simulated devices."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={num_devices}",
    }
    changes = {"backbone": folder, "num_epochs": 2, "lr": 0.05, "log_every": 1, "sweep": "", "method": "lift"}
    arguments = [f"--config.{key}={value}" for key, value in changes.items()]
    command = [
        sys.executable,
        "-m",
        "lift_jax.main",
        "--config=configs/quickstart.py",
        f"--workdir={workdir}",
        *arguments,
    ]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return lines, json.loads((workdir / "eval.json").read_text()), dict(np.load(workdir / "predictions.npz"))


def test_four_devices_train_and_evaluate_as_one(tiny_folder, tmp_path):
    lines, results, predictions = digits_run(tiny_folder, tmp_path / "one", 1)
    other_lines, other_results, other_predictions = digits_run(tiny_folder, tmp_path / "four", 4)
    losses = [line["loss"] for line in lines if line["split"] == "train"]
    assert len(losses) > 4
    # float32 sums in another order.
    np.testing.assert_allclose([x["loss"] for x in other_lines if x["split"] == "train"], losses, rtol=2e-6)
    np.testing.assert_array_equal(other_predictions["prediction"], predictions["prediction"])
    np.testing.assert_array_equal(other_predictions["index"], predictions["index"])
    for section in results:
        for key in results[section]:
            assert other_results[section][key] == pytest.approx(results[section][key], abs=1e-4), (section, key)


def test_a_batch_that_the_devices_do_not_divide(monkeypatch):
    monkeypatch.setattr("jax.device_count", lambda: 8)
    with pytest.raises(UserError, match="multiple of 16, such as 96"):
        devices.check_batch(100, 2)
    devices.check_batch(96, 2)
