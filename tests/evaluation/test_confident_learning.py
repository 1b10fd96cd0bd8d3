"""Labels that look wrong, and images that are there twice, against answers that are known."""

import io

import numpy as np
import pytest
from PIL import Image

from lift_jax.evaluation import confident_learning, near_duplicates
from lift_jax.inference import out_of_fold


def random_case(seed: int, n: int = 200, classes: int = 5):
    generator = np.random.default_rng(seed)
    probabilities = generator.dirichlet(np.full(classes, 0.4), n)
    labels = np.array([generator.choice(classes, p=row) for row in probabilities])
    return labels, probabilities


def test_by_hand():
    labels = np.array([0, 0, 0, 1, 1, 1])
    p = np.array([0.9, 0.8, 0.1, 0.2, 0.3, 0.7])
    probabilities = np.stack([p, 1 - p], axis=1)
    # The thresholds are 0.6 and 0.6: the third image is confidently of class 1, the last one of class 0.
    np.testing.assert_allclose(confident_learning.thresholds(labels, probabilities), [0.6, 0.6])
    found = confident_learning.suspects(labels, probabilities)
    assert found.index.tolist() == [2, 5] and found.suggested.tolist() == [1, 0]
    np.testing.assert_allclose(found.margin, [-0.8, -0.4])


def test_what_is_confidently_of_no_class_is_not_suspected():
    labels, probabilities = np.array([0, 1, 1]), np.array([[0.9, 0.1], [0.1, 0.9], [0.55, 0.45]])
    assert not confident_learning.suspects(labels, probabilities).index.size


@pytest.mark.parametrize("seed", range(3))
def test_it_is_the_definition(seed):
    labels, probabilities = random_case(seed)
    mean = [probabilities[labels == c, c].mean() for c in range(5)]
    expected = {}
    for i, row in enumerate(probabilities):
        confident = [c for c in range(5) if row[c] >= mean[c]]
        best = max(confident, key=lambda c: row[c], default=labels[i])
        if best != labels[i] != row.argmax():
            expected[i] = best
    found = confident_learning.suspects(labels, probabilities)
    assert dict(zip(found.index.tolist(), found.suggested.tolist(), strict=True)) == expected
    assert len(expected) > 5 and (np.diff(found.margin) >= 0).all()


@pytest.mark.parametrize("seed", range(3))
def test_cleanlab_suspects_the_same(seed):
    cleanlab = pytest.importorskip("cleanlab.filter", reason="needs cleanlab")
    labels, probabilities = random_case(seed)
    theirs = cleanlab.find_label_issues(labels, probabilities, filter_by="confident_learning", n_jobs=1)
    found = confident_learning.suspects(labels, probabilities)
    assert set(found.index.tolist()) == set(np.flatnonzero(theirs).tolist())


def test_out_of_fold_logits_do_not_know_the_label_of_their_own_image():
    generator = np.random.default_rng(0)
    centres = generator.normal(size=(3, 8))
    labels = np.repeat(np.arange(3), [40, 20, 10])
    features = centres[labels] + 0.3 * generator.normal(size=(70, 8))
    right = out_of_fold.logits(features, labels, 3)
    assert (right.argmax(axis=1) == labels).mean() > 0.95
    wrong = labels.copy()
    wrong[5] = 2
    assert out_of_fold.logits(features, wrong, 3)[5].argmax() == 0
    alone = out_of_fold.logits(features, np.where(np.arange(70) == 69, 3, labels), 4)  # a class of one image
    assert np.isfinite(alone).all() and alone[69].argmax() == 2


def test_copies_are_found_and_similar_images_are_not():
    generator = np.random.default_rng(0)
    noise = [generator.integers(0, 256, (8, 8, 3)).astype(np.uint8) for _ in range(3)]
    first, second, third = (np.asarray(Image.fromarray(each).resize((64, 48))) for each in noise)
    file = io.BytesIO()
    Image.fromarray(first).resize((50, 37)).save(file, "JPEG", quality=60)
    again = np.asarray(Image.open(file))
    images = [first, second, third, again]
    features = np.array([[1, 0, 0.1], [1, 0, 0.2], [np.nan, 0, 0], [1, 0, 0.12]])
    (pair,) = near_duplicates.pairs(features, lambda index: images[index])
    assert (pair.first, pair.second) == (0, 3) and 0.95 < pair.correlation <= 1 + 1e-9
    assert near_duplicates.pairs(features[:1], lambda index: images[index]) == []
