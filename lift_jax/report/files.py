"""What a finished run has left in its folder."""

import dataclasses
import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
from etils import epath

from lift_jax.errors import UserError, reason
from lift_jax.evaluation import per_class
from lift_jax.evaluation.per_class import PerClass
from lift_jax.evaluation.tasks import TASKS, Task
from lift_jax.report import predictions_file, results_file
from lift_jax.report.results_file import CalibrationResults
from lift_jax.workdir import config_file, metrics_file, record
from lift_jax.workdir.record import Record

_LOGGER = logging.getLogger(__name__)

SECTIONS = {
    "plain": "plain",
    "tte": "test-time ensembling",
    "calibrated": "calibrated",
    "validation": "held-out images",
}
"""The sections of eval.json, and what a reader calls them."""


@dataclasses.dataclass(frozen=True)
class RunFiles:
    """A run as it lies in its folder.

    Attributes:
        workdir: the folder.
        config: the resolved config, nested.
        record: what run.json says.
        results: the metrics of eval.json by section, in percent; NaN where there is none.
        lines: the lines of metrics.jsonl.
        predictions: the columns of predictions.npz.
        calibration: what the run's calibration does on the test images; None for a run without one.
    """

    workdir: epath.Path
    config: Mapping[str, Any]
    record: Record
    results: dict[str, dict[str, float]]
    lines: list[dict[str, Any]]
    predictions: Mapping[str, np.ndarray]
    calibration: CalibrationResults | None = None

    @property
    def headline(self) -> str:
        """The section whose predictions are shown: that of test-time ensembling where it is enabled."""
        return "tte" if "tte" in self.results else "plain"

    @property
    def task(self) -> Task:
        """The task of the run."""
        return TASKS[self.config["task"]]

    @property
    def right(self) -> np.ndarray:
        """Says of each test image whether it is predicted right, bool [n]."""
        return self.predictions["prediction"] == self.predictions["label"]

    def class_accuracy(self) -> np.ndarray:
        """Gives the percentage of each class's test images that are right, float64 [classes]; NaN where it has none."""
        labels, num_classes = self.predictions["label"], len(self.record.class_names)
        total = np.bincount(labels, minlength=num_classes)
        correct = np.bincount(labels[self.right], minlength=num_classes)
        return np.where(total > 0, 100 * correct / np.maximum(total, 1), np.nan)

    def per_class(self) -> PerClass:
        """Measures precision and recall of each class, as eval.json has them for the headline."""
        columns = self.predictions
        return per_class.measure(columns["label"], columns["prediction"], len(self.record.class_names))

    def group_names(self) -> np.ndarray:
        """Gives the name of each class's group: many, medium or few."""
        return np.array(["many", "medium", "few"])[self.record.class_groups]

    def curve(self, key: str, split: str = "train") -> tuple[list[int], list[float]]:
        """Gives the steps at which a value was logged, and the values; where it was null, it is left out."""
        points = [
            (line["step"], line[key]) for line in self.lines if line["split"] == split and line.get(key) is not None
        ]
        return [step for step, _ in points], [value for _, value in points]


def read(workdir: epath.PathLike) -> RunFiles:
    """Reads and checks the files of an evaluated run.

    Raises:
        UserError: if the folder is no run, of another version, or has not been evaluated yet; or if a file is damaged.
    """
    workdir = epath.Path(workdir)
    known = record.read(workdir)
    missing = [name for name in ("config.json", "eval.json", "predictions.npz") if not (workdir / name).is_file()]
    if missing:
        raise UserError(f"The run {workdir} has no {missing[0]} yet; let it end, or evaluate it with --mode eval.")
    config = config_file.read(workdir).to_dict()
    read_rows = predictions_file.read_scores if TASKS[config["task"]].has_thresholds else predictions_file.read
    predictions = read_rows(workdir / "predictions.npz", known.test_counts)
    results, lines = results_file.read(workdir / "eval.json", config["task"]), _lines(workdir / metrics_file.FILE)
    return RunFiles(workdir, config, known, results.metrics(), lines, predictions, results.calibration)


def _lines(file: epath.Path) -> list[dict[str, Any]]:
    """Reads metrics.jsonl; a zero-shot run has none. The curves do without the lines that are torn."""
    if not file.is_file():
        return []
    try:
        lines, left_out = metrics_file.parse(file.read_bytes())
    except OSError as error:
        raise UserError(f"{file} cannot be read ({reason(error)}); get permission, or remove the file.") from error
    if left_out:
        _LOGGER.warning(f"{file}: {left_out} of its lines could not be read and are left out of the curves.")
    return [values for _, values in lines]


def percent(value: float) -> str:
    """Formats a number with one decimal, or as a dash where it is NaN."""
    return "–" if np.isnan(value) else f"{value:.1f}"


def interval(ends: np.ndarray) -> str:
    """Formats the two ends of an interval, or a dash where there is none."""
    return "–" if np.isnan(ends).any() else f"{ends[0]:.1f} to {ends[1]:.1f}"


def _classes(count: int) -> str:
    return f"{count:,} class{'' if count == 1 else 'es'}"


def metric_rows(run: RunFiles) -> list[tuple[str, str]]:
    """Lists what the table of metrics shows: what a reader calls a metric, and its key in eval.json."""
    groups = run.group_names()
    sizes = {group: int(np.count_nonzero(groups == group)) for group in ("many", "medium", "few")}
    columns = [
        (f"{name}, {_classes(sizes[name])}" if name in sizes else name, key) for name, key in run.task.columns.items()
    ]
    if run.task.has_thresholds:
        return columns
    return [
        *columns,
        ("worst class", "worst_case_acc"),
        ("harmonic mean of classes", "hmean_acc"),
        ("geometric mean of classes", "gmean_acc"),
        ("macro F1", "macro_f1"),
        ("calibration error", "expected_calibration_error"),
    ]
