"""run.json: what a run was made from, for whoever reads its folder where the data set is not."""

import dataclasses
import json
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
from etils import epath

from lift_jax.errors import UserError

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
        class_groups: the group of each class, as an index into `lift_jax.evaluation.metrics.GROUPS`.
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


def devices() -> str:
    """Names the devices of all processes, such as "4 x TPU v4"."""
    everywhere = jax.devices()
    return f"{len(everywhere)} x {everywhere[0].device_kind}"


def command_line() -> str:
    """This process's command, ready to be pasted into a shell; "" where it is no program of lift_jax."""
    program = Path(sys.argv[0])
    if program.parent.name == "lift_jax":  # python -m lift_jax.main
        return shlex.join(["python", "-m", f"lift_jax.{program.stem}", *sys.argv[1:]])
    return shlex.join(["lift_jax", *sys.argv[1:]]) if program.stem == "lift_jax" else ""


def known_command(workdir: epath.PathLike) -> str | None:
    """Gives the command that made the run in a folder; None if there is no run that says so."""
    try:
        return read(workdir).command
    except UserError:
        return None


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
