"""thresholds.json: from which score on an image is said to be of a class, of a run whose images have several labels.

The evaluation writes the file into the run's folder. It belongs to the parameters that it was made with, and is refused
with any others.
"""

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


class ThresholdFile(pydantic.BaseModel):
    """The schema of thresholds.json.

    Attributes:
        owner: the run and checkpoint that the thresholds are of.
        source: the images that they were chosen by.
        images: their number.
        values: the logit from which on an image is said to be of the class, of each class.
        chosen_by: whose images each was chosen by (see `lift_jax.evaluation.thresholds.Thresholds`).
    """

    model_config = schema.STRICT
    format: Literal[1] = 1
    owner: Owner
    source: Literal["held-out images", "training images"]
    images: Positive
    values: list[Annotated[float, pydantic.Field(allow_inf_nan=False)]]
    chosen_by: list[Literal["own", "group", "all"]]

    @pydantic.model_validator(mode="after")
    def _has_one_entry_for_each_class(self) -> "ThresholdFile":
        names = len(self.owner.class_names)
        for key, values in ("values", self.values), ("chosen_by", self.chosen_by):
            if len(values) != names:
                raise ValueError(f"its {key} has {len(values)} entries for {names} class_names")
        return self

    @property
    def thresholds(self) -> Thresholds:
        """The thresholds as arrays."""
        return Thresholds(np.array(self.values), list(self.chosen_by))


def content(thresholds: Thresholds, owner: Owner, source: str, images: int) -> dict[str, Any]:
    """Gives what the file says; for the arguments see `ThresholdFile`."""
    return {
        "format": 1,
        "owner": owner.model_dump(),
        "source": source,
        "images": images,
        "values": thresholds.values.tolist(),
        "chosen_by": thresholds.chosen_by,
    }


def read(folder: epath.PathLike, owner: Owner) -> Thresholds:
    """Reads the thresholds from a run's folder.

    Raises:
        UserError: if there are none, the file is damaged, or it is that of another run or checkpoint.
    """
    file = epath.Path(folder) / FILE
    if not file.is_file():
        raise UserError(f"The run {folder} has no {FILE}, without which no class is decided on; {_REMEDY}.")
    found = schema.check(schema.read_json(file, _REMEDY), ThresholdFile, file, _REMEDY)
    if found.owner != owner:
        raise UserError(f"{file} has the thresholds of another run or checkpoint; {_REMEDY}.")
    return found.thresholds
