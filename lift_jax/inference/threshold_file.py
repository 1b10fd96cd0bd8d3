"""thresholds.json: from which score on an image is said to be of a class, of a run whose images have several labels.

The evaluation writes the file into the run's folder. It belongs to the parameters that it was made with, and is refused
with any others.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
import pydantic
from etils import epath

from lift_jax.errors import UserError
from lift_jax.evaluation.thresholds import Thresholds
from lift_jax.inference.calibration import Owner
from lift_jax.workdir import schema
from lift_jax.workdir.record import Positive

FILE = "thresholds.json"
_REMEDY = "evaluate the run again with --mode eval, which writes the file anew"


class _Values(pydantic.BaseModel):
    """The logits from which on an image is said to be of the classes, and whose images each was chosen by."""

    model_config = schema.STRICT
    values: list[Annotated[float, pydantic.Field(allow_inf_nan=False)]]
    chosen_by: list[Literal["own", "group", "all"]]

    @property
    def thresholds(self) -> Thresholds:
        return Thresholds(np.array(self.values), list(self.chosen_by))


class ThresholdFile(_Values):
    """The schema of thresholds.json.

    Attributes:
        owner: the run and checkpoint that the thresholds are of.
        source: the images that they were chosen by.
        images: their number.
        values: the logit of one view from which on an image is said to be of the class, of each class.
        chosen_by: whose images each was chosen by (see `lift_jax.evaluation.thresholds.Thresholds`).
        tte: both for the mean over the views of test-time ensembling; None where the run was evaluated without.
    """

    format: Literal[1] = 1
    owner: Owner
    source: Literal["held-out images", "training images"]
    images: Positive
    tte: _Values | None = None

    @pydantic.model_validator(mode="after")
    def _has_one_entry_for_each_class(self) -> "ThresholdFile":
        names = len(self.owner.class_names)
        for each in self, self.tte or self:
            for key, values in ("values", each.values), ("chosen_by", each.chosen_by):
                if len(values) != names:
                    raise ValueError(f"its {key} has {len(values)} entries for {names} class_names")
        return self


def content(thresholds: Mapping[str, Thresholds], owner: Owner, source: str, images: int) -> dict[str, Any]:
    """Gives what the file says.

    Args:
        thresholds: those of "plain", and perhaps of "tte".
        owner, source, images: see `ThresholdFile`.
    """
    said = {name: {"values": each.values.tolist(), "chosen_by": each.chosen_by} for name, each in thresholds.items()}
    plain = said.pop("plain")
    return {"format": 1, "owner": owner.model_dump(), "source": source, "images": images, **plain, **said}


def read(folder: epath.PathLike, owner: Owner) -> dict[str, Thresholds]:
    """Reads the thresholds from a run's folder: those of "plain", and perhaps of "tte".

    Raises:
        UserError: if there are none, the file is damaged, or it is that of another run or checkpoint.
    """
    file = epath.Path(folder) / FILE
    if not file.is_file():
        raise UserError(f"The run {folder} has no {FILE}, without which no class is decided on; {_REMEDY}.")
    found = schema.check(schema.read_json(file, _REMEDY), ThresholdFile, file, _REMEDY)
    if found.owner != owner:
        raise UserError(f"{file} has the thresholds of another run or checkpoint; {_REMEDY}.")
    several = {} if found.tte is None else {"tte": found.tte.thresholds}
    return {"plain": found.thresholds, **several}
