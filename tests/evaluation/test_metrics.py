from typing import Any, cast

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import gmean, hmean
from sklearn import metrics as sklearn_metrics

from lift_jax.errors import UserError
from lift_jax.evaluation import metrics

TRAIN_COUNTS = np.array([101, 100, 20, 19, 500, 1])
CLASSES = len(TRAIN_COUNTS)
count = jax.jit(metrics.count)


def examples(seed: int, size: int, skill: float = 2.0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, size).astype(np.int32)
    logits = rng.normal(size=(size, CLASSES)) + skill * rng.random((size, 1)) * np.eye(CLASSES)[labels]
    return logits.astype(np.float32), labels


def class_recall(labels, predictions, classes=None) -> np.ndarray:
    per_class: Any = sklearn_metrics.recall_score(labels, predictions, labels=classes, average=cast(str, None))
    return 100 * per_class


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), skill=st.sampled_from([0.0, 2.0, 5.0]))
def test_class_metrics_equal_scikit_learns(seed, skill):
    logits, labels = examples(seed, 150, skill)
    predictions = logits.argmax(axis=1)
    results = metrics.summarize(count(logits, labels), TRAIN_COUNTS)
    recall = class_recall(labels, predictions)
    expected = {
        "accuracy": 100 * sklearn_metrics.accuracy_score(labels, predictions),
        "mean_acc": 100 * sklearn_metrics.balanced_accuracy_score(labels, predictions),
        "macro_f1": 100 * sklearn_metrics.f1_score(labels, predictions, average="macro"),
        "worst_case_acc": recall.min(),
        "gmean_acc": gmean(recall) if recall.all() else 0.0,
        "hmean_acc": hmean(np.maximum(recall, 0.001)),
        "many_acc": recall[[0, 4]].mean(),
        "med_acc": recall[[1, 2]].mean(),
        "few_acc": recall[[3, 5]].mean(),
        "num_examples": 150,
    }
    for name, value in expected.items():
        np.testing.assert_allclose(results[name], value, rtol=1e-6, atol=1e-9, err_msg=name)
    assert results["error_rate"] == pytest.approx(100 - results["accuracy"])


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000))
def test_calibration_error_is_that_of_its_definition(seed):
    logits, labels = examples(seed, 200)
    wide = logits.astype(np.float64)
    probabilities = np.exp(wide) / np.exp(wide).sum(axis=1, keepdims=True)
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    expected = 0.0
    for lower in np.arange(10) / 10:
        inside = (confidence > lower) & (confidence <= lower + 0.1)
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    result = metrics.summarize(count(logits, labels), TRAIN_COUNTS)["expected_calibration_error"]
    np.testing.assert_allclose(result, 100 * expected, atol=1e-4)


@pytest.mark.parametrize("classes", [2, 4, 5, 10])
def test_a_confidence_on_an_edge_falls_where_float64_puts_it(classes):
    counts = count(np.zeros((1, classes), np.float32), np.zeros(1, np.int32))
    confidence = float(np.float32(1) / np.float32(classes))
    expected = np.searchsorted(np.linspace(0, 1, 11), confidence) - 1
    assert np.flatnonzero(counts.bin_total) == [expected]


def test_certain_predictions_are_in_the_last_bin():
    counts = count(100 * np.eye(3, dtype=np.float32), np.arange(3, dtype=np.int32))
    assert counts.bin_total.tolist() == [0] * 9 + [3]


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), cuts=st.lists(st.integers(0, 60), min_size=2, max_size=2))
def test_shards_add_up_to_the_whole(seed, cuts):
    logits, labels = examples(seed, 60)
    low, high = sorted(cuts)
    total = None
    for start, stop in ((0, low), (low, high), (high, 60)):
        padded_logits, padded_labels = np.full((64, CLASSES), np.nan, np.float32), np.full(64, -1, np.int32)
        padded_logits[: stop - start], padded_labels[: stop - start] = logits[start:stop], labels[start:stop]
        part = jax.device_get(count(padded_logits, padded_labels, np.arange(64) < stop - start))
        total = part if total is None else total + part
    whole = count(logits, labels)
    for name in ("correct", "total", "predicted", "bin_total", "bin_correct"):
        np.testing.assert_array_equal(getattr(total, name), getattr(whole, name), err_msg=name)
    np.testing.assert_allclose(total.bin_confidence, whole.bin_confidence, rtol=1e-5)


def test_counts_can_be_summed_by_psum():
    logits, labels = examples(0, 8)
    summed = jax.jit(jax.vmap(lambda x, y: jax.lax.psum(metrics.count(x, y), "shard"), axis_name="shard"))
    parts = summed(logits.reshape(2, 4, CLASSES), labels.reshape(2, 4))
    np.testing.assert_array_equal(parts.correct[0], count(logits, labels).correct)
    np.testing.assert_array_equal(parts.predicted[1], count(logits, labels).predicted)


def test_groups_have_the_published_limits():
    assert metrics.groups(TRAIN_COUNTS).tolist() == [0, 1, 1, 2, 0, 2]


def test_groups_may_be_given_by_name_or_number():
    logits, labels = examples(1, 100)
    counts = count(logits, labels)
    numbers = metrics.groups(TRAIN_COUNTS)
    expected = metrics.summarize(counts, TRAIN_COUNTS)
    others = np.full(CLASSES, 500)  # all many, were it not for the groups that are given
    assert metrics.summarize(counts, others, numbers) == expected
    assert metrics.summarize(counts, others, [metrics.GROUPS[i] for i in numbers]) == expected


def test_classes_and_groups_that_are_absent():
    logits, labels = examples(2, 200)
    keep = (labels != 3) & (labels != 5)  # no test examples of the few-shot classes
    results = metrics.summarize(count(logits, labels, keep), TRAIN_COUNTS)
    recall = class_recall(labels[keep], logits[keep].argmax(axis=1), [0, 1, 2, 4])
    np.testing.assert_allclose(results["mean_acc"], recall.mean())
    np.testing.assert_allclose(results["worst_case_acc"], recall.min())
    assert np.isnan(results["few_acc"])


def test_geometric_mean_of_thousands_of_classes_does_not_vanish():
    classes = 5000
    ones = np.ones(classes, np.int32)
    counts = metrics.Counts(ones, 2 * ones, 2 * ones, *np.ones((3, 10)))
    assert metrics.summarize(counts)["gmean_acc"] == pytest.approx(50)


def test_no_examples_is_an_error():
    logits, labels = examples(0, 3)
    with pytest.raises(UserError, match="no examples"):
        metrics.summarize(count(logits, labels, np.zeros(3, bool)), TRAIN_COUNTS)


def test_table_lines_up_and_marks_missing_values():
    logits, labels = examples(3, 50)
    row = metrics.summarize(count(logits, labels), np.full(CLASSES, 500))
    lines = metrics.table({"zero-shot": row, "LIFT": {"accuracy": 100.0}}).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[0].split() == ["overall", "mean", "class", "many", "medium", "few"]
    assert lines[1].split() == ["zero-shot", *(f"{row[m]:.1f}" for m in ("accuracy", "mean_acc", "many_acc")), "-", "-"]
    assert lines[2].split() == ["LIFT", "100.0", "-", "-", "-", "-"]
