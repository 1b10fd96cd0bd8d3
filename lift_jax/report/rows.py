"""The rows of a comparison: which runs belong together, and in what the rows differ."""

import dataclasses
import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np
from etils import epath

from lift_jax.errors import UserError
from lift_jax.report.files import RunFiles
from lift_jax.text import printable
from lift_jax.workdir import config_file


@dataclasses.dataclass(frozen=True)
class Row:
    """Runs whose configs differ in the seed alone, or in keys on which no result depends (see `lift_jax.config.keys`).

    Attributes:
        name: what tells them from the others.
        runs: one or more.
    """

    name: str
    runs: list[RunFiles]

    def values(self, key: str) -> list[float]:
        """Gives a metric of each run, in percent: with test-time ensembling where it was enabled."""
        return [run.results[run.headline].get(key, float("nan")) for run in self.runs]

    @property
    def parameters(self) -> int:
        """The number of trained parameters."""
        return self.runs[0].record.trainable_parameters

    def curve(self, key: str) -> tuple[np.ndarray, np.ndarray]:
        """Gives the steps that all runs have logged, and the mean of what they logged then."""
        curves = [dict(zip(*run.curve(key), strict=True)) for run in self.runs]
        steps = sorted(set.intersection(*map(set, curves)))
        return np.array(steps), np.array([statistics.fmean(curve[step] for curve in curves) for step in steps])


def group(runs: Sequence[RunFiles]) -> list[Row]:
    """Makes one row of all runs that differ in nothing but the seed (see `Row`), in the order of the first of each."""
    flat, differing = [_values(run) for run in runs], differing_keys(runs) or ["method"]
    rows: dict[str, list[RunFiles]] = {}
    for run, values in zip(runs, flat, strict=True):
        name = ", ".join(_said(key, values.get(key)) for key in differing)
        rows.setdefault(name, []).append(run)
    return [Row(name, members) for name, members in rows.items()]


def differing_keys(runs: Sequence[RunFiles]) -> list[str]:
    """Gives the keys of the config, but for the seed, in which runs differ and on which results depend."""
    flat = [_values(run) for run in runs]
    keys = sorted(set().union(*flat), key=lambda key: (key != "method", key))
    return [key for key in keys if len({str(values.get(key)) for values in flat}) > 1]


def _values(run: RunFiles) -> dict[str, Any]:
    return {key: value for key, value in config_file.effective(run.config).items() if key != "seed"}


def _said(key: str, value: Any) -> str:
    return printable(value if key == "method" else f"{key}={value}")


def find_runs(folders: Sequence[epath.PathLike]) -> list[epath.Path]:
    """Finds the runs that `folders` are, or have in them; one that is named twice is there once."""
    found: list[epath.Path] = []
    for folder in map(epath.Path, folders):
        inside = sorted(file.parent for file in folder.glob("*/config.json"))
        if (folder / "config.json").is_file():
            found.append(folder)
        elif inside:
            found += inside
        else:
            raise UserError(f"{folder} is no run of lift_jax, and has none in it: there is no config.json.")
    return list({folder.resolve(): folder for folder in reversed(found)}.values())[::-1]
