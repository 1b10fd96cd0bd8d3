"""The shift of the logits by the prior, for every loss against the posterior that its minimiser gives."""

import dataclasses
import functools

import ml_collections
import numpy as np
import pytest

from lift_jax import config as lift_config
from lift_jax.errors import UserError
from lift_jax.export import classifier
from lift_jax.inference.assembling import assemble
from lift_jax.inference.model import Model
from lift_jax.training import losses
from lift_jax.workdir.record import Record

COUNTS = [900, 90, 9, 1]
LIKELIHOOD = np.array([[0.2, 0.1, 0.4, 0.3], [0.01, 0.3, 0.2, 0.49]])  # p(x | class), of two images
PRIOR = np.array(COUNTS) / sum(COUNTS)


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def learnt_logits(loss: str, tau: float) -> np.ndarray:
    """The logits that minimise the expected loss under the training distribution (any constant may be added).

    CE, Focal and LDAM fit softmax(z) to the posterior; BS, LA and LADE fit softmax(z + s log prior) to it; CB and GRW
    weigh every class by the inverse of its frequency, which is CE under a uniform prior.
    """
    posterior = np.log(LIKELIHOOD * PRIOR)
    strength = {"CE": 0, "Focal": 0, "LDAM": 0, "BS": 1, "LADE": 1, "LA": tau}.get(loss)
    return np.log(LIKELIHOOD) if strength is None else posterior - strength * np.log(PRIOR)


@functools.cache
def assembled(method: str) -> Model:
    config, names = lift_config.default(), [f"name {i}" for i in range(len(COUNTS))]
    config.method = method
    record = Record("", {}, "cpu", {}, [], names, COUNTS, COUNTS, [0] * len(COUNTS))
    return assemble(lift_config.resolve(config), names, record, lambda backbone, network: network)


def model(loss: str, tau: float, method: str = "lift") -> Model:
    """A run's model, of which only the loss and its tau matter here."""
    config = ml_collections.ConfigDict(assembled(method).config.to_dict())
    config.update(loss=loss, tau=tau)
    return dataclasses.replace(assembled(method), config=ml_collections.FrozenConfigDict(config))


@pytest.mark.parametrize("loss", losses.LOSSES)
@pytest.mark.parametrize("tau", [1.0, 0.5])
def test_the_training_prior_gives_the_posterior_of_the_training_set(loss, tau):
    run, logits = model(loss, tau), learnt_logits(loss, tau)
    shift = run.log_prior_shift("training")
    shifted = logits if shift is None else logits + shift
    np.testing.assert_allclose(softmax(shifted), softmax(np.log(LIKELIHOOD * PRIOR)), rtol=1e-5)


@pytest.mark.parametrize("loss", losses.LOSSES)
def test_the_uniform_prior_gives_the_posterior_of_equal_classes(loss):
    run, logits = model(loss, 1.0), learnt_logits(loss, 1.0)
    shift = run.log_prior_shift("uniform")
    shifted = logits if shift is None else logits + shift
    np.testing.assert_allclose(softmax(shifted), softmax(np.log(LIKELIHOOD)), rtol=1e-5)


@pytest.mark.parametrize("loss", losses.LOSSES)
@pytest.mark.parametrize("tau", [1.0, 2.0])
def test_model_json_states_the_shift_of_the_loss(loss, tau):
    run = model(loss, tau)
    about = classifier.description(run, photographs=False)
    for prior in "uniform", "training":
        shift = run.log_prior_shift(prior)
        told = about["log_prior_factor"][prior] * np.asarray(about["log_prior"])
        np.testing.assert_allclose(told, 0 if shift is None else shift, rtol=1e-6)
    assert about["log_prior_factor"][about["prior_of_logits"]] == 0


def test_a_classifier_that_was_not_trained_knows_no_prior():
    run = model("CE", 1.0, method="zero_shot")
    assert run.log_prior_shift("uniform") is None
    shift = run.log_prior_shift("training")
    assert shift is not None
    np.testing.assert_allclose(shift, np.log(PRIOR), rtol=1e-5)
    with pytest.raises(UserError, match="'flat' is not known; write uniform or training"):
        run.log_prior_shift("flat")  # pyright: ignore[reportArgumentType]
