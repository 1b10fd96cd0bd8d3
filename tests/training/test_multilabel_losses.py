"""The losses of images with several labels, beside their formulas in float64 and beside scikit-learn and PyTorch."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from sklearn.metrics import log_loss

from lift_jax import config as lift_config
from lift_jax.errors import UserError
from lift_jax.training import multilabel_losses, objective

COUNTS = np.array([700, 300, 100, 20, 3, 1000])
IMAGES = 1000
LOSSES = {name: multilabel_losses.make(name, COUNTS, IMAGES) for name in multilabel_losses.LOSSES}


def batch(seed: int, size: int = 12, spread: float = 4.0):
    generator = np.random.default_rng(seed)
    logits = (spread * generator.normal(size=(size, len(COUNTS)))).astype(np.float32)
    labels = generator.random((size, len(COUNTS))) < 0.4
    labels[0] = False
    return logits, labels


@functools.partial(jax.jit, static_argnums=0)
def compiled(loss: multilabel_losses.MultilabelLoss, logits, labels):
    return loss(logits, labels)


def float64_loss(name: str, logits: np.ndarray, labels: np.ndarray) -> float:
    """Each loss written down from its paper, pair by pair of image and class."""
    counts = np.minimum(COUNTS, IMAGES - 1).astype(float)
    odds = np.log(counts / (IMAGES - counts))
    total = 0.0
    for z, y in zip(logits.astype(float), labels, strict=True):
        repeated = sum(1 / n for n, is_label in zip(COUNTS, y, strict=True) if is_label)
        for c, is_label in enumerate(y):
            if name == "DB":
                share = 1 / COUNTS[c] / repeated if repeated else np.inf
                weight = 0.1 + expit(10 * (share - 0.3))
                shifted = z[c] + 0.05 * odds[c]
                positive, negative = np.logaddexp(0, -shifted), np.logaddexp(0, 5 * shifted) / 5
                total += weight * (positive if is_label else negative)
            else:
                shifted = z[c] + (odds[c] if name == "LA" else 0)
                total += np.logaddexp(0, -shifted if is_label else shifted)
    return total / len(labels)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from(sorted(LOSSES)), st.sampled_from([0.1, 4.0, 30.0]))
def test_a_loss_is_its_formula(seed, name, spread):
    logits, labels = batch(seed, spread=spread)
    np.testing.assert_allclose(compiled(LOSSES[name], logits, labels), float64_loss(name, logits, labels), rtol=2e-5)


def test_plain_cross_entropy_is_that_of_scikit_learn():
    logits, labels = batch(0)
    each = [log_loss(labels[:, c], expit(logits[:, c].astype(float)), labels=[False, True]) for c in range(len(COUNTS))]
    np.testing.assert_allclose(LOSSES["BCE"](logits, labels), sum(each), rtol=1e-5)


def test_plain_cross_entropy_and_its_gradient_are_those_of_pytorch():
    torch = pytest.importorskip("torch")
    logits, labels = batch(0)
    theirs = torch.tensor(logits, requires_grad=True)
    weighted = torch.nn.BCEWithLogitsLoss(reduction="sum")(theirs, torch.tensor(labels).float()) / len(logits)
    weighted.backward()
    value, gradient = jax.value_and_grad(LOSSES["BCE"])(jnp.asarray(logits), labels)
    np.testing.assert_allclose(value, weighted.item(), rtol=1e-6)
    np.testing.assert_allclose(gradient, theirs.grad.numpy(), atol=1e-6)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_padding_changes_neither_loss_nor_gradient(name):
    logits, labels = batch(1)
    padded = np.concatenate([logits, np.full((3, len(COUNTS)), np.nan, np.float32)])
    filled = np.concatenate([labels, np.ones((3, len(COUNTS)), bool)])
    mask = np.arange(len(padded)) < len(logits)
    value, gradient = jax.value_and_grad(LOSSES[name])(jnp.asarray(padded), filled, mask)
    own_value, own_gradient = jax.value_and_grad(LOSSES[name])(jnp.asarray(logits), labels)
    np.testing.assert_allclose(value, own_value, rtol=1e-6)
    np.testing.assert_allclose(gradient[mask], own_gradient, atol=1e-7)
    assert not gradient[~mask].any()


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_micro_batches_add_up(name):
    logits, labels = batch(2)
    loss = LOSSES[name]
    normaliser = loss.normaliser(labels)
    parts = [loss(logits[i::3], labels[i::3], None, normaliser) for i in range(3)]
    np.testing.assert_allclose(sum(parts), loss(logits, labels), rtol=1e-6)


def test_half_precision_logits_are_computed_in_float32():
    logits, labels = batch(3)
    assert LOSSES["LA"](jnp.asarray(logits, jnp.bfloat16), labels).dtype == jnp.float32


def test_tau_is_the_strength_of_the_adjustment():
    logits, labels = batch(4)
    plain, half = LOSSES["LA"].at(0.0), multilabel_losses.make("LA", COUNTS, IMAGES, tau=0.5)
    np.testing.assert_allclose(plain(logits, labels), LOSSES["BCE"](logits, labels), rtol=1e-6)
    np.testing.assert_allclose(LOSSES["LA"].at(0.5)(logits, labels), half(logits, labels), rtol=1e-6)
    assert LOSSES["DB"].at(0.5) is LOSSES["DB"]


def test_adjusted_logits_learn_likelihoods_without_the_prior():
    """Of images that all look alike, a class's best logit is that of its share; with adjustment it is 0."""
    share = 0.05
    labels = np.arange(20)[:, None] < 20 * share
    losses = {name: multilabel_losses.make(name, [20 * share], 20) for name in ("BCE", "LA")}
    best = {"BCE": np.log(share / (1 - share)), "LA": 0.0}
    for name, logit in best.items():
        slope = jax.grad(lambda z, name=name: losses[name](jnp.full((20, 1), z), labels))
        assert abs(float(slope(logit))) < 1e-4 < abs(float(slope(logit + 0.5)))


def test_right_is_an_image_whose_highest_logit_is_one_of_its_labels():
    logits = np.array([[2.0, 1.0], [2.0, 1.0], [-1.0, -2.0], [1.0, -2.0]], np.float32)
    labels = np.array([[True, True], [False, True], [False, False], [False, False]])
    assert LOSSES["BCE"].correct(logits, labels).tolist() == [True, False, True, False]


@pytest.mark.parametrize("name", ["CE", "LDAM", "LADE", "Focal", "CB", "GRW", "BS"])
def test_losses_of_one_label_are_refused(name):
    with pytest.raises(UserError, match=rf"config.loss is '{name}', which needs one label an image.*LA, BCE, DB"):
        multilabel_losses.make(name, COUNTS, IMAGES)


def test_losses_of_several_labels_are_refused_where_there_is_one():
    config = lift_config.default()
    config.loss = "DB"
    with pytest.raises(UserError, match=r"config.loss is DB.*write config.task=multilabel"):
        objective.check(lift_config.resolve(config))
    config.task = "multilabel"
    objective.check(lift_config.resolve(config))
