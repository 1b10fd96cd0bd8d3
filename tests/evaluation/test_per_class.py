"""Precision and recall of each class."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lift_jax.evaluation import per_class


def drawn(seed: int, n: int = 400, classes: int = 5) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes, n)
    return labels, np.where(generator.random(n) < 0.6, labels, generator.integers(0, classes, n))


def test_by_hand():
    found = per_class.measure(np.array([0, 0, 0, 0, 1, 1]), np.array([0, 0, 0, 1, 1, 0]), 4)
    np.testing.assert_array_equal(found.precision, [75, 50, np.nan, np.nan])
    np.testing.assert_array_equal(found.recall, [75, 50, np.nan, np.nan])
    assert np.isnan(found.precision_interval[2:]).all() and np.isfinite(found.recall_interval[:2]).all()


def test_the_intervals_are_those_of_images_drawn_with_replacement():
    labels, predictions = drawn(0)
    found = per_class.measure(labels, predictions, 5, resamples=4000)
    generator = np.random.default_rng(1)
    recalls, precisions = [], []
    for _ in range(4000):
        chosen = generator.integers(0, len(labels), len(labels))
        true, said = labels[chosen], predictions[chosen]
        recalls.append([100 * np.mean(said[true == c] == c) for c in range(5)])
        precisions.append([100 * np.mean(true[said == c] == c) for c in range(5)])
    np.testing.assert_allclose(found.recall_interval, np.quantile(recalls, [0.025, 0.975], axis=0).T, atol=1.5)
    np.testing.assert_allclose(found.precision_interval, np.quantile(precisions, [0.025, 0.975], axis=0).T, atol=1.5)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=10, deadline=None)
def test_values_lie_in_their_intervals_and_are_the_same_again(seed):
    labels, predictions = drawn(seed)
    found, again = (per_class.measure(labels, predictions, 5) for _ in range(2))
    for value, ends in (found.precision, found.precision_interval), (found.recall, found.recall_interval):
        assert np.all((ends[:, 0] <= value) & (value <= ends[:, 1])) and ends.min() >= 0 and ends.max() <= 100
    for one, other in zip(found, again, strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_is_always_right_has_an_interval_without_width():
    found = per_class.measure(np.array([0, 0, 1]), np.array([0, 0, 1]), 2)
    np.testing.assert_array_equal(found.recall_interval, np.full((2, 2), 100.0))


def test_no_images():
    found = per_class.measure(np.zeros(0, np.int64), np.zeros(0, np.int64), 2)
    assert all(np.isnan(column).all() for column in found)


def test_more_classes_than_are_drawn_at_once():
    labels = np.arange(2500) % 1250
    found = per_class.measure(labels, labels, 1250, resamples=20)
    assert found.recall_interval.shape == (1250, 2) and (found.recall == 100).all()
    entries = per_class.content({"plain": found}, [f"c{c}" for c in range(1250)])["plain"]
    assert entries[1249]["class"] == "c1249" and entries[1249]["recall_interval"] == [100.0, 100.0]


def test_draws_without_a_value_are_left_out():
    values = np.array([[np.nan, 1.0], [3.0, 2.0], [np.nan, 3.0], [1.0, 4.0], [5.0, 5.0]])
    expected = np.nanquantile(values, [0.025, 0.975], axis=0).T
    np.testing.assert_allclose(per_class._ends(values), expected)
