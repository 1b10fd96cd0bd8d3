"""predictions.npz: what a run's evaluation said of each test image."""

import io
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from etils import epath

from lift_jax.errors import UserError, reason

_COLUMNS = {"index": "iu", "label": "iu", "prediction": "iu", "confidence": "f"}
"""The columns, and the kinds of NumPy's types that they may have: whole numbers, or floats."""

_SCORES = {"index": "iu", "label": "b", "score": "f"}
"""Those of a run whose images have several labels."""


def read_scores(file: epath.Path, test_counts: Sequence[int]) -> Mapping[str, np.ndarray]:
    """Reads and checks the columns of a run whose images have several labels.

    Args:
        file: the file.
        test_counts: how many test images each class has.

    Returns:
        `index` (in the test split) as int64 [n], `label` as bool [n, classes], and `score`, the logits, as a float [n,
        classes].

    Raises:
        UserError: if the file cannot be read, or a column is missing or of another type or shape.
    """
    columns = _load(file, _SCORES)
    shape = columns["index"].size if "index" in columns else 0, len(test_counts)
    for name, kinds in _SCORES.items():
        if name not in columns:
            raise _damaged(file, f"the column {name} is missing")
        column = columns[name]
        if column.dtype.kind not in kinds or column.shape != (shape[:1] if name == "index" else shape):
            raise _damaged(file, f"the column {name} is {column.dtype} {list(column.shape)}")
    if not np.isfinite(columns["score"]).all():
        raise _damaged(file, "the column score has values that are not finite")
    if (columns["label"].sum(axis=0) > test_counts).any():
        raise _damaged(file, "the column label has more images of a class than the test_counts of run.json")
    return {**columns, "index": columns["index"].astype(np.int64)}


def read(file: epath.Path, test_counts: Sequence[int]) -> Mapping[str, np.ndarray]:
    """Reads and checks the columns of the headline evaluation.

    Args:
        file: the file.
        test_counts: how many test images each class has.

    Returns:
        `index` (in the test split), `label` and `prediction` as int64 [n], and `confidence` (0 to 1) as a float [n].

    Raises:
        UserError: if the file cannot be read, or a column is missing, of another type or length, or out of its range.
    """
    columns = _load(file, _COLUMNS)
    problem = _problem(columns, test_counts)
    if problem:
        raise _damaged(file, problem)
    return {
        name: columns[name].astype(np.int64) if kinds == "iu" else columns[name] for name, kinds in _COLUMNS.items()
    }


def _load(file: epath.Path, names: Iterable[str]) -> dict[str, np.ndarray]:
    try:
        with np.load(io.BytesIO(file.read_bytes()), allow_pickle=False) as saved:
            return {name: saved[name] for name in names if name in saved}
    except OSError as error:
        raise UserError(f"{file} cannot be read ({reason(error)}); evaluate the run again with --mode eval.") from error
    except Exception as error:  # NumPy, zipfile and zlib have no common base, and some of NumPy's advice would mislead
        raise _damaged(file, "it is no whole npz file of plain arrays") from error


def _problem(columns: Mapping[str, np.ndarray], test_counts: Sequence[int]) -> str | None:
    """Says what is wrong with the columns, or None."""
    rows = columns["label"].size if "label" in columns else 0
    for name, kinds in _COLUMNS.items():
        if name not in columns:
            return f"the column {name} is missing"
        column = columns[name]
        if column.dtype.kind not in kinds or column.shape != (rows,):
            return f"the column {name} is {column.dtype} {list(column.shape)}, among {rows} labels"
    limits = {"index": sum(test_counts) - 1, "label": len(test_counts) - 1, "prediction": len(test_counts) - 1}
    for name, most in (limits | {"confidence": 1}).items():
        column = columns[name]
        wrong = column[~((column >= 0) & (column <= most + (1e-3 if name == "confidence" else 0)))]
        if wrong.size:
            return f"the column {name} has {wrong[0]}, which is not from 0 to {most}"
    if len(np.unique(columns["index"])) < rows:
        return "the column index has an image twice"
    if (np.bincount(columns["label"].astype(np.int64), minlength=len(test_counts)) > test_counts).any():
        return "the column label has more images of a class than the test_counts of run.json"
    return None


def _damaged(file: epath.Path, problem: str) -> UserError:
    return UserError(f"{file} is damaged or of another run: {problem}; evaluate the run again with --mode eval.")
