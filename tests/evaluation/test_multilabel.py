"""Average precision, thresholds and F1, beside scikit-learn."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, f1_score

from lift_jax.errors import UserError
from lift_jax.evaluation import multilabel
from lift_jax.evaluation.multilabel import Scores
from lift_jax.evaluation.ranking import average_precision, best_threshold
from lift_jax.evaluation.thresholds import Thresholds, choose

seeds = st.integers(0, 2**31)


def drawn(seed: int, count: int = 60, classes: int = 7, digits: int | None = None):
    generator = np.random.default_rng(seed)
    labels = generator.random((count, classes)) < generator.random(classes) * 0.5
    scores = (generator.normal(size=labels.shape) + labels).astype(np.float32)
    return labels, scores if digits is None else scores.round(digits)


@settings(max_examples=15, deadline=None)
@given(seeds, st.sampled_from([None, 0, 1]))
def test_average_precision_is_that_of_scikit_learn(seed, digits):
    """With rounded scores there are many ties."""
    labels, scores = drawn(seed, digits=digits)
    found = average_precision(labels, scores)
    for c in range(labels.shape[1]):
        if labels[:, c].any():
            assert found[c] == pytest.approx(average_precision_score(labels[:, c], scores[:, c]), abs=1e-12)
        else:
            assert np.isnan(found[c])


def test_a_right_and_a_wrong_order_are_known_by_hand():
    labels = np.array([[True, False], [True, False], [False, True]])
    scores = np.array([[3.0, 3.0], [2.0, 2.0], [1.0, 1.0]])
    np.testing.assert_allclose(average_precision(labels, scores), [1, 1 / 3])


@settings(max_examples=15, deadline=None)
@given(seeds, st.sampled_from([None, 0]))
def test_no_threshold_has_a_larger_f1(seed, digits):
    labels, scores = (each[:, 0] for each in drawn(seed, digits=digits))
    labels[0] = True

    def f1(threshold: float) -> float:
        said = scores >= threshold
        return 2 * np.logical_and(said, labels).sum() / (said.sum() + labels.sum())

    assert f1(best_threshold(labels, scores)) >= max(map(f1, scores)) - 1e-12


def test_a_threshold_lies_between_the_scores_beside_it():
    labels, scores = np.array([True, True, False, False]), np.array([4.0, 3.0, 1.0, 0.0])
    assert best_threshold(labels, scores) == 2.0
    assert best_threshold(np.ones(2, bool), np.array([1.0, 5.0])) == 1.0


def test_classes_with_few_images_share_the_threshold_of_their_group():
    generator = np.random.default_rng(0)
    labels = np.zeros((200, 5), bool)
    for c, count in enumerate([80, 40, 6, 3, 2]):
        labels[generator.permutation(200)[:count], c] = True
    scores = generator.normal(size=labels.shape) + 2 * labels
    found = choose(labels, scores, np.array([0, 0, 2, 2, 1]))
    assert found.chosen_by == ["own", "own", "own", "group", "all"]
    assert found.values[3] == best_threshold(labels[:, 2:4].ravel(), scores[:, 2:4].ravel())
    assert found.values[4] == best_threshold(labels.ravel(), scores.ravel())
    assert found.values[2] == best_threshold(labels[:, 2], scores[:, 2])
    assert "3 of 5 classes have a threshold of their own; 1 that of their group" in found.sentence
    assert "1 that of all classes" in found.sentence
    with pytest.raises(UserError, match=r"No image .* has a label"):
        choose(np.zeros((3, 2), bool), np.zeros((3, 2)), np.array([0, 0]))


@settings(max_examples=10, deadline=None)
@given(seeds)
def test_metrics_are_those_of_scikit_learn(seed):
    labels, scores = drawn(seed)
    labels[0, :4], labels[:, 4:] = True, labels[:, 4:] & (np.arange(60) < 30)[:, None]
    groups = np.array([0, 0, 1, 2, 2, 2, 1])
    thresholds = Thresholds(np.linspace(-0.5, 1, 7), ["own"] * 7)
    found = multilabel.summarize(Scores(np.arange(60), labels, scores), groups, thresholds)
    tested = labels.any(axis=0)
    precisions = np.array(
        [average_precision_score(*pair) for pair in zip(labels.T, scores.T, strict=True) if any(pair[0])]
    )
    assert found["map"] == pytest.approx(100 * precisions.mean())
    assert found["many_map"] == pytest.approx(100 * precisions[groups[tested] == 0].mean())
    said = scores >= thresholds.values
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        macro = f1_score(labels[:, tested], said[:, tested], average="macro", zero_division=0)  # pyright: ignore[reportArgumentType]
        micro = f1_score(labels, said, average="micro", zero_division=0)  # pyright: ignore[reportArgumentType]
    assert found["macro_f1"] == pytest.approx(100 * macro)
    assert found["micro_f1"] == pytest.approx(100 * micro)
    assert found["num_examples"] == 60


def test_what_has_no_test_image_is_in_no_mean():
    labels = np.array([[True, False], [False, False]])
    scores = Scores(np.arange(2), labels, np.array([[2.0, 9.0], [1.0, 8.0]]))
    found = multilabel.summarize(scores, np.array([0, 2]))
    assert found["map"] == found["many_map"] == 100
    assert np.isnan(found["few_map"]) and np.isnan(found["med_map"])
    assert "macro_f1" not in found
    with pytest.raises(UserError, match="no test image has a label"):
        multilabel.summarize(scores._replace(label=np.zeros((2, 2), bool)), np.array([0, 2]))
