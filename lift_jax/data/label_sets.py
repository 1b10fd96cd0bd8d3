"""Sets of labels as people write them: in one cell of a table, or in one column of 0 and 1 for each class."""

import ast
import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from lift_jax.data.shown import shown, some
from lift_jax.data.tables import Columns, file_column_of, label_columns_of, text_or_number
from lift_jax.errors import UserError
from lift_jax.files import parse_json

_LOGGER = logging.getLogger(__name__)

SEPARATORS = "|;,"
_YES_NO = {"1": True, "1.0": True, "true": True, "yes": True, "0": False, "0.0": False, "false": False, "no": False}
_NO_CLASSES = ("split", "id", "index", "width", "height")


class LabelSets(NamedTuple):
    """The labels of each row of a table.

    Attributes:
        rows: the labels of each row, none, one or several, as they are written.
        classes: the names of the columns that are classes, in their order; None where labels are in one column.
    """

    rows: list[list[str]]
    classes: list[str] | None


def read(columns: Columns, wanted: str, ignored: str, path: str) -> LabelSets:
    """Reads the labels of each row.

    They are in the column that is wanted, or else in the first that is called label, labels, class or the like, unless
    that is a class itself, which has 0 and 1; then every column of 0 and 1 is a class, and an empty cell is a 0.

    Args:
        columns: what is written in the table.
        wanted: the column of the labels, if it is known; "" if not.
        ignored: the column of groups, which is no class; "" for none.
        path: the table, for messages.

    Raises:
        UserError: if there are no such columns, or how the labels are meant is not clear.
    """
    if wanted:
        return LabelSets(_of_cells(columns, wanted, path), None)
    lists = [name for name in label_columns_of(columns.cells) if not _is_class(columns.cells[name])]
    others = [name for name in columns.cells if name not in (file_column_of(columns.cells), ignored, *_NO_CLASSES)]
    classes = [name for name in others if _is_class(columns.cells[name])]
    if lists:
        if classes:
            _LOGGER.warning(
                "%s has its labels in the column %s; its columns of 0 and 1 are left out: %s.",
                path, columns.spelt[lists[0]], some([columns.spelt[name] for name in classes]),
            )  # fmt: skip
        return LabelSets(_of_cells(columns, lists[0], path), None)
    _check_classes(columns, [name for name in others if name not in classes], classes, path)
    flags = [[_YES_NO.get(cell.lower(), False) for cell in columns.cells[name]] for name in classes]
    names = [columns.spelt[name] for name in classes]
    rows = [[name for name, flag in zip(names, row, strict=True) if flag] for row in zip(*flags, strict=True)]
    return LabelSets(rows, names)


def json_cell(value: Any) -> str:
    """Makes a cell of a value of JSON: a list stays one, null is an empty cell, yes and no are 1 and 0."""
    if isinstance(value, bool):
        return str(int(value))
    return json.dumps(value) if isinstance(value, list) else text_or_number(value)


def _is_class(cells: Sequence[str]) -> bool:
    """Tells whether a column has 0 and 1 alone, or nothing in the place of 0."""
    given = {cell.lower() for cell in cells if cell}
    return bool(given) and given <= _YES_NO.keys()


def _check_classes(columns: Columns, others: Sequence[str], classes: Sequence[str], path: str) -> None:
    """Refuses a table without classes, and columns of which most but not all cells are 0 and 1."""
    for name in others:
        cells = columns.cells[name]
        wrong = [place for place, cell in enumerate(cells) if cell and cell.lower() not in _YES_NO]
        if 0 < len(wrong) < len(cells) / 2:
            raise UserError(
                f"{path} line {columns.lines[wrong[0]]} has {shown(cells[wrong[0]])!r} in the column "
                f"{shown(columns.spelt[name])!r}, whose other cells are 0 and 1; write 1 where the image is of the "
                "class and 0 where it is not, or take the column out."
            )
    if not classes:
        raise UserError(
            f"{path} has the columns {some(list(columns.spelt.values())) or '(none)'}; config.task=multilabel needs a "
            "column called labels with the labels of each image, such as cat|dog, or a column of 0 and 1 for each "
            "class."
        )
    if others:
        left_out = some([columns.spelt[name] for name in others])
        _LOGGER.info("%s: columns that have others than 0 and 1 are no classes: %s.", path, left_out)


def _of_cells(columns: Columns, name: str, path: str) -> list[list[str]]:
    """Reads the labels out of the cells of one column, all of which have the same separator."""
    cells = columns.cells[name]
    written = [_as_list(cell, f"{path} line {line}") for cell, line in zip(cells, columns.lines, strict=True)]
    plain = {line: cell for cell, line, known in zip(cells, columns.lines, written, strict=True) if known is None}
    separator = _separator(plain, columns.spelt[name], path)
    rows = []
    for cell, known in zip(cells, written, strict=True):
        parts = known if known is not None else cell.split(separator) if separator else [cell]
        rows.append([part.strip() for part in parts if part.strip()])
    return rows


def _separator(cells: Mapping[int, str], name: str, path: str) -> str:
    """Finds what stands between labels; "" where every cell has one label at most.

    Raises:
        UserError: if several characters may be that.
    """
    first = {each: line for each in SEPARATORS for line, cell in reversed(list(cells.items())) if each in cell}
    if len(first) > 1:
        found = " and ".join(f"{each!r} (line {line})" for each, line in first.items())
        raise UserError(
            f"{path} has {found} in the column {shown(name)!r}, and it is not clear which of them separates labels; "
            'write one of them alone between labels, or lists as JSON has them: ["a", "b, c"].'
        )
    if first:
        return next(iter(first))
    if cells:
        _LOGGER.info("%s: no cell of the column %s has a |, ; or , in it, so each is one label.", path, name)
    return ""


def _as_list(cell: str, where: str) -> list[str] | None:
    """Reads a list as JSON or Python writes it; None for a cell that does not begin like one."""
    if not cell.startswith("["):
        return None
    try:
        values = parse_json(cell)
    except ValueError:
        values = _python_list(cell)
    if not isinstance(values, list) or not all(isinstance(each, str | int) for each in values):
        raise UserError(
            f"{where} has the labels {shown(cell)}, which are no list of names or numbers; write such as "
            '["cat", "dog"], or cat|dog.'
        )
    return [str(each) for each in values]


def _python_list(cell: str) -> Any:
    try:
        return ast.literal_eval(cell)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
