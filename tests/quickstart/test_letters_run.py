"""The quickstart's own config: what it trains on, and that it makes its point."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import ml_collections
import numpy as np
import pytest

from lift_jax.config.grid import parse
from lift_jax.data import load_run_data
from lift_jax.run import check, run

ROOT = Path(__file__).parents[2]


@pytest.fixture
def config() -> ml_collections.ConfigDict:
    spec = importlib.util.spec_from_file_location("quickstart", ROOT / "configs" / "quickstart.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config()


def test_every_group_has_classes_and_four_methods_are_compared(config):
    data = load_run_data(check(config))
    assert np.bincount(data.groups).tolist() == [17, 20, 13]
    assert parse(config.sweep)["method"] == ("zero_shot", "head_only", "lift", "full_tuning")


def test_the_glyph_clip_reads_some_handwriting_without_training(config, tmp_path):
    config.update(sweep="", method="zero_shot", report=False, zero_shot=False)
    config.tte.enabled = False
    found = run(config, tmp_path / "run")["plain"]
    assert 100 / 50 * 25 < found["accuracy"] < 75
    assert found["accuracy"] == pytest.approx(found["mean_acc"])  # the test split is balanced


@pytest.mark.slow
def test_training_is_better_than_no_training(tmp_path):
    command = [sys.executable, "-m", "lift_jax.main", "--config", "configs/quickstart.py", f"--workdir={tmp_path}/runs"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    table = {row[1]: float(row[2]) for row in re.finditer(r"^(\w+) +(\d+\.\d)", done.stdout, re.MULTILINE)}
    assert {"zero_shot", "head_only", "lift", "full_tuning"} <= set(table)
    assert min(table["head_only"], table["lift"]) > table["zero_shot"] + 5
    assert (tmp_path / "runs" / "comparison.html").is_file()
