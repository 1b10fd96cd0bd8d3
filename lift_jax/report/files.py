"""What a finished run has left in its folder."""

import dataclasses
import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from etils import epath

from lift_jax.errors import UserError
from lift_jax.evaluation import metrics
from lift_jax.workdir import record
from lift_jax.workdir.record import Record

SECTIONS = {"plain": "plain", "tte": "test-time ensembling"}
"""The sections of eval.json, and what a reader calls them."""


@dataclasses.dataclass(frozen=True)
class RunFiles:
    """A run as it lies in its folder.

    Attributes:
        workdir: the folder.
        config: the resolved config, nested.
        record: of run.json.
        results: the metrics by section, in percent; NaN where there is none.
        lines: of metrics.jsonl.
        predictions: the columns of predictions.npz.
    """

    workdir: epath.Path
    config: Mapping[str, Any]
    record: Record
    results: dict[str, dict[str, float]]
    lines: list[dict[str, Any]]
    predictions: Mapping[str, np.ndarray]

    @property
    def headline(self) -> str:
        """The section whose predictions are shown: test-time ensembling where it is enabled."""
        return "tte" if "tte" in self.results else "plain"

    @property
    def right(self) -> np.ndarray:
        """Whether each test image is predicted right, bool [n]."""
        return self.predictions["prediction"] == self.predictions["label"]

    def class_accuracy(self) -> np.ndarray:
        """Percent of each class's test images that are right, NaN for a class that has none, float64 [classes]."""
        labels, num_classes = self.predictions["label"], len(self.record.class_names)
        total = np.bincount(labels, minlength=num_classes)
        correct = np.bincount(labels[self.right], minlength=num_classes)
        return np.where(total > 0, 100 * correct / np.maximum(total, 1), np.nan)

    def group_names(self) -> np.ndarray:
        """The group of each class: many, medium, few."""
        return np.array(["many", "medium", "few"])[self.record.class_groups]

    def curve(self, key: str, split: str = "train") -> tuple[list[int], list[float]]:
        """Steps and values of what was logged."""
        points = [
            (line["step"], line[key]) for line in self.lines if line["split"] == split and line.get(key) is not None
        ]
        return [step for step, _ in points], [value for _, value in points]


def read(workdir: epath.PathLike) -> RunFiles:
    """A run's files.

    Raises:
        UserError: if the folder is no run, of another version, or has not been evaluated yet.
    """
    workdir = epath.Path(workdir)
    known = record.read(workdir)
    missing = [name for name in ("config.json", "eval.json", "predictions.npz") if not (workdir / name).is_file()]
    if missing:
        raise UserError(f"The run {workdir} has no {missing[0]} yet; let it end, or evaluate it with --mode eval.")
    try:
        config = json.loads((workdir / "config.json").read_text(encoding="utf-8"))
        results = json.loads((workdir / "eval.json").read_text(encoding="utf-8"))
        with np.load(io.BytesIO((workdir / "predictions.npz").read_bytes()), allow_pickle=False) as saved:
            predictions = dict(saved)
    except (OSError, ValueError) as error:
        raise UserError(f"The run {workdir} cannot be read ({error}); evaluate it again with --mode eval.") from error
    numbers = {
        section: {key: np.nan if value is None else value for key, value in values.items()}
        for section, values in results.items()
    }
    return RunFiles(workdir, config, known, numbers, _lines(workdir / "metrics.jsonl"), predictions)


def _lines(file: epath.Path) -> list[dict[str, Any]]:
    if not file.is_file():
        return []
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.endswith("}")]


def percent(value: float) -> str:
    """One decimal, or a dash where there is no value."""
    return "–" if np.isnan(value) else f"{value:.1f}"


def _classes(number: int) -> str:
    return f"{number:,} class{'' if number == 1 else 'es'}"


def metric_rows(run: RunFiles) -> list[tuple[str, str]]:
    """What the table of metrics shows: a reader's name and the key in eval.json."""
    groups = run.group_names()
    sizes = {group: int(np.count_nonzero(groups == group)) for group in ("many", "medium", "few")}
    columns = [
        (f"{name}, {_classes(sizes[name])}" if name in sizes else name, key) for name, key in metrics.COLUMNS.items()
    ]
    return [
        *columns,
        ("worst class", "worst_case_acc"),
        ("harmonic mean of classes", "hmean_acc"),
        ("geometric mean of classes", "gmean_acc"),
        ("macro F1", "macro_f1"),
        ("calibration error", "expected_calibration_error"),
    ]
