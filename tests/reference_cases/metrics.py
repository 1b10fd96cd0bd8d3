"""kind = metrics: the evaluator's results."""

import pytest

from lift_jax import metrics
from reference_cases.case import Case


def check(case: Case) -> None:
    counts = metrics.count(case.array("logits"), case.array("labels"))
    actual = metrics.summarize(counts, case.array("train_class_counts"))
    expected = case.option("results")
    assert {name: actual[name] for name in expected} == pytest.approx(expected, abs=1e-4, rel=0)
