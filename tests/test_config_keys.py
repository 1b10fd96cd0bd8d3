"""The ranges of the config's keys, and that every key has one."""

import math

import ml_collections
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lift_jax import config as lift_config
from lift_jax.config.keys import KEYS
from lift_jax.errors import UserError

DEFAULTS = lift_config.flatten(lift_config.default())
NUMBERS = [name for name, key in KEYS.items() if key.low is not None]


def config_with(name: str, value) -> ml_collections.ConfigDict:
    config = lift_config.default()
    with config.ignore_type():
        config.update_from_flattened_dict({name: value})
    return config


def test_every_key_has_an_entry_and_no_other():
    assert KEYS.keys() == DEFAULTS.keys()


def test_every_number_has_a_range_and_the_defaults_are_within():
    for name, value in DEFAULTS.items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            assert name in NUMBERS, name
    lift_config.resolve(lift_config.default())


@pytest.mark.parametrize("name", NUMBERS)
def test_what_is_no_number_or_out_of_range_is_a_sentence_that_names_key_and_value(name):
    key = KEYS[name]
    assert key.low is not None and key.high is not None
    for value in math.nan, math.inf, -math.inf, key.low - 1, key.high + 1, -1e30, 1e30:
        with pytest.raises(UserError, match=rf"^config\.{name} is .*; it is a (whole )?number (from|above) .+\.$"):
            lift_config.resolve(config_with(name, value))


@settings(deadline=None)
@given(st.floats(allow_nan=True, allow_infinity=True))
def test_a_learning_rate_is_accepted_within_its_range_alone(lr):
    if 0 <= lr <= 100:
        assert lift_config.resolve(config_with("lr", lr)).lr == lr
    else:
        with pytest.raises(UserError, match=r"config\.lr is"):
            lift_config.resolve(config_with("lr", lr))


@pytest.mark.parametrize(
    "name, value, words",
    [
        ("momentum", 1.0, "a number from 0 to below 1"),
        ("head_scale", 0.0, "a number above 0 to 10,000"),
        ("seed", -1, "a whole number from 0 to 2,147,483,647"),
        ("tuner.mask_ratio", 1.5, "mask_ratio is 1.5"),
        ("tuner.dim", -1, "tuner.dim is -1; it is a whole number from 0 to 16,384"),
        ("tte.mode", "fourcrop", "write one of fivecrop, tencrop, random"),
        ("head", "cosin", "write one of cosine, linear"),
    ],
)
def test_sentences(name, value, words):
    with pytest.raises(UserError, match=words):
        lift_config.resolve(config_with(name, value))
