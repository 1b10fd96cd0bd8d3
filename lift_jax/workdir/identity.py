"""What a checkpoint's parameters belong to: restored under another identity, they would fit and be wrong."""

import json
from collections.abc import Sequence
from typing import Any

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
    }


def check(folder: epath.PathLike, saved: dict[str, Any], own: dict[str, Any]) -> None:
    """Refuses a checkpoint whose identity is not that of the run; keys that it lacks have their defaults.

    Raises:
        UserError: with the first difference.
    """
    own = json.loads(json.dumps(own))
    own["tuner"] = {**lift_config.default().tuner.to_dict(), **own["tuner"]}
    defaults = lift_config.default()
    known = {"prompt": "", "head": defaults.head, "head_scale": defaults.head_scale}
    saved = {**known, **saved, "tuner": {**defaults.tuner.to_dict(), **saved.get("tuner", {})}}
    for key, what in _NAMES.items():
        there, here = saved.get(key, "not recorded"), own[key]
        if there != here:
            if isinstance(there, dict) and isinstance(here, dict):
                key = next(k for k in {**there, **here} if there.get(k) != here.get(k))
                what, there, here = f"{what}.{key}", there.get(key), here.get(key)
            raise UserError(
                f"The checkpoint {folder} was made with another value of {what} ({_short(there)}, here "
                f"{_short(here)}); use the config and the backbone of that run, or another --workdir."
            )


def _short(value: Any) -> str:
    text = f"{len(value)} classes from {value[0]}" if isinstance(value, list | tuple) and value else str(value)
    return text if len(text) <= 60 else text[:57] + "..."
