"""The comparison with what people would use instead."""

import re

import numpy as np
import pytest
from started_commands import start

from lift_jax import config as lift_config
from lift_jax.bench.peer_methods import Outcome, measure, table
from lift_jax.evaluation.metrics import COLUMNS


def outcome(accuracy: float, seconds: float, peak: int, few: float = 50.0) -> Outcome:
    figures = dict.fromkeys(COLUMNS.values(), accuracy) | {"few_acc": few}
    return Outcome(figures, 1234, seconds, peak)


def test_a_line_has_means_standard_errors_and_the_largest_memory():
    found = {"lift": [outcome(80.0, 3, 10**9), outcome(82.0, 5, 2 * 10**9), outcome(84.0, 7, 10**9)]}
    head, line = (re.split(r"\s{2,}", each.strip()) for each in table(found).splitlines())
    assert head == [*COLUMNS, "trained", "seconds", "memory"]
    # The sample's standard deviation is 2, and 2 / sqrt(3) = 1.155.
    assert line == [
        "lift",
        "82.0 ± 1.2",
        "82.0 ± 1.2",
        "82.0 ± 1.2",
        "82.0 ± 1.2",
        "50.0 ± 0.0",
        "1,234",
        "5",
        "2.00 GB",
    ]


def test_one_training_has_no_error_and_an_empty_group_no_number():
    line = table({"peer": [outcome(80.0, 3, 10**9, few=float("nan"))]}).splitlines()[1]
    assert re.fullmatch(r"peer(\s+80\.0){4}\s+-\s+1,234\s+3\s+1\.00 GB", line)


def test_a_method_that_is_not_there_is_named():
    ended = start("lift_jax.bench.peers", "--config=configs/quickstart.py", "--only=logistic")
    assert ended.returncode == 1 and re.search("'logistic'.*logistic_regression", ended.stderr)


@pytest.mark.slow
@pytest.mark.parity
@pytest.mark.parametrize("name", ["logistic_regression", "peft_lora"])
def test_a_peer_learns_the_letters(name):
    for package in ("torch", "transformers", "peft", "accelerate", "sklearn"):
        pytest.importorskip(package)
    config = lift_config.default()
    config.update(backbone="quickstart", class_groups="thirds", crop="square", batch_size=32, num_epochs=5)
    config.data.update(name="letters", format="letters", imbalance=15, permute_classes=1)
    found = measure(name, config.to_dict(), seed=0)
    assert found.metrics["num_examples"] == 250
    assert found.metrics["mean_acc"] > 8  # of fifty letters, of which chance gets two in a hundred
    assert np.isfinite([found.metrics[metric] for metric in COLUMNS.values()]).all()
    assert found.trained > 0 and found.seconds > 0 and found.peak > 10**8
