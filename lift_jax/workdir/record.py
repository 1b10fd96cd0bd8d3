"""run.json: what a run was made from, for whoever reads its folder where the data set is not."""

import dataclasses
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import pydantic
from etils import epath

from lift_jax.errors import UserError
from lift_jax.workdir import schema

FILE = "run.json"
_FORMAT = 1
_OF_GROUPS = ("many_", "med_", "few_")
"""How the names of metrics begin that are of a group of classes."""

_REMEDY = "evaluate the run again with --mode eval, which writes the file anew"

Count = Annotated[int, pydantic.Field(ge=0, le=2**40)]
"""A number of things in a file of a run; more than fit into any computer are a mistake."""

Positive = Annotated[Count, pydantic.Field(ge=1)]
"""Such a number of at least one."""


class _Backbone(pydantic.BaseModel):
    """The backbone of a run in run.json."""

    model_config = schema.STRICT
    name: str
    hash: str
    parameters: Positive


class _Trained(pydantic.BaseModel):
    """A group of trainable parameters in run.json (see `lift_jax.tuners.summary.Row`)."""

    model_config = schema.STRICT
    group: str
    blocks: Count
    arrays: Count
    params: Count
    share: Annotated[float, pydantic.Field(ge=0)]


class _File(pydantic.BaseModel):
    """The schema of run.json: its format and the attributes of `Record`."""

    model_config = schema.STRICT
    format: Literal[1]
    command: str
    versions: dict[str, str]
    devices: str
    backbone: _Backbone
    trainable: list[_Trained]
    class_names: Annotated[list[str], pydantic.Field(min_length=1)]
    train_counts: list[Positive]
    test_counts: list[Count]
    class_groups: list[Annotated[int, pydantic.Field(ge=0, le=2)]]
    validation_counts: list[Count] | None = None
    zero_shot: dict[str, Annotated[float, pydantic.Field(ge=0, le=100.001)]] | None = None

    @pydantic.model_validator(mode="after")
    def _has_one_entry_for_each_class(self) -> "_File":
        for key in "train_counts", "test_counts", "class_groups", "validation_counts":
            values = getattr(self, key)
            if values is not None and (length := len(values)) != len(self.class_names):
                raise ValueError(f"its {key} has {length} entries for {len(self.class_names)} class_names")
        return self


@dataclasses.dataclass(frozen=True)
class Record:
    """What is known of a run besides its config and its results.

    Attributes:
        command: the command line that made it, or "" for a run from Python.
        versions: the versions of lift_jax and jax.
        devices: the devices on which it ran, such as "4 x TPU v4".
        backbone: the backbone's name, its hash, and the number of parameters of its vision tower.
        trainable: the groups of trainable parameters.
        class_names: the names of the classes in label order.
        train_counts, test_counts: how many images each class has.
        class_groups: the group of each class, as an index into `lift_jax.evaluation.metrics.GROUPS`.
        validation_counts: how many of its training images were held out of each class; None without validation.
        zero_shot: metrics of the untrained backbone on the test images, in percent; None if they were not measured.
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
    validation_counts: list[int] | None = None
    zero_shot: dict[str, float] | None = None

    @property
    def trainable_parameters(self) -> int:
        """The number of parameters that the run trained."""
        return sum(row["params"] for row in self.trainable)


def devices() -> str:
    """Names the devices of all processes, such as "4 x TPU v4"."""
    everywhere = jax.devices()
    return f"{len(everywhere)} x {everywhere[0].device_kind}"


def command_line() -> str:
    """Gives this process's command, ready to be pasted into a shell; "" where it is no program of lift_jax."""
    program = Path(sys.argv[0])
    if program.parent.name == "lift_jax":  # python -m lift_jax.main, also by way of a sub-command
        return shlex.join(["python", "-m", f"lift_jax.{program.stem}", *sys.argv[1:]])
    return shlex.join(["lift_jax", *sys.argv[1:]]) if program.stem == "lift_jax" else ""


def known_command(workdir: epath.PathLike) -> str | None:
    """Gives the command that made the run in a folder; None if there is no run that says so."""
    try:
        return read(workdir).command
    except UserError:
        return None


def known_zero_shot(
    workdir: epath.PathLike, test_counts: Sequence[int], class_groups: Sequence[int]
) -> dict[str, float] | None:
    """Gives the metrics of the untrained backbone that a run in a folder has measured.

    Args:
        workdir: the folder, which may have no run yet.
        test_counts: those of the run that asks; of other images the metrics say nothing.
        class_groups: likewise, but of other groups the metrics of all classes are the same.
    """
    try:
        known = read(workdir)
    except UserError:
        return None
    if known.zero_shot is None or known.test_counts != list(test_counts):
        return None
    same_groups = known.class_groups == list(class_groups)
    return {key: value for key, value in known.zero_shot.items() if same_groups or not key.startswith(_OF_GROUPS)}


def content(record: Record) -> dict[str, Any]:
    """Gives the record as run.json has it."""
    values = dataclasses.asdict(record)
    return {"format": _FORMAT, **{key: value for key, value in values.items() if value is not None}}


def read(workdir: epath.PathLike) -> Record:
    """Reads the record of a run.

    Raises:
        UserError: if the folder is no run, or its record is damaged or of another version.
    """
    workdir = epath.Path(workdir)
    file = workdir / FILE
    if not file.is_file():
        what = "is of an older version" if (workdir / "config.json").is_file() else "is no run of lift_jax"
        raise UserError(
            f"{workdir} {what}: it has no {FILE}; name a run's folder, or evaluate the run again with --mode eval."
        )
    return parse(schema.read_json(file, _REMEDY), file)


def parse(values: Any, file: epath.PathLike, remedy: str = _REMEDY) -> Record:
    """Makes a record out of what `content` gave.

    Args:
        values: what JSON of the file says.
        file: the file that the sentence of an error names.
        remedy: what the sentence says at its end.

    Raises:
        UserError: if a value is of another type or out of its range, or the lists are not of one length.
    """
    schema.check(values, _File, file, remedy)
    return Record(**{key: value for key, value in values.items() if key != "format"})
