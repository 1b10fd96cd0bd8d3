"""What the backbone can do before the training, beside what the run has reached."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from small_runs import small_config

from lift_jax.run import run
from lift_jax.training import zero_shot
from lift_jax.workdir import record


def config_of(folder: str, **changes):
    config = small_config(folder)
    config.update(zero_shot=True, num_epochs=1, **changes)
    config.tte.enabled = False
    return config


@pytest.fixture(scope="module")
def trained(tiny_folder, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("trained") / "run"
    return workdir, run(config_of(tiny_folder, lr=0.0), workdir)


def measured(workdir: Path) -> dict[str, float]:
    values = record.read(workdir).zero_shot
    assert values is not None
    return values


def test_it_is_what_the_method_zero_shot_gives(trained, tiny_folder, tmp_path):
    workdir, _ = trained
    expected = run(config_of(tiny_folder, method="zero_shot"), tmp_path / "run")["plain"]
    found = measured(workdir)
    assert found == {key: expected[key] for key in found}
    assert set(found) == {"accuracy", "mean_acc", "many_acc", "med_acc", "few_acc"} - {
        key for key, value in expected.items() if np.isnan(value)
    }


def test_console_shows_it_and_an_evaluation_keeps_it(trained, tiny_folder, tmp_path):
    workdir, results = trained
    before = measured(workdir)
    copy = tmp_path / "run"
    shutil.copytree(workdir, copy)
    (copy / "console.log").unlink()
    assert run(config_of(tiny_folder, lr=0.0), copy, mode="eval") == results
    log = (copy / "console.log").read_text()
    line = re.search(r"^zero_shot +([\d.]+) +([\d.]+)", log, re.M)
    assert line is not None and line.groups() == (f"{before['accuracy']:.1f}", f"{before['mean_acc']:.1f}")
    assert ("did not beat" in log) == (results["plain"]["mean_acc"] <= before["mean_acc"])
    assert measured(copy) == before
    assert "evaluation, zero-shot" not in log


def test_a_training_that_gains_nothing_is_warned_of():
    before = {"accuracy": 50.0, "mean_acc": 41.24}
    sentence = zero_shot.warning(before, {"accuracy": 70.0, "mean_acc": 41.2})
    assert sentence is not None and "41.2 % on average over classes" in sentence and "config.lr" in sentence
    assert zero_shot.warning(before, {"accuracy": 1.0, "mean_acc": 41.24}) is not None
    assert zero_shot.warning(before, {"accuracy": 40.0, "mean_acc": 41.3}) is None


def test_other_test_images_are_not_measured_by_it(trained):
    workdir, _ = trained
    known = json.loads((workdir / "run.json").read_text())
    counts, groups = known["test_counts"], known["class_groups"]
    assert record.known_zero_shot(workdir, counts, groups) == known["zero_shot"]
    of_all = {key: value for key, value in known["zero_shot"].items() if key in ("accuracy", "mean_acc")}
    assert record.known_zero_shot(workdir, counts, [2 - group for group in groups]) == of_all
    assert record.known_zero_shot(workdir, [counts[0] + 1, *counts[1:]], groups) is None
    assert record.known_zero_shot(workdir / "none", counts, groups) is None
