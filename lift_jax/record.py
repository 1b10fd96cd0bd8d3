"""run.json: what a run was made from, for whoever reads its folder where the data set is not."""

import contextlib
import dataclasses
import json
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from etils import epath

import lift_jax
from lift_jax import state, tuners
from lift_jax.errors import UserError

if TYPE_CHECKING:
    from lift_jax.experiment import Experiment

FILE = "run.json"
_FORMAT = 1


@dataclasses.dataclass(frozen=True)
class Record:
    """What is known of a run besides its config and its results.

    Attributes:
        command: the command line that made it, or "" for a run from Python.
        versions: of lift_jax and jax.
        devices: on which it ran, such as "4 x TPU v4".
        backbone: name, hash, and parameters (of the vision tower).
        trainable: one {"group", "blocks", "arrays", "params", "share"} a group of trainable parameters (see
            `lift_jax.tuners.summary.Row`).
        class_names: in label order.
        train_counts, test_counts: images of each class.
        class_groups: the group of each class, as an index into `lift_jax.metrics.GROUPS`.
    """

    command: str
    versions: Mapping[str, str]
    devices: str
    backbone: Mapping[str, Any]
    trainable: list[dict[str, Any]]
    class_names: list[str]
    train_counts: list[int]
    test_counts: list[int]
    class_groups: list[int]

    @property
    def trainable_parameters(self) -> int:
        """Number of parameters that the run trained."""
        return sum(row["params"] for row in self.trainable)

    @property
    def log_prior(self) -> np.ndarray:
        """log of each class's share of the training set, float32 [classes], as the losses have it."""
        counts = np.maximum(np.asarray(self.train_counts, np.float64), 1.0)
        return np.log(counts / counts.sum()).astype(np.float32)


def of(experiment: "Experiment", earlier: epath.PathLike | None = None) -> Record:
    """The record of a run that is about to begin.

    Args:
        experiment: what it is made from.
        earlier: a run's folder whose command stays: that of a run which is merely evaluated again.
    """
    command = command_line()
    if earlier is not None:
        with contextlib.suppress(UserError):
            command = read(earlier).command
    devices = jax.devices()
    trained = [] if experiment.config.method == "zero_shot" else tuners.rows(experiment.tuning, experiment.parts)
    return Record(
        command=command,
        versions={"lift_jax": lift_jax.__version__, "jax": jax.__version__},
        devices=f"{len(devices)} x {devices[0].device_kind}",
        backbone={
            "name": experiment.backbone.name,
            "hash": experiment.backbone.hash,
            "parameters": state.count(experiment.backbone.params["vision"]),
        },
        trainable=[row._asdict() for row in trained],
        class_names=list(experiment.train.class_names),
        train_counts=experiment.train.class_counts.tolist(),
        test_counts=experiment.test.class_counts.tolist(),
        class_groups=np.asarray(experiment.class_groups).tolist(),
    )


def command_line() -> str:
    """This process's command, ready to be pasted into a shell; "" where it is no program of lift_jax."""
    program = Path(sys.argv[0])
    if program.parent.name == "lift_jax":  # python -m lift_jax.main
        return shlex.join(["python", "-m", f"lift_jax.{program.stem}", *sys.argv[1:]])
    return shlex.join(["lift_jax", *sys.argv[1:]]) if program.stem == "lift_jax" else ""


def content(record: Record) -> dict[str, Any]:
    """The record as run.json has it."""
    return {"format": _FORMAT, **dataclasses.asdict(record)}


def read(workdir: epath.PathLike) -> Record:
    """The record of a run.

    Raises:
        UserError: if the folder is no run, or one of another version.
    """
    workdir = epath.Path(workdir)
    file = workdir / FILE
    try:
        return parse(json.loads(file.read_text(encoding="utf-8")))
    except OSError as error:
        what = "is no run of lift_jax" if not (workdir / "config.json").is_file() else "is of an older version"
        raise UserError(
            f"{workdir} {what}: it has no {FILE}; name a run's folder, or evaluate the run again with --mode eval."
        ) from error
    except ValueError as error:
        raise UserError(
            f"{file} is damaged or of another version; evaluate the run again with --mode eval to write it anew."
        ) from error


def parse(values: Any) -> Record:
    """The record of `content`.

    Raises:
        ValueError: if it is of another version.
    """
    try:
        values = dict(values)
        if values.pop("format") != _FORMAT:
            raise ValueError("another format")
        return Record(**values)
    except (TypeError, KeyError) as error:
        raise ValueError(str(error)) from error
