"""Checkpoints in a workdir, by orbax: what is trained, and what it belongs to."""

import json
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from lift_jax.errors import UserError
from lift_jax.state import TrainState

FOLDER = "checkpoints"

# What a checkpoint and the run that restores it must have in common, and what to do where they differ.
_IDENTITY = {
    "backbone_hash": "the backbone's weights",
    "method": "config.method",
    "tuner": "config.tuner",
    "head": "config.head",
    "head_scale": "config.head_scale",
    "prompt": "config.prompt",
    "class_names": "the class names",
}


class Checkpoints:
    """The checkpoints of one workdir; use it as a context manager, or call `close`.

    Each has the trainable parameters, the optimizer's state, the step and the data iterator's state. Of the frozen
    backbone it has the name and the content hash.

    Args:
        workdir: the run's folder.
        identity: what the parameters belong to (see `lift_jax.experiment.identity`).
        keep: how many of the newest stay.
    """

    def __init__(self, workdir: Path, identity: dict[str, Any], keep: int = 2):
        self._identity = identity
        self._folder = workdir.resolve() / FOLDER
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, create=True, enable_async_checkpointing=True)
        self._manager = ocp.CheckpointManager(self._folder, options=options)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Waits for saves that are under way."""
        self._manager.close()

    @property
    def newest(self) -> int | None:
        """The step of the newest complete checkpoint, None if there is none."""
        return self._manager.latest_step()

    def save(self, state: TrainState, iterator: dict[str, int]) -> None:
        """Begins to save; training may go on meanwhile."""
        step = int(state.step)
        if step in self._manager.all_steps():
            return
        self._manager.save(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(state),
                iterator=ocp.args.JsonSave(iterator),
                identity=ocp.args.JsonSave(self._identity),
            ),
        )

    def restore(self, like: TrainState, step: int | None = None) -> tuple[TrainState, dict[str, int]]:
        """The newest checkpoint, or that of `step`, with the state's arrays placed as those of `like`.

        Raises:
            UserError: if there is none, it cannot be read, or it belongs to another backbone, method, tuner, head or
                class list.
        """
        step = self.newest if step is None else step
        if step is None:
            raise UserError(f"There is no checkpoint in {self._folder}; train first, or name one with --checkpoint.")
        return restore(self._folder / str(step), like, self._identity)


def restore(folder: Path, like: TrainState, identity: dict[str, Any]) -> tuple[TrainState, dict[str, int]]:
    """The checkpoint in `folder` (see `Checkpoints.restore`)."""
    folder = folder.resolve()
    if not folder.is_dir():
        raise UserError(
            f"The checkpoint {folder} does not exist; --checkpoint names a folder such as RUN/checkpoints/150."
        )
    handler = ocp.CompositeCheckpointHandler()
    with ocp.Checkpointer(handler) as checkpointer:
        try:
            saved = checkpointer.restore(
                folder, args=ocp.args.Composite(iterator=ocp.args.JsonRestore(), identity=ocp.args.JsonRestore())
            )
            _check_identity(folder, saved["identity"], identity)
            arrays = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
            state = checkpointer.restore(folder, args=ocp.args.Composite(state=ocp.args.StandardRestore(arrays)))
        except UserError:
            raise
        except Exception as error:  # orbax, tensorstore and JSON have no common base
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise UserError(
                f"The checkpoint {folder} is damaged or incomplete ({reason}); delete it to go on from the one before."
            ) from error
    return state["state"], saved["iterator"]


def identity(folder: Path) -> dict[str, Any]:
    """What the parameters of the checkpoint in `folder` belong to; the names of its classes, for example.

    Raises:
        UserError: if it is damaged or incomplete.
    """
    folder = folder.resolve()
    with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
        try:
            return checkpointer.restore(folder, args=ocp.args.Composite(identity=ocp.args.JsonRestore()))["identity"]
        except Exception as error:  # see `restore`
            raise UserError(f"The checkpoint {folder} is damaged or incomplete ({type(error).__name__}).") from error


def newest(workdir: Path) -> Path | None:
    """The folder of the newest complete checkpoint of a run, None if there is none."""
    if not (workdir / FOLDER).is_dir():
        return None
    with Checkpoints(workdir, {}) as saved:
        return None if saved.newest is None else workdir / FOLDER / str(saved.newest)


def _check_identity(folder: Path, saved: dict[str, Any], own: dict[str, Any]) -> None:
    own = json.loads(json.dumps(own))
    for key, what in _IDENTITY.items():
        there, here = saved.get(key, "not recorded"), own[key]
        if there != here:
            if isinstance(there, dict) and isinstance(here, dict):
                key = next(k for k in {**there, **here} if there.get(k) != here.get(k))
                what, there, here = f"{what}.{key}", there.get(key), here.get(key)
            raise UserError(
                f"The checkpoint {folder} was made with another value of {what} ({_short(there)}, here "
                f"{_short(here)}); use the config of that run, or another --workdir."
            )


def _short(value: Any) -> str:
    text = f"{len(value)} classes from {value[0]}" if isinstance(value, list | tuple) and value else str(value)
    return text if len(text) <= 60 else text[:57] + "..."
