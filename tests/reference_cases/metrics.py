"""kind = metrics: the evaluator's results."""

import numpy as np

from lift_jax.evaluation import metrics
from reference_cases.case import Case


def check(case: Case) -> None:
    counts = metrics.count(case.array("logits"), case.array("labels"))
    actual = metrics.summarize(counts, case.array("train_class_counts"))
    expected = case.option("results")
    for name, value in expected.items():  # a group without classes is NaN, which JSON may write as null
        value = np.nan if value is None else value
        np.testing.assert_allclose(actual[name], value, rtol=0, atol=1e-4, err_msg=name)
