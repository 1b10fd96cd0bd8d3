"""Whether a command may go on in a workdir that a run has used: what of its config may differ, and what may not."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import ml_collections
from etils import epath

from lift_jax.config.keys import KEYS
from lift_jax.errors import UserError
from lift_jax.workdir import checkpoints, config_file, record

_SHOWN = 3
"""Differences that a sentence names."""


def check(workdir: epath.PathLike, config: ml_collections.FrozenConfigDict, evaluates: bool) -> None:
    """Refuses a config under which the workdir's results would no longer be its run's.

    Args:
        workdir: the run's folder, used or new.
        config: the resolved config of the command.
        evaluates: whether the command only evaluates, with --mode eval.

    Raises:
        UserError: with the keys, both values, and what to write; or if the workdir's config.json cannot be read.
    """
    if not used(workdir):
        return
    changed = config_file.differences(workdir, config)
    evaluated = (epath.Path(workdir) / "eval.json").is_file()
    refused = {key: values for key, values in changed.items() if not _allowed(key, *values, evaluates, evaluated)}
    if not refused:
        return
    said = ", ".join(f"config.{key}={_short(old)} (here {_short(new)})" for key, (old, new) in _first(refused).items())
    more = f" and {len(refused) - _SHOWN} keys more" if len(refused) > _SHOWN else ""
    if all(KEYS[key].kind == "evaluation" for key in refused):
        remedy = "add --mode eval to evaluate it so"
    else:
        remedy = "leave that out, or name another folder with --workdir"
    raise UserError(f"The run in {workdir} was made with {said}{more}; {remedy}.")


def check_data(
    workdir: epath.PathLike,
    class_names: Sequence[str],
    train_counts: Sequence[int],
    validation_counts: Sequence[int] | None = None,
) -> None:
    """Refuses data that are not those of the run in a workdir, where the folder that they lie in is another one.

    Raises:
        UserError: if the classes, or the numbers of their training or held-out images, differ.
    """
    if not used(workdir) or not (epath.Path(workdir) / record.FILE).is_file():
        return
    known = record.read(workdir)
    if known.class_names != list(class_names):
        what = f"its {len(known.class_names)} classes are others than the {len(class_names)} of the data here"
    elif known.train_counts != list(train_counts):
        what = f"it had {sum(known.train_counts):,} training images, and here are {sum(train_counts):,}"
        if sum(known.train_counts) == sum(train_counts):
            what = "its classes had other numbers of training images than here"
    elif known.validation_counts != (None if validation_counts is None else list(validation_counts)):
        what = "other training images were held out than config.validation holds out here"
    else:
        return
    raise UserError(
        f"The run in {workdir} was made from other data: {what}; give config.data as it was, or name another folder "
        "with --workdir."
    )


def used(workdir: epath.PathLike) -> bool:
    """Tells whether a run has left something in a workdir that a later command could spoil."""
    folder = epath.Path(workdir)
    return (folder / config_file.FILE).is_file() and (
        (folder / "eval.json").is_file() or bool(checkpoints.steps(folder))
    )


def _allowed(key: str, old: Any, new: Any, evaluates: bool, evaluated: bool) -> bool:
    match KEYS[key].kind:
        case "free":
            return True
        case "evaluation":
            return evaluates or not evaluated
        case "extendable":
            return not evaluates and new > old
        case _:
            return False


def _first(refused: Mapping[str, tuple[Any, Any]]) -> dict[str, tuple[Any, Any]]:
    return dict(list(refused.items())[:_SHOWN])


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."
