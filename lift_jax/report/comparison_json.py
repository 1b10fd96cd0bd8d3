"""Runs side by side, for programs."""

import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np
from etils import epath

from lift_jax.report import files
from lift_jax.report.comparison import Row, find_runs, group


def summary(folders: Sequence[epath.PathLike]) -> list[dict[str, Any]]:
    """Gives what the table of a comparison has, and all other metrics.

    Args:
        folders: of runs, or of several runs (a sweep's workdir).

    Returns:
        A dictionary for each row (see `lift_jax.report.comparison.Row`): its name, the folders of its runs, the number
        of trained parameters, and the metrics of eval.json by their keys, in percent, each with its mean and its
        standard deviation over the runs; null where there is none.

    Raises:
        UserError: if a folder is no evaluated run of this version, or has none in it.
    """
    return [_row(row) for row in group([files.read(folder) for folder in find_runs(folders)])]


def _row(row: Row) -> dict[str, Any]:
    keys = row.runs[0].results[row.runs[0].headline]
    return {
        "name": row.name,
        "runs": [str(run.workdir) for run in row.runs],
        "trained_parameters": row.parameters,
        "metrics": {key: _spread(row.values(key)) for key in keys if key != "num_examples"},
    }


def _spread(values: Sequence[float]) -> dict[str, float | None]:
    if np.isnan(values).any():
        return {"mean": None, "deviation": None}
    return {"mean": statistics.fmean(values), "deviation": statistics.stdev(values) if len(values) > 1 else None}
