"""Tuners whose effect is scaled, and the mean of several: functions of what was trained that give the same."""

from collections.abc import Mapping, Sequence
from typing import Any

from flax import traverse_util

from lift_jax.errors import UserError
from lift_jax.models.partition import Path, Tree, merge, rule_path
from lift_jax.tuners.effects import Effect
from lift_jax.tuners.methods import Method
from lift_jax.tuners.tuning import Tuning

WIDTHS: Sequence[str] = ("dim", "text_dim")
"""The keys of config.tuner for the widths of bottlenecks and products: of the image tower, and of the text side."""


def check(method: Method, strength: float) -> None:
    """Refuses a `config.tuner_strength` for a method with a tuner whose effect cannot be scaled, or without any.

    Raises:
        UserError: with the method and the tuner.
    """
    if strength == 1:
        return
    if not method.tuners:
        raise UserError(
            f"config.tuner_strength is {strength}, but config.method={method.name} has no tuner that it could scale; "
            "leave it out."
        )
    if name := without_effect(method):
        raise UserError(
            f"config.tuner_strength is {strength}, but config.method={method.name} has {name}, which puts tokens "
            "beside the network's own and adds nothing that could be scaled; leave it out."
        )


def without_effect(method: Method) -> str | None:
    """Names the first tuner of a method whose effect can be neither scaled nor averaged, such as prompts."""
    return next((name for name, spec in method.specs.items() if spec.effect is None), None)


def scaled(method: Method, tuning: Tuning, tuner: Tree, start: Tree, strength: float) -> Tree:
    """Gives what a method has trained of the backbone with `strength` times its effect.

    What was trained of the backbone's own weights is interpolated with these, as in WiSE-FT (Wortsman et al. 2022,
    arXiv 2109.01903, section 3); what was added to the network is multiplied, and with LoRA that is the same.

    Args:
        method: the method, of which `check` has no complaint.
        tuning: what it does to the network.
        tuner: the part `tuner` of the parameters.
        start: the same part before the training.
        strength: from 0, the backbone as it was, to 1, with which nothing is computed.
    """
    if strength == 1:
        return tuner
    starts = _by_tuner(tuning, start)
    return merge(
        *(_effect(method, name).scaled(own, starts[name], strength) for name, own in _by_tuner(tuning, tuner).items())
    )


def averaged(
    method: Method, tuning: Tuning, members: Sequence[Tree], shares: Sequence[float], widths: Mapping[str, int]
) -> Tree:
    """Gives the tuner whose effect is the weighted mean of the members' effects.

    Args:
        method: the members' method, of whose tuners `without_effect` names none.
        tuning: what it does to the network, whatever its widths.
        members: the part `tuner` of each one's parameters.
        shares: of each one; their sum is 1.
        widths: of the result, for both keys `WIDTHS`: at least the sum of the members' (see `widths`).
    """
    grouped = [_by_tuner(tuning, member) for member in members]
    return merge(
        *(
            _effect(method, name).averaged([member[name] for member in grouped], shares, widths[_width(method, name)])
            for name in grouped[0]
        )
    )


def widths(method: Method, tuning: Tuning, tuner: Tree) -> dict[str, int]:
    """Gives the widths of a tuner's bottlenecks and products by the keys `WIDTHS`; 0 where there are none."""
    found = dict.fromkeys(WIDTHS, 0)
    for name, own in _by_tuner(tuning, tuner).items():
        key = _width(method, name)
        found[key] = max(found[key], _effect(method, name).width(own))
    return found


def _width(method: Method, name: str) -> str:
    return "dim" if name in {spec.name for spec in method.image} else "text_dim"


def _effect(method: Method, name: str) -> Effect:
    effect = method.specs[name].effect
    assert effect is not None, name
    return effect


def _by_tuner(tuning: Tuning, tuner: Tree) -> dict[str, Tree]:
    """Divides the part `tuner` of the parameters into those of each tuner."""
    groups: dict[str, dict[Path, Any]] = {}
    for path, array in traverse_util.flatten_dict(dict(tuner)).items():
        groups.setdefault(str(tuning.group(rule_path(path))), {})[path] = array
    return {name: traverse_util.unflatten_dict(own) for name, own in groups.items()}
