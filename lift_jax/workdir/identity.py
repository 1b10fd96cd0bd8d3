"""What a checkpoint's parameters belong to: restored under another identity, they would fit and be wrong."""

import json
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import ml_collections
from etils import epath

from lift_jax import config as lift_config
from lift_jax.errors import UserError

_NAMES = {
    "backbone_hash": "the backbone's weights",
    "method": "config.method",
    "tuner": "config.tuner",
    "head": "config.head",
    "head_scale": "config.head_scale",
    "prompt": "config.prompt",
    "class_names": "the class names",
    "ema": "config.ema",
}
"""What a checkpoint and the run that restores it must have in common, and what the user calls it."""


def identify(
    config: ml_collections.FrozenConfigDict,
    backbone_name: str,
    backbone_hash: str,
    class_names: Sequence[str],
    reads_prompt: bool,
) -> dict[str, Any]:
    """Gives the identity of a run's parameters.

    Args:
        config: the resolved config.
        backbone_name, backbone_hash: of the foundation model.
        class_names: the names of the classes in label order.
        reads_prompt: whether the network reads the prompt at every step. A head that merely starts from the prompts
            goes its own way afterwards.
    """
    return {
        "backbone": backbone_name,
        "backbone_hash": backbone_hash,
        "method": config.method,
        "tuner": config.tuner.to_dict(),
        "head": config.head,
        "head_scale": config.head_scale,
        "prompt": config.prompt if reads_prompt else "",
        "class_names": list(class_names),
        "ema": config.ema,
    }


class Difference(NamedTuple):
    """A difference between two identities: what the user calls it, and its value on either side, in few words."""

    what: str
    there: str
    here: str


def check(folder: epath.PathLike, saved: dict[str, Any], own: dict[str, Any]) -> None:
    """Refuses a checkpoint whose identity is not that of the run; keys that it lacks have their defaults.

    Raises:
        UserError: with the first difference.
    """
    if found := difference(saved, own):
        raise UserError(
            f"The checkpoint {folder} was made with another value of {found.what} ({found.there}, here {found.here}); "
            "use the config and the backbone of that run, or another --workdir."
        )


def difference(saved: dict[str, Any], own: dict[str, Any], but_for: Collection[str] = ()) -> Difference | None:
    """Finds the first difference between the identity of a checkpoint and that of a run; None if there is none.

    Args:
        saved: of the checkpoint; keys that it lacks have their defaults.
        own: of the run.
        but_for: keys of the identity, or of config.tuner, that may differ.
    """
    there, here = _complete(saved), _complete(own)
    for key, what in _NAMES.items():
        if key in but_for:
            continue
        if key != "tuner":
            if there.get(key) != here.get(key):
                return Difference(what, _short(there.get(key, "not recorded")), _short(here.get(key)))
            continue
        for option in {**there[key], **here[key]}:
            values = there[key].get(option), here[key].get(option)
            if option not in but_for and values[0] != values[1]:
                return Difference(f"{what}.{option}", *map(_short, values))
    return None


def _complete(identity: dict[str, Any]) -> dict[str, Any]:
    """Gives an identity as JSON has it, with the defaults of the keys that are newer than it."""
    defaults = lift_config.default()
    known = {"prompt": "", "head": defaults.head, "head_scale": defaults.head_scale, "ema": defaults.ema}
    tuner = {**defaults.tuner.to_dict(), **identity.get("tuner", {})}
    return json.loads(json.dumps({**known, **identity, "tuner": tuner}))


def _short(value: Any) -> str:
    text = f"{len(value)} classes from {value[0]}" if isinstance(value, list | tuple) and value else str(value)
    return text if len(text) <= 60 else text[:57] + "..."
