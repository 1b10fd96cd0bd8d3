"""How images of no known class are told, against scikit-learn, and on logits that only one of the scores can tell."""

import numpy as np
import pytest
from scipy import special
from sklearn.metrics import roc_auc_score

from lift_jax.errors import UserError
from lift_jax.inference import conformal, unknown_scores
from lift_jax.inference.adjustment import Adjustment
from lift_jax.inference.choices import Rows

GROUPS = np.array([0, 0, 1, 1, 2, 2])


def drawn(kind: str, count: int = 300) -> Rows:
    """Images whose known classes are told from others by their energy, or by their probability."""
    generator = np.random.default_rng(0)
    labels = np.arange(count) % 6
    logits = generator.normal(size=(count, 6)) + 4 * np.eye(6)[labels]
    if kind == "probability":  # each image has an offset of its own
        logits += generator.normal(0, 30, (count, 1))
    if kind == "energy":  # a class that is left out looks as sure as the others, but lower
        logits += 3 * np.eye(6)[(labels + 1 + generator.integers(0, 5, count)) % 6]
    return Rows(logits.astype(np.float32), None, labels, np.log(np.full(6, 1 / 6)), GROUPS)


def parts(rows: Rows, *adjustments: Adjustment) -> list[tuple[np.ndarray, Adjustment]]:
    places = np.arange(len(rows.labels))
    return [(places[k :: len(adjustments)], each) for k, each in enumerate(adjustments)]


@pytest.mark.parametrize("kind", ["energy", "probability"])
def test_the_better_one_is_found(kind):
    rows = drawn(kind)
    found = unknown_scores.separation(rows, parts(rows, Adjustment()))
    assert found is not None and 0.5 < max(found.values()) <= 1
    assert max(found, key=lambda name: found[name]) == kind


def test_it_is_the_area_under_the_curve_of_logits_without_the_class():
    """Of two classes each is left out once; then one is left, whose energy is its logit."""
    rows = drawn("energy").subset(np.arange(300) % 6 < 2)
    hidden_rest = Rows(rows.logits[:, :2], None, rows.labels, np.log([0.5, 0.5]), GROUPS[:2])
    found = unknown_scores.separation(hidden_rest, parts(hidden_rest, Adjustment(), Adjustment()))
    areas = [roc_auc_score(rows.labels == c, rows.logits[:, c]) for c in (0, 1)]
    assert found == {"probability": 0.5, "energy": pytest.approx(np.mean(areas))}
    assert unknown_scores.separation(rows.subset(rows.labels == 0), parts(rows, Adjustment())) is None


def test_the_energy_is_the_logarithm_of_the_sum():
    logits = np.random.default_rng(0).normal(0, 50, (20, 5))
    logits[:, 3] = -np.inf
    np.testing.assert_allclose(unknown_scores.energies(logits), np.asarray(special.logsumexp(logits, axis=1)))


def test_thresholds_of_energies_are_compared_with_energies():
    found = conformal.thresholds([np.linspace(-5, 5, 99).tolist(), [], []], np.array([0, 1]), 0.1, "It", "energy")
    assert found.lowest.tolist() == [np.linspace(-5, 5, 99)[9]] * 2
    strange = found.unknown(np.array([[0.9, 0.1], [0.6, 0.4]]), np.array([-4.5, -3.9]))
    assert strange.tolist() == [True, False]
    with pytest.raises(UserError, match=r"told by the energy; give the energies that Model\.scored yields"):
        found.unknown(np.array([[0.9, 0.1]]))
