"""The tables that people write for a decision: the classes that can occur, a prior, costs, a taxonomy."""

import itertools
import math
import os
import re
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from lift_jax.data import delimited, named_classes, text
from lift_jax.data.labels import whole_number
from lift_jax.data.matching import fold
from lift_jax.data.shown import and_more, shown
from lift_jax.errors import UserError
from lift_jax.files import expand
from lift_jax.inference.deciding import Rank, Rollup, prior_weights

_CLASS_HEADERS = ("class", "name", "class_name", "label", "species")
_LARGEST = 64 << 20
"""Bytes of such a file; the taxonomy of iNaturalist 2018 has less than one million."""


class _Table(NamedTuple):
    """A table as it is written.

    Attributes:
        where: the file, for messages.
        rows: its rows, the header if there is one among them.
    """

    where: str
    rows: list[delimited.Row]


def read_only(path: str | os.PathLike[str], class_names: Sequence[str]) -> list[int]:
    """Reads which classes can occur, and gives their labels, each once.

    Args:
        path: a text file with the name or label of a class in each line, or in the first column of each.
        class_names: the names of all classes, in label order.

    Raises:
        UserError: if the file cannot be read or names no class, or a name is no class.
    """
    path = expand(os.fspath(path), "The list of classes")
    _, content = delimited.declared(text.read(path, largest=_LARGEST))
    known = {fold(name) for name in class_names}
    names = [_first_cell(line.strip(), known, path) for line in content.split("\n") if line.strip()]
    if names and re.split(r"[,;\t|]", names[0].lower())[0].strip('"') in _CLASS_HEADERS and fold(names[0]) not in known:
        names = names[1:]
    if not names:
        raise UserError(f"{path} names no class; write the classes that can occur, one a line.")
    return sorted(set(named_classes.find(names, class_names, path)))


def _first_cell(line: str, known: Collection[str], where: str) -> str:
    """Gives the class of a line: all of it, since a name may have a comma in it, or else its first cell."""
    if fold(line) in known:
        return line
    cells = (row.cells[0] for each in delimited.DELIMITERS for row in delimited.rows(line, each, where))
    shorter = [cell for cell in cells if cell != line]
    return next((cell for cell in shorter if fold(cell) in known or whole_number(cell) is not None), line)


def read_prior(
    path: str | os.PathLike[str], class_names: Sequence[str], only: Sequence[int] | None = None
) -> Float[np.ndarray, " classes"]:
    """Reads how frequent the classes are.

    Args:
        path: a table with a class and its weight (a share, a percentage or a number of images) in each row.
        class_names: the names of all classes, in label order.
        only: the labels of the classes that can occur and need a weight, None for all.

    Returns:
        The weight of each class, NaN for those that the table does not have and that cannot occur.

    Raises:
        UserError: if the file cannot be read, a weight is no number of at least 0, or a class is unknown,
            missing, or there twice.
    """
    table = _table(expand(os.fspath(path), "The prior"))
    rows = _with_cells(table, 2, class_names, "a class and its weight, such as: cat, 12")
    weights = np.full(len(class_names), np.nan)
    for label, row in _by_class(table.where, rows, class_names).items():
        weights[label] = _amount(row, row.cells[1], table.where, "weight")
    possible = np.full(len(class_names), only is None)
    possible[[] if only is None else list(only)] = True
    if not np.any(prior_weights(weights, class_names, possible, table.where) > 0):
        raise UserError(f"{table.where} has no weight above 0; write one for a class that can occur.")
    return weights


def read_costs(path: str | os.PathLike[str], class_names: Sequence[str]) -> Float[np.ndarray, "classes classes"]:
    """Reads what wrong answers cost.

    Args:
        path: a table whose rows have the true class, the class that is answered, and what this costs. Pairs that it
            does not have cost 1, and right answers 0.
        class_names: the names of all classes, in label order.

    Returns:
        The costs, the true classes in rows and the answers in columns.

    Raises:
        UserError: if the file cannot be read, a cost is no number of at least 0, or a class is unknown, or a pair comes
            twice.
    """
    table = _table(expand(os.fspath(path), "The costs"))
    form = "the true class, the answer and the cost, such as: death cap, champignon, 1000"
    rows = _with_cells(table, 3, class_names, form)
    names = [cell for row in rows for cell in row.cells[:2]]
    labels = named_classes.find(names, class_names, table.where)
    costs = 1 - np.eye(len(class_names))
    seen: set[tuple[int, int]] = set()
    for row, pair in zip(rows, zip(labels[::2], labels[1::2], strict=True), strict=True):
        if pair in seen:
            raise UserError(
                f"{table.where} line {row.line} has the pair '{shown(row.cells[0])}' and '{shown(row.cells[1])}' a "
                "second time; write it in one line."
            )
        seen.add(pair)
        costs[pair] = _amount(row, row.cells[2], table.where, "cost")
    return costs


