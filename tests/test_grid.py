"""The words of config.sweep."""

import pytest

from lift_jax.config.grid import parse
from lift_jax.errors import UserError


@pytest.mark.parametrize(
    ("text", "values"),
    [
        (" method=lift,lora  seed=0,1 lr=0.1 ", {"method": ("lift", "lora"), "seed": (0, 1), "lr": (0.1,)}),
        ("tuner.partial=2,3:6", {"tuner.partial": ("2", "3:6")}),
        ("tuner.scale=0.1,None", {"tuner.scale": (0.1, None)}),
        ("class_groups='thresholds:5,3',thirds", {"class_groups": ("thresholds:5,3", "thirds")}),
        ('data.root="my photos",it\'s seed=1', {"data.root": ("my photos", "it's"), "seed": (1,)}),
        ("tuner.partial=,2", {"tuner.partial": ("", "2")}),
    ],
)
def test_values_are_of_the_kind_of_their_key(text, values):
    assert parse(text) == values


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("method", "'method'; write KEY=VALUE"),
        ("seed=1 =2", "'=2'; write KEY=VALUE"),
        ("seed=", "'seed='; write KEY=VALUE"),
        ("sead=1", "the nearest is seed"),
        ("tte.expnd=1", "the nearest is tte.expand"),
        ("seed=0 lr=0.1 seed=1", "seed twice"),
        ("seed=0,,1", "seed to '', which is not a whole number"),
        ("seed=0.5", "which is not a whole number"),
        ("lr=fast", "lr to 'fast', which is not a number"),
        ("tte.enabled=yes", "which is not True or False"),
    ],
)
def test_mistakes(text, said):
    with pytest.raises(UserError) as raised:
        parse(text)
    assert said in str(raised.value)
