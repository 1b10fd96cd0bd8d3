"""Thresholds that hold for a stated share of images."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lift_jax.errors import UserError
from lift_jax.inference import conformal

GROUPS = np.array([0, 0, 1, 2])


@given(st.integers(0, 10**6), st.integers(30, 300), st.floats(0.05, 0.5))
@settings(max_examples=50, deadline=None)
def test_at_most_the_share_of_the_held_out_images_falls_below(seed, count, share):
    values = np.random.default_rng(seed).random(count)
    lowest = conformal.thresholds([values.tolist(), [], []], GROUPS, share, "It").lowest
    below = np.count_nonzero(values < lowest[0])
    assert below + 1 <= share * (count + 1) + 1e-6 < below + 2  # the largest threshold for which this holds


def test_sets_hold_the_true_class_as_often_as_they_say():
    """The mean over many held-out sets is the stated coverage, for the few as for the many."""
    generator = np.random.default_rng(0)
    covered = []
    for _ in range(200):
        labels = generator.integers(0, 4, 800)
        scores = generator.normal(size=(800, 4)) + np.array([2.0, 2.0, 1.0, 0.5])[labels][:, None] * np.eye(4)[labels]
        probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
        true, groups = probabilities[np.arange(800), labels], GROUPS[labels]
        held_out = [true[:400][groups[:400] == group].tolist() for group in range(3)]
        members = conformal.thresholds(held_out, GROUPS, 0.1, "It").sets(probabilities[400:])
        right = members[np.arange(400), labels[400:]]
        covered.append([right[groups[400:] == group].mean() for group in range(3)])
    mean, error = np.mean(covered, axis=0), np.std(covered, axis=0) / np.sqrt(200)
    assert (mean > 0.9 - 3 * error).all() and (mean < 0.93).all()


def test_the_most_probable_class_is_always_in_its_set():
    found = conformal.Thresholds(np.array([0.9, 0.2, 0.9, 0.9]))
    members = found.sets(np.array([[0.7, 0.3, 0, 0], [0.95, 0.05, 0, 0], [0.4, 0.1, 0.3, 0.2]]))
    assert members.tolist() == [[True, True, False, False], [True, False, False, False], [True, False, False, False]]
    assert found.unknown(np.array([[0.7, 0.3, 0, 0], [0.3, 0.7, 0, 0], [0.95, 0.05, 0, 0]])).tolist() == [
        True, False, False,
    ]  # fmt: skip


def test_a_group_with_few_images_has_the_threshold_of_all():
    held_out = [np.linspace(0.5, 1, 99).tolist(), np.linspace(0, 0.5, 29).tolist(), np.linspace(0.2, 0.4, 30).tolist()]
    lowest = conformal.thresholds(held_out, GROUPS, 0.1, "It").lowest
    everything = sorted(held_out[0] + held_out[1] + held_out[2])
    assert lowest.tolist() == [held_out[0][9], held_out[0][9], everything[14], held_out[2][2]]


@pytest.mark.parametrize(("share", "fewest"), [(0.05, 19), (0.01, 99)])
def test_too_few_images_say_how_many_it_takes(share, fewest):
    values = np.linspace(0, 1, fewest).tolist()
    with pytest.raises(
        UserError, match=rf"It is small, but the calibration has {fewest - 1} images.*at least {fewest};"
    ):
        conformal.thresholds([values[1:], [], []], GROUPS, share, "It is small")
    assert conformal.thresholds([values, [], []], GROUPS, share, "It is small").lowest.tolist() == [0, 0, 0, 0]