def read_rollup(path: str | os.PathLike[str], class_names: Sequence[str], threshold: float = 0.8) -> Rollup:
    """Reads the taxonomy of the classes.

    Args:
        path: a table with a row for each class: its name, then its group in each rank, from the most specific to the
            coarsest. The first line has the names of the ranks.
        class_names: the names of all classes, in label order.
        threshold: see `Rollup`.

    Raises:
        UserError: if the file cannot be read, a class is missing, unknown or comes twice, a cell is empty, or a group
            lies in two groups of the next rank.
    """
    table = _table(expand(os.fspath(path), "The taxonomy"))
    header, *rows = table.rows
    if len(header.cells) < 2 or not rows:
        raise UserError(
            f"{table.where} is no taxonomy; write the columns class,genus,family (or other ranks) in its first line, "
            "and a class and its groups in each of the others."
        )
    groups: list[list[str]] = [[] for _ in class_names]
    for label, row in _by_class(table.where, rows, class_names).items():
        cells = row.cells[1:]
        if len(cells) != len(header.cells) - 1 or not all(cells):
            raise UserError(
                f"{table.where} line {row.line} has no group in some rank; fill in all of its "
                f"{len(header.cells)} columns."
            )
        groups[label] = cells
    if absent := [name for name, found in zip(class_names, groups, strict=True) if not found]:
        raise UserError(
            f"{table.where} has no line for the class '{shown(absent[0])}'{and_more(absent, 1)}; write one for each "
            "class."
        )
    ranks = [
        _rank(name, list(column)) for name, column in zip(header.cells[1:], zip(*groups, strict=True), strict=True)
    ]
    classes = Rank(header.cells[0] or "class", tuple(class_names), np.arange(len(class_names)))
    if split := _split(ranks):
        fine, coarse, name = split
        raise UserError(
            f"{table.where} has the {shown(fine)} '{shown(name)}' in more than one {shown(coarse)}; write the "
            "ranks from the most specific to the coarsest, and each group in one group of the next rank."
        )
    return Rollup((classes, *ranks), threshold)


def _rank(name: str, column: Sequence[str]) -> Rank:
    groups, members = np.unique(np.array(column, dtype=object), return_inverse=True)
    return Rank(name, tuple(groups.tolist()), members.reshape(-1))


def _split(ranks: Sequence[Rank]) -> tuple[str, str, str] | None:
    """Finds a group that does not lie within one group of the next rank: both ranks, and its name; None if all do."""
    for fine, coarse in itertools.pairwise(ranks):
        parents = np.full(len(fine.groups), -1)
        parents[fine.members] = coarse.members
        apart = np.flatnonzero(parents[fine.members] != coarse.members)
        if apart.size:
            return fine.name, coarse.name, fine.groups[fine.members[apart[0]]]
    return None


def _table(path: str) -> _Table:
    """Reads a table, whatever its delimiter: the one that gives the first line the most cells."""
    delimiter, content = delimited.declared(text.read(path, largest=_LARGEST))
    first = next((line for line in content.split("\n") if line.strip()), "")
    if not first:
        raise UserError(f"{path} is empty; write a class in each line.")
    if not delimiter:
        delimiter = max(delimited.DELIMITERS, key=lambda each: len(delimited.rows(first, each, path)[0].cells))
    return _Table(path, delimited.rows(content, delimiter, path))


def _with_cells(table: _Table, count: int, class_names: Sequence[str], form: str) -> list[delimited.Row]:
    """Gives the rows without the header, which is a first line with neither a class nor a number."""
    rows, first = table.rows, table.rows[0].cells
    if _number(first[-1]) is None and fold(first[0]) not in map(fold, class_names):
        rows = rows[1:]
    if not rows:
        raise UserError(f"{table.where} has no rows; write {form}.")
    for row in rows:
        if len(row.cells) < count or any(row.cells[count:]):
            raise UserError(
                f"{table.where} line {row.line} has {len(row.cells)} columns, but {count} are needed; write {form}."
            )
    return rows


def _by_class(where: str, rows: Sequence[delimited.Row], class_names: Sequence[str]) -> dict[int, delimited.Row]:
    """Finds the row of each label by the first cells, each of which names a class that no other row has."""
    labels = named_classes.find([row.cells[0] for row in rows], class_names, where)
    found: dict[int, delimited.Row] = {}
    for label, row in zip(labels, rows, strict=True):
        if label in found:
            raise UserError(
                f"{where} line {row.line} has the class '{shown(class_names[label])}' a second time; write it in one "
                "line."
            )
        found[label] = row
    return found


def _amount(row: delimited.Row, cell: str, where: str, kind: str) -> float:
    value = _number(cell)
    if value is None or not math.isfinite(value) or value < 0:
        raise UserError(
            f"{where} line {row.line} has the {kind} '{shown(cell)}'; write a number of at least 0, such as 0.5."
        )
    return value


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None
