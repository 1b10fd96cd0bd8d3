import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax, logsumexp

from lift_jax.errors import UserError
from lift_jax.training import losses

CLASSES = 7
COUNTS = [900, 300, 100, 50, 20, 9, 3]
LOSSES = {name: losses.make(name, COUNTS) for name in losses.LOSSES}
ADDITIVE = [name for name in losses.LOSSES if name != "LADE"]


def batch(seed: int, size: int = 12, spread: float = 4.0):
    rng = np.random.default_rng(seed)
    logits = (spread * rng.normal(size=(size, CLASSES))).astype(np.float32)
    return logits, rng.integers(0, CLASSES, size).astype(np.int32)


@functools.partial(jax.jit, static_argnums=0)
def value_and_grad(loss: losses.Loss, logits, *args):
    return jax.value_and_grad(loss)(logits, *args)


def float64_loss(name: str, x: np.ndarray, y: np.ndarray, n: np.ndarray) -> float:
    """Each loss written down from its paper, in float64, by loops and scipy; default constants."""
    prior = n / n.sum()

    def cross_entropy(z):
        return -log_softmax(z, axis=1)[np.arange(len(y)), y]

    if name == "CE":
        return cross_entropy(x).mean()
    if name == "Focal":
        p = np.exp(-cross_entropy(x))
        return ((1 - p) ** 2 * cross_entropy(x)).mean()
    if name == "LDAM":
        z = x.copy()
        for i, label in enumerate(y):
            z[i, label] -= 25 * 0.5 * (n.min() / n[label]) ** 0.25
        return cross_entropy(z).mean()
    if name in ("CB", "GRW"):
        weights = (1 / (1 - 0.9999**n) if name == "CB" else 1 / prior)[y]
        return (weights * cross_entropy(x)).sum() / weights.sum()
    if name in ("BS", "LA"):
        return cross_entropy(x + np.log(prior)).mean()
    bounds = []
    for c in range(len(n)):
        joint = x[y == c, c].mean() if (y == c).any() else 0.0
        log_partition = logsumexp(x[:, c] - np.log(prior[c]) - np.log(len(n))) - np.log(len(y))
        bounds.append(joint - log_partition - 0.1 * log_partition**2)
    return cross_entropy(x + np.log(prior)).mean() - 0.1 * (prior * bounds).sum()


@pytest.mark.parametrize("name", losses.LOSSES)
@settings(max_examples=15, deadline=None)
@given(
    counts=st.lists(st.integers(1, 5000), min_size=CLASSES, max_size=CLASSES),
    spread=st.sampled_from([0.1, 1.0, 30.0]),
    seed=st.integers(0, 2**32 - 1),
)
def test_value_is_the_papers_formula_in_float64(name, counts, spread, seed):
    logits, labels = batch(seed, spread=spread)
    expected = float64_loss(name, logits.astype(np.float64), labels, np.array(counts, np.float64))
    actual = losses.make(name, counts)(logits, labels)
    assert actual.dtype == jnp.float32
    # CB's published weights are float32 and four digits good; see losses.py.
    np.testing.assert_allclose(actual, expected, rtol=1e-3 if name == "CB" else 2e-5, atol=1e-5)


@pytest.mark.parametrize("name", losses.LOSSES)
def test_gradient_is_the_float64_slope(name):
    counts = np.array(COUNTS, np.float64)
    logits, labels = batch(3)
    _, gradient = value_and_grad(LOSSES[name], logits, labels)
    rng = np.random.default_rng(4)
    for _ in range(5):
        direction = rng.normal(size=logits.shape)
        ahead, behind = (float64_loss(name, logits + s * 1e-5 * direction, labels, counts) for s in (1, -1))
        np.testing.assert_allclose((gradient * direction).sum(), (ahead - behind) / 2e-5, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("one", "options", "other"),
    [
        ("LA", {"tau": 1.0}, "BS"),
        ("LA", {"tau": 0.0}, "CE"),
        ("CB", {"beta": 0.0}, "CE"),
        ("GRW", {"exponent": 0.0}, "CE"),
        ("Focal", {"gamma": 0.0}, "CE"),
        ("LDAM", {"max_margin": 0.0}, "CE"),
        ("LADE", {"estim_loss_weight": 0.0}, "BS"),
    ],
)
def test_losses_that_theory_says_are_equal(one, options, other):
    one, other = losses.make(one, COUNTS, **options), LOSSES[other]
    for seed in range(5):
        logits, labels = batch(seed)
        for a, b in zip(value_and_grad(one, logits, labels), value_and_grad(other, logits, labels), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["CB", "GRW", "BS", "LA"])
