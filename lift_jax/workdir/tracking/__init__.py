"""Where the numbers of a run can be followed, besides in its folder: `config.tracker`.

A tracker gets what metrics.jsonl gets. That file is what counts: a run that goes on gives its trackers the lines that
they lack, and no line twice.
"""

import importlib.util
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from jaxtyping import UInt8

from lift_jax.errors import UserError
from lift_jax.workdir.metrics_file import Line

NAMES = ("tensorboard", "mlflow", "wandb")
"""What `config.tracker` may name; the last two are packages that not everybody has."""


class TrackedRun(NamedTuple):
    """What a tracker is told of a run.

    Attributes:
        folder: the run's folder on the disk.
        name: the name that people see.
        config: the values of the resolved config by the whole names of its keys.
    """

    folder: Path
    name: str
    config: Mapping[str, Any]


class Tracker(Protocol):
    """Shows the numbers and pictures of one run somewhere."""

    def resume(self, step: int, lines: Iterable[Line], anew: Collection[str]) -> None:
        """Goes on where a run goes on; comes before all other calls.

        Args:
            step: the step that was restored, or 0 for a new run.
            lines: what metrics.jsonl has up to this step.
            anew: splits whose numbers are measured again, and may differ from those of the same step before.
        """
        ...

    def scalars(self, step: int, split: str, values: Mapping[str, float]) -> None:
        """Shows finite numbers of a split, such as "train", by their names."""
        ...

    def images(self, step: int, images: Mapping[str, UInt8[np.ndarray, "..."]]) -> None:
        """Shows pictures: [height, width, 3], or [n, height, width, 3] for n beside each other."""
        ...

    def flush(self) -> None:
        """Sees to it that what was told so far is kept."""
        ...

    def close(self, failed: bool) -> None:
        """Ends it, and says whether the run has failed or was stopped."""
        ...


def check(trackers: str) -> None:
    """Refuses a `config.tracker` that names no tracker, or one whose package is missing.

    Raises:
        UserError: with the names that there are, or the command that installs the package.
    """
    for name in names(trackers):
        if name not in NAMES:
            raise UserError(
                f"config.tracker has {name!r}; write one of {', '.join(NAMES)}, several with commas between them, or "
                '"" for none.'
            )
        if name != "tensorboard" and importlib.util.find_spec(name) is None:
            raise UserError(
                f"config.tracker={name} needs the package {name}, which is not installed; pip install "
                f"'lift-jax[{name}]', or leave it out."
            )


def names(trackers: str) -> list[str]:
    """Gives the names in `config.tracker`, each once."""
    return list(dict.fromkeys(name.strip() for name in trackers.split(",") if name.strip()))


def opened(trackers: str, run: TrackedRun) -> list[Tracker]:
    """Opens the trackers that `config.tracker` names.

    Raises:
        UserError: if one of them cannot be reached, or does not know the run that it was to go on with.
    """
    return [_open(name, run) for name in names(trackers)]


def _open(name: str, run: TrackedRun) -> Tracker:
    from lift_jax.workdir.tracking.guarded import Guarded

    match name:
        case "mlflow":
            from lift_jax.workdir.tracking.mlflow_tracker import Mlflow

            return Guarded(Mlflow(run), "MLflow")
        case "wandb":
            from lift_jax.workdir.tracking.wandb_tracker import Wandb

            return Guarded(Wandb(run), "Weights & Biases")
        case _:
            from lift_jax.workdir.tracking.tensorboard_tracker import TensorBoard

            return TensorBoard(run.folder)
