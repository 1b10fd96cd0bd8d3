"""Tuners with a scaled effect, and the mean of several: what the modules give with the changed parameters."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest
from conftest import flatten, tune

from lift_jax import config as lift_config
from lift_jax import tuners
from lift_jax.errors import UserError
from lift_jax.tuners.adapter import Adapter
from lift_jax.tuners.adaptformer import AdaptFormer
from lift_jax.tuners.effects import Branches, Effect, Products, ScalesAndShifts, Weights
from lift_jax.tuners.lora import LoRA
from lift_jax.tuners.ssf import ScaleShift

X, H = (np.random.default_rng(seed).normal(size=(2, 5, 12)).astype(np.float32) for seed in (0, 1))
Y = np.random.default_rng(2).normal(size=(2, 5, 36)).astype(np.float32)

SHARES = (0.2, 0.5, 0.3)
"""Of three members, whose bottlenecks or products are 2, 3 and 2 wide; the result's are 8 wide."""

KINDS: dict[str, tuple[Effect, Callable[[int], Any], tuple, str]] = {
    "adaptformer": (Branches(), lambda width: AdaptFormer(width), (X, H), "mlp"),
    "adaptformer of a fixed scale": (Branches(), lambda width: AdaptFormer(width, 0.3), (X, H), "mlp"),
    "adapter": (Branches(), lambda width: Adapter(width), (X, H), "mlp"),
    "lora": (Products(), lambda width: LoRA(width), ("attn_in", X, Y), "linear"),
    "ssf": (ScalesAndShifts(), lambda width: ScaleShift(), (H,), "__call__"),
}


def moved(module: Any, given: tuple, method: str, seed: int) -> Any:
    """Parameters of a module, none of which has a special value."""
    params = jax.device_get(module.init(jax.random.key(seed), *given, method=method)["params"])
    generator = np.random.default_rng(seed)
    return jax.tree.map(lambda x: (x + 0.5 * generator.normal(size=x.shape)).astype(np.float32), params)


def effect_of(module: Any, params: Any, given: tuple, method: str) -> np.ndarray:
    """What the module adds to its last argument."""
    return np.asarray(module.apply({"params": params}, *given, method=method)) - given[-1]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("strength", [0.0, 0.3])
def test_the_scaled_effect(kind, strength):
    effect, make, given, method = KINDS[kind]
    params = moved(make(3), given, method, 0)
    found = effect_of(make(3), effect.scaled(params, params, strength), given, method)
    expected = strength * effect_of(make(3), params, given, method)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    assert np.abs(effect_of(make(3), params, given, method)).max() > 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_the_mean_effect(kind):
    effect, make, given, method = KINDS[kind]
    widths = (2, 3, 2) if kind != "ssf" else (0, 0, 0)
    members = [moved(make(width), given, method, seed) for seed, width in enumerate(widths)]
    effects = [effect_of(make(width), params, given, method) for width, params in zip(widths, members, strict=True)]
    mean = effect.averaged(members, SHARES, 8)
    expected = sum(share * each for share, each in zip(SHARES, effects, strict=True))
    np.testing.assert_allclose(effect_of(make(8), mean, given, method), expected, rtol=1e-4, atol=1e-4)
    assert [effect.width(params) for params in (*members, mean)] == [*widths, 8 if kind != "ssf" else 0]
    shapes = jax.eval_shape(lambda: make(8).init(jax.random.key(0), *given, method=method))["params"]
    assert jax.tree.map(lambda x: x.shape, mean) == jax.tree.map(lambda x: x.shape, shapes)


def test_weights_are_interpolated_with_their_start_and_averaged():
    start, end = {"x": np.array([1.0, 2.0])}, {"x": np.array([3.0, -2.0])}
    np.testing.assert_array_equal(Weights().scaled(end, start, 0.25)["x"], [1.5, 1.0])
    np.testing.assert_array_equal(Weights().averaged([start, end], (0.5, 0.5), 0)["x"], [2.0, 0.0])


@pytest.mark.parametrize(
    "method",
    ["mask_attn+lora+ssf_ln+adaptformer+bias_tuning", "full_tuning"],
)
def test_at_strength_0_the_network_is_the_backbone_and_at_1_nothing_is_computed(tiny_clip, method):
    tuned, start = tune(tiny_clip, method, noise=0.3, partial="1"), tune(tiny_clip, method, partial="1").parts.tuner
    resolved = tuners.resolve(method, tuners.tuner_defaults())
    assert tuners.scaled(resolved, tuned.tuning, tuned.parts.tuner, start, 1.0) is tuned.parts.tuner
    nothing = tuners.scaled(resolved, tuned.tuning, tuned.parts.tuner, start, 0.0)
    assert flatten(nothing).keys() == flatten(tuned.parts.tuner).keys()
    images = np.random.default_rng(3).normal(size=(2, 16, 16, 3)).astype(np.float32)
    frozen = jax.jit(tiny_clip.vision.apply)({"params": tiny_clip.params["vision"]}, images)
    without = tuned._replace(parts=tuned.parts._replace(tuner=nothing)).features(images)
    np.testing.assert_allclose(without, frozen, rtol=1e-5, atol=1e-5)
    assert np.abs(tuned.features(images) - np.asarray(frozen)).max() > 0.01


@pytest.mark.parametrize(
    "method, words",
    [
        ("head_only", r"config\.tuner_strength is 0\.5, but config\.method=head_only has no tuner .*; leave it out"),
        ("zero_shot", r"config\.method=zero_shot has no tuner"),
        (
            "lora+vpt_deep",
            r"config\.tuner_strength is 0\.5, but config\.method=lora\+vpt_deep has vpt_deep, which puts",
        ),
        ("coop", r"has coop, which puts tokens beside the network's own .*; leave it out"),
        ("text_vpt_shallow", r"has text_vpt_shallow"),
    ],
)
def test_methods_without_an_effect_to_scale(method, words):
    config = lift_config.default()
    config.update(method=method, tuner_strength=0.5)
    with pytest.raises(UserError, match=words):
        lift_config.resolve(config)
    config.tuner_strength = 1.0
    assert lift_config.resolve(config).method == method


def test_every_other_tuner_has_an_effect():
    from lift_jax.tuners.specs import TUNERS

    without = {spec.name for spec in TUNERS if spec.effect is None}
    assert without == {"vpt_shallow", "vpt_deep", "coop"}