def test_balanced_classes_give_cross_entropy(name):
    logits, labels = batch(0)
    np.testing.assert_allclose(losses.make(name, [50] * CLASSES)(logits, labels), LOSSES["CE"](logits, labels), 1e-6)


@pytest.mark.parametrize("name", losses.LOSSES)
@settings(max_examples=6, deadline=None)
@given(
    seed=st.integers(0, 1000), padding=st.sampled_from([1, 4]), garbage=st.sampled_from([np.nan, np.inf, -np.inf, 1e30])
)
def test_padding_has_no_influence(name, seed, padding, garbage):
    loss = LOSSES[name]
    logits, labels = batch(seed)
    size = len(labels) + padding
    mask = np.random.default_rng(seed).permutation(size) < len(labels)
    padded_logits, padded_labels = np.full((size, CLASSES), garbage, np.float32), np.full(size, -1, np.int32)
    padded_logits[mask], padded_labels[mask] = logits, labels

    value, gradient = value_and_grad(loss, logits, labels)
    padded_value, padded_gradient = value_and_grad(loss, padded_logits, padded_labels, mask)
    np.testing.assert_allclose(padded_value, value, rtol=1e-5)
    np.testing.assert_allclose(padded_gradient[mask], gradient, rtol=1e-4, atol=1e-7)
    assert not padded_gradient[~mask].any()


@pytest.mark.parametrize("name", losses.LOSSES)
def test_a_batch_of_padding_alone_is_nothing(name):
    loss = LOSSES[name]
    logits, labels = np.full((4, CLASSES), np.nan, np.float32), np.zeros(4, np.int32)
    value, gradient = value_and_grad(loss, logits, labels, np.zeros(4, bool))
    assert value == 0 and not gradient.any()


@pytest.mark.parametrize("name", ADDITIVE)
@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 1000), real=st.integers(1, 12))
def test_micro_batches_add_up_to_the_batch(name, seed, real):
    loss = LOSSES[name]
    assert loss.additive
    logits, labels = batch(seed)
    mask = np.arange(12) < real  # the last micro-batches may hold nothing but padding
    normaliser = loss.normaliser(jnp.asarray(labels), mask)
    parts = [value_and_grad(loss, logits[i : i + 4], labels[i : i + 4], mask[i : i + 4], normaliser) for i in (0, 4, 8)]
    value, gradient = value_and_grad(loss, logits, labels, mask)
    np.testing.assert_allclose(sum(v for v, _ in parts), value, rtol=1e-5)
    np.testing.assert_allclose(np.concatenate([g for _, g in parts]), gradient, rtol=1e-5, atol=1e-8)


def test_lade_says_that_it_does_not_add_up():
    assert not losses.make("LADE", [3, 2, 1]).additive


@pytest.mark.parametrize("name", losses.LOSSES)
def test_bfloat16_logits_are_computed_in_float32(name):
    loss = LOSSES[name]
    logits, labels = batch(0)
    coarse = jnp.asarray(logits).astype(jnp.bfloat16)
    value = loss(coarse, labels)
    assert value.dtype == jnp.float32
    assert value == loss(coarse.astype(jnp.float32), labels)


@pytest.mark.parametrize("name", losses.LOSSES)
def test_empty_classes_and_certain_predictions_stay_finite(name):
    loss = losses.make(name, [900, 300, 0, 50, 0, 9, 0])
    labels = np.arange(CLASSES, dtype=np.int32)
    for logits in (200.0 * np.eye(CLASSES), -200.0 * np.eye(CLASSES), np.zeros((CLASSES, CLASSES))):
        value, gradient = value_and_grad(loss, logits.astype(np.float32), labels)
        assert np.isfinite(value) and np.isfinite(gradient).all()


@pytest.mark.parametrize("gamma", [0.5, 1.0, 5.0])
def test_focal_loss_of_certain_predictions_has_a_finite_gradient(gamma):
    loss = losses.make("Focal", [1] * CLASSES, gamma=gamma)
    _, gradient = value_and_grad(loss, 200 * np.eye(CLASSES, dtype=np.float32), np.arange(CLASSES))
    assert np.isfinite(gradient).all()


def test_unknown_names_and_values_are_refused():
    with pytest.raises(UserError, match=r"'focall'.*CE, Focal, LDAM.*'Focal'"):
        losses.make("focall", [1, 2])
    with pytest.raises(UserError, match="beta"):
        losses.make("CB", [1, 2], beta=1.0)
