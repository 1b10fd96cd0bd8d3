"""eval.json: what a run's evaluation has found."""

from typing import Annotated, ClassVar, Literal

import numpy as np
import pydantic
from etils import epath

from lift_jax.evaluation import metrics, per_class
from lift_jax.workdir import schema
from lift_jax.workdir.record import Count

_REMEDY = "evaluate the run again with --mode eval"

_Percent = Annotated[float, pydantic.Field(ge=0, le=100.001)]  # the sums are rounded


class _Section(pydantic.BaseModel):
    """A section of eval.json: the metrics that are always there, and others, null for a group without classes."""

    model_config = pydantic.ConfigDict(strict=True, extra="allow", allow_inf_nan=False)
    __pydantic_extra__: dict[str, _Percent | None]
    accuracy: _Percent
    error_rate: _Percent
    macro_f1: _Percent
    worst_case_acc: _Percent
    hmean_acc: _Percent
    gmean_acc: _Percent
    mean_acc: _Percent
    expected_calibration_error: _Percent
    many_acc: _Percent | None
    med_acc: _Percent | None
    few_acc: _Percent | None
    num_examples: Count


_Interval = Annotated[list[_Percent | None], pydantic.Field(min_length=2, max_length=2)]


class _Class(pydantic.BaseModel):
    """What eval.json says of a class; null where it is 0 of 0."""

    model_config = schema.STRICT
    name: str = pydantic.Field(alias="class")
    precision: _Percent | None
    recall: _Percent | None
    precision_interval: _Interval
    recall_interval: _Interval


class _Classes(pydantic.BaseModel):
    """The classes in eval.json, by section, and how their intervals were made."""

    model_config = schema.STRICT
    resamples: Count
    coverage: _Percent
    seed: Count
    plain: list[_Class]
    tte: list[_Class] | None = None
    calibrated: list[_Class] | None = None


_ByGroup = Annotated[list[_Percent | None], pydantic.Field(min_length=4, max_length=4)]
_Share = Annotated[float, pydantic.Field(ge=0, le=1.001)]
_Bin = Annotated[list[_Share], pydantic.Field(min_length=3, max_length=3)]
_Bins = Annotated[list[_Bin], pydantic.Field(min_length=metrics.NUM_BINS, max_length=metrics.NUM_BINS)]


class Reliability(pydantic.BaseModel):
    """How far confidences can be believed: over all test images, and over those of many, medium and few.

    Attributes:
        calibration_error: the expected calibration errors, in percent; None where there are no images.
        bins: of each bin of confidence its share of the images, and their mean confidence and accuracy, from 0 to 1.
    """

    model_config = schema.STRICT
    calibration_error: _ByGroup
    bins: Annotated[list[_Bins], pydantic.Field(min_length=4, max_length=4)]


class Sets(pydantic.BaseModel):
    """Prediction sets on the test images: over all, and over those of many, medium and few.

    Attributes:
        coverage: the percentage of images whose true class they are meant to hold.
        covered: the percentage whose true class they hold.
        size: the mean number of classes in a set.
    """

    model_config = schema.STRICT
    coverage: _Percent
    covered: _ByGroup
    size: Annotated[list[Annotated[float, pydantic.Field(ge=0)] | None], pydantic.Field(min_length=4, max_length=4)]


class CalibrationResults(pydantic.BaseModel):
    """What the calibration does on the test images.

    Attributes:
        before, after: how far the run's confidences can be believed without it, and with it.
        sets: the prediction sets that go with it.
    """

    model_config = schema.STRICT
    before: Reliability
    after: Reliability
    sets: Sets


class _MultilabelSection(pydantic.BaseModel):
    """A section of eval.json of a run whose images have several labels; without thresholds there is no F1."""

    model_config = schema.STRICT
    map: _Percent
    many_map: _Percent | None
    med_map: _Percent | None
    few_map: _Percent | None
    macro_f1: _Percent | None = None
    micro_f1: _Percent | None = None
    num_examples: Count


class _MultilabelClass(pydantic.BaseModel):
    """What eval.json says of such a class; null where it is 0 of 0."""

    model_config = schema.STRICT
    name: str = pydantic.Field(alias="class")
    average_precision: _Percent | None
    precision: _Percent | None
    recall: _Percent | None
    f1: _Percent | None
    threshold: float
    chosen_by: Literal["own", "group", "all"]


class MultilabelResults(pydantic.BaseModel):
    """The schema of eval.json of a run whose images have several labels."""

    model_config = schema.STRICT
    plain: _MultilabelSection
    tte: _MultilabelSection | None = None
    validation: _MultilabelSection | None = None
    classes: dict[Literal["plain", "tte"], list[_MultilabelClass]]
    calibration: ClassVar[None] = None

    def metrics(self) -> dict[str, dict[str, float]]:
        """Gives the metrics by section, in percent; NaN where there is none."""
        return _metrics(self)


class Results(pydantic.BaseModel):
    """The schema of eval.json; those of older versions have no classes, and most runs no calibration."""

    model_config = schema.STRICT
    plain: _Section
    tte: _Section | None = None
    calibrated: _Section | None = None
    calibration: CalibrationResults | None = None
    classes: _Classes | None = None
    validation: _Section | None = None

    def metrics(self) -> dict[str, dict[str, float]]:
        """Gives the metrics by section, in percent; NaN where there is none."""
        return _metrics(self)


def _metrics(results: pydantic.BaseModel) -> dict[str, dict[str, float]]:
    sections = results.model_dump(exclude_unset=True, exclude={per_class.KEY, "calibration"})
    return {
        section: {key: np.nan if value is None else value for key, value in values.items()}
        for section, values in sections.items()
        if values is not None
    }


def read(file: epath.Path, task: str = "multiclass") -> Results | MultilabelResults:
    """Reads and checks eval.json.

    Args:
        file: the file.
        task: `config.task` of the run.

    Raises:
        UserError: if the file cannot be read or is damaged.
    """
    return schema.read(file, MultilabelResults if task == "multilabel" else Results, _REMEDY)
