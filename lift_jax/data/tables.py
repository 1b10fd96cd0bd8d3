"""Tables: CSV files, and the `metadata.csv` or `metadata.jsonl` that Hugging Face image folders have."""

import dataclasses
import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from lift_jax.data import delimited, text
from lift_jax.data.dataset import Dataset
from lift_jax.data.image_groups import warn_of_divided
from lift_jax.data.labels import number_or_name, whole_number
from lift_jax.data.lists import from_paths
from lift_jax.data.reading import is_folder, list_folder
from lift_jax.data.shown import shown, some
from lift_jax.data.splits import hold_out, warn_of_unused
from lift_jax.errors import UserError
from lift_jax.files import parse_json

_PATH = ("file_name", "path", "file", "filename", "image", "image_path", "filepath")
_PATH += ("file_path", "image_file", "image_name", "image_id", "img", "img_path", "image_url", "url")
LABEL = ("label", "class", "category", "target", "class_name", "label_name")
LABEL += ("labels", "class_id", "label_id", "category_id", "class_idx", "label_idx", "text")
_NAME = ("class_name", "label_name", "category_name", "classname", "class", "category", "label", "target")
_SPLITS = {"train": "train", "training": "train"}
_SPLITS |= dict.fromkeys(("test", "testing", "val", "valid", "validation"), "test")
METADATA = ("metadata.csv", "metadata.jsonl")
_JSON_LINES = (".jsonl", ".ndjson")


class Row(NamedTuple):
    """One image of a table.

    Attributes:
        path: relative to the root.
        label: as it is written.
        name: the name of its class, or "" if there is no column for it beside that of the label.
        split: "train", "test" or "".
        group: what the column of groups has, or "" if none was asked for.
        where: the table and the line, for messages.
    """

    path: str
    label: str
    name: str
    split: str
    where: str
    group: str = ""


class Columns(NamedTuple):
    """What is written in a table.

    Attributes:
        lines: the line of each row.
        cells: the cells of each column by its name in small letters, with `_` for spaces and hyphens.
        spelt: each column's name as it is written.
    """

    lines: list[int]
    cells: dict[str, list[str]]
    spelt: dict[str, str]


def load_tables(
    root: str,
    train_table: str,
    test_table: str,
    class_names: str,
    name: str,
    val_fraction: float,
    seed: int,
    label_column: str = "",
    group_column: str = "",
) -> tuple[Dataset, Dataset]:
    """Loads both splits from tables with a column of paths, one of labels, and possibly one named `split`.

    Labels are integers 0 to n-1, or class names, which are then numbered in alphabetical order.

    Args:
        root: folder that the paths are relative to.
        train_table: the table; "" takes root/train/metadata.csv (or .jsonl), whose paths are relative to root/train,
            and the like for the test split, or else root/metadata.csv.
        test_table: the test split's; "" takes the rows of `train_table` whose `split` is test or val, or a held-out
            share.
        class_names: file of class names, or "" for those of the table.
        name: name of the data set.
        val_fraction: share of each class that becomes the test split where there is none.
        seed: chooses that share.
        label_column: the column of the labels; "" for the first one that is called so.
        group_column: the column that says which images belong together, such as patient; no split divides them. "" for
            none.

    Raises:
        UserError: if a file or column is missing, or the labels are neither integers 0 to n-1 nor names.
    """
    if not train_table:
        train_table, test_table, rows = find_metadata(root, lambda file: read_table(file, label_column, group_column))
    else:
        known = read_table(train_table, label_column, group_column)
        rows = [row._replace(split=row.split or "train") for row in known]
        tested = read_table(test_table, label_column, group_column) if test_table else []
        rows += [row._replace(split="test") for row in tested]
    if {row.split for row in rows} == {"test"}:
        raise UserError(f"{train_table} has no row of the training split.")
    labels = number_or_name([row.label for row in rows], [row.where for row in rows])
    parts: dict[str, tuple[list[str], list[Any]]] = {"train": ([], []), "test": ([], [])}
    for row, label in zip(rows, labels, strict=True):
        parts[row.split][0].append(row.path)
        parts[row.split][1].append(label)
    known = class_names or _names(rows, labels)
    groups = image_groups(rows) if group_column else {}
    if parts["test"][0]:
        train, test = from_paths(
            root, (train_table, *parts["train"]), (test_table or train_table, *parts["test"]), known, name
        )
        train = dataclasses.replace(train, image_groups=groups.get("train"))
        test = dataclasses.replace(test, image_groups=groups.get("test"))
        warn_of_divided(*split_groups(rows), group_column)
        warn_of_unused(val_fraction, named_test(train_table, test_table))
        return train, test
    whole, _ = from_paths(root, (train_table, *parts["train"]), (train_table, *parts["train"]), known, name)
    whole = dataclasses.replace(whole, image_groups=groups.get("train"))
    kept, held_out = hold_out(whole.labels, val_fraction, seed, whole.image_groups)
    return whole.subset(kept, f"{name} train"), whole.subset(held_out, f"{name} test")


def image_groups(rows: Sequence[Any]) -> dict[str, Int[np.ndarray, " images"]]:
    """Numbers the groups of the images, and gives those of each split's images."""
    _, numbers = np.unique([row.group for row in rows], return_inverse=True)
    splits = np.array([row.split for row in rows])
    return {split: numbers[splits == split] for split in ("train", "test")}


def named_test(train_table: str, test_table: str) -> str:
    """Gives what messages call the test split."""
    return test_table or f"in the column split of {train_table}"


def split_groups(rows: Sequence[Any]) -> tuple[set[str], set[str]]:
    """Gives the groups of the training and of the test images."""
    train, test = ({row.group for row in rows if row.group and row.split == split} for split in ("train", "test"))
    return train, test


def _names(rows: Sequence[Row], labels: Sequence[int] | Sequence[str]) -> dict[str, str]:
    """Gives the class name of each label, if the table has both."""
    first: dict[str, Row] = {}
    for row, label in zip(rows, labels, strict=True):
        if not row.name:
            continue
        other = first.setdefault(str(label), row)
        if other.name != row.name:
            raise UserError(
                f"{row.where} has the name '{shown(row.name)}' for the label {shown(label)}, but {other.where} has "
                f"'{shown(other.name)}'; write the same name in all rows of a label."
            )
    return {label: row.name for label, row in first.items()}


def read_table(path: str, label_column: str = "", group_column: str = "", may_lack_labels: bool = False) -> list[Row]:
    """Reads the rows of a CSV file, whatever its delimiter, or of a file of JSON lines.

    Args:
        path: the file.
        label_column: the column of the labels; "" for the first one that is called so.
        group_column: the column that says which images belong together; "" for none.
        may_lack_labels: whether the label of a row may be empty.

    Raises:
        UserError: if the file cannot be read, a column is missing, or a row has no path, no label, or no group.
    """
    lines, columns, _ = read_columns(path)
    label_column = find_column("label_column", label_column, columns, path)
    file_column, label_column, name_column = _roles(columns, label_column, path)
    if not lines:
        raise UserError(f"{path} has no rows; write a line for each image below the one that names the columns.")
    blank = [""] * len(lines)
    group_column = find_column("group_column", group_column, columns, path)
    wanted = file_column, label_column, name_column, "split", group_column
    used = [columns.get(each, blank) if each else blank for each in wanted]  # a column may have no name: pandas' index
    rows = []
    for line, file, label, name, split, group in zip(lines, *used, strict=True):
        if not file or not (label or may_lack_labels) or (group_column and not group):
            missing = file_column if not file else group_column if label or may_lack_labels else label_column
            raise UserError(f"{path} line {line} has no {missing}; write it, or take the line out.")
        where = f"{path} line {line}"
        rows.append(Row(file, label, name, split_of(split, where), where, group))
    check_splits_said(rows)
    return rows


def split_of(written: str, where: str) -> str:
    """Reads the split that a row says it belongs to: "train", "test", or "" where it says none.

    Raises:
        UserError: if there is no such split.
    """
    if written and written.lower() not in _SPLITS:
        raise UserError(f"{where} has the split '{shown(written)}'; write train, val or test.")
    return _SPLITS.get(written.lower(), "")


def check_splits_said(rows: Sequence[Any]) -> None:
    """Refuses a table of which some rows say their split and others do not."""
    if "" in (found := {row.split for row in rows}) and len(found) > 1:
        where = next(row.where for row in rows if not row.split)
        raise UserError(f"{where} has no split, and other lines have one; write train, val or test, or take it out.")


def read_columns(path: str, cell: "Callable[[Any], str] | None" = None) -> Columns:
    """Reads the columns of a CSV file, whatever its delimiter, or of a file of JSON lines.

    Args:
        path: the file.
        cell: makes a cell of a value of JSON; by default of texts and numbers, and an empty one of anything else.

    Raises:
        UserError: if the file cannot be read.
    """
    content = text.read(path)
    if path.lower().endswith(_JSON_LINES) or content.lstrip().startswith("{"):
        return _json_columns(content, path, cell or text_or_number)
    return _csv_columns(content, path)


def find_column(key: str, wanted: str, columns: Mapping[str, Sequence[str]], path: str) -> str:
    """Finds the column that a key of `config.data` names, as the table spells it; "" if none is wanted."""
    if not wanted:
        return ""
    found = [each for each in columns if _column_name(each) == _column_name(wanted.strip())]
    if not found:
        raise UserError(
            f"{path} has no column {shown(wanted)!r}, which config.data.{key} names; add it, or name one of "
            f"{some(list(columns))}."
        )
    return found[0]


def has_column(wanted: str, columns: Collection[str]) -> bool:
    """Tells whether a table has a column of this name, however it is spelt."""
    return _column_name(wanted.strip()) in map(_column_name, columns)


def is_table(path: str) -> bool:
    """Tells whether a file is a table whose first line names its columns, or of JSON lines, and not a list.

    One that is called a table and begins with names that are not known is one too, if its first line has no label.

    Raises:
        UserError: if the file cannot be read.
    """
    _, content = delimited.declared(text.read(path))
    if content.lstrip().startswith("{"):
        return True
    first = next((line for line in content.split("\n") if line.strip()), "")
    if any(_is_known(_header(first, delimiter, path)) for delimiter in delimited.DELIMITERS):
        return True
    last = re.split(r"[\s,;|]", first.strip())[-1].strip("\"'")
    return path.lower().endswith((".csv", ".tsv", *_JSON_LINES)) and whole_number(last) is None


def _roles(columns: Mapping[str, Sequence[str]], wanted: str, path: str) -> tuple[str, str, str]:
    """Tells the columns of the paths, of the labels, and of the class names, "" if there is none of these.

    Of several that may have the labels, the one that is wanted has them; or else the first one of whole numbers, and
    another one the names; or if there is none, the first one has them, and the names are in one that is called so.
    """
    file_column = file_column_of(columns)
    known = [wanted] if wanted else label_columns_of(columns)
    if file_column is None or not known:
        raise UserError(
            f"{path} has the columns {some(list(columns)) or '(none)'}; it needs one of {', '.join(_PATH[:6])} … and "
            f"one of {', '.join(LABEL[:6])} … in its first line, separated by a comma, semicolon, tab or bar; "
            "config.data.label_column names another one of labels."
        )
    numbers = [each for each in known if all(whole_number(cell) is not None for cell in columns[each])]
    label_column = (numbers or known)[0]
    names = [each for each in _NAME if each in columns and each != label_column]
    likely = (each for each in names if each.endswith("name") or (numbers and each not in numbers))
    return file_column, label_column, next(likely, "")


def file_column_of(columns: Collection[str]) -> str | None:
    """Finds the column of the images' paths."""
    return next((each for each in _PATH if each in columns), None)


def label_columns_of(columns: Collection[str]) -> list[str]:
    """Finds the columns that may have the labels, the likeliest first."""
    return [each for each in LABEL if each in columns]


def _csv_columns(content: str, path: str) -> Columns:
    """Reads the line of each row, and the cells of each column by its name."""
    delimiter, content = delimited.declared(content)
    first = next((line for line in content.split("\n") if line.strip()), "")
    headers = {each: _header(first, each, path) for each in (delimiter or delimited.DELIMITERS)}
    delimiter = max(headers, key=lambda each: (_is_known(headers[each]), len(headers[each])))
    header = headers[delimiter]
    named, *rows = delimited.rows(content, delimiter, path) or [delimited.Row(1, [])]
    for row in rows:
        if any(row.cells[len(header) :]):
            raise UserError(
                f"{path} line {row.line} has {len(row.cells)} cells, but there are {len(header)} columns; put a cell "
                f"that has the delimiter {delimiter!r} in it into quotes."
            )
        row.cells.extend([""] * (len(header) - len(row.cells)))
    cells = {name: [row.cells[place] for row in rows] for place, name in reversed(list(enumerate(header)))}
    for place, name in enumerate(header):
        if name in (*_PATH, *LABEL) and [row.cells[place] for row in rows] != cells[name]:
            raise UserError(
                f"{path} has two columns {shown(named.cells[place])} with different cells; leave the right one, or "
                "give them names of their own."
            )
    spelt = dict(reversed(list(zip(header, named.cells, strict=False))))
    return Columns([row.line for row in rows], {name: cells[name] for name in header}, spelt)


def _header(line: str, delimiter: str, path: str) -> list[str]:
    rows = delimited.rows(line, delimiter, path)
    return [_column_name(cell) for cell in rows[0].cells] if rows else []


def _column_name(cell: str) -> str:
    return re.sub(r"[\s-]+", "_", cell.lower())


def _is_known(header: Sequence[str]) -> bool:
    return not set(header).isdisjoint(_PATH) and not set(header).isdisjoint(LABEL)


def _json_columns(content: str, path: str, cell: Callable[[Any], str]) -> Columns:
    """Reads the line of each row, and the values of each key, from a file with a JSON object a line."""
    lines, rows = [], []
    spelt: dict[str, str] = {}
    for line_number, line in enumerate(content.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = parse_json(line)
        except ValueError as error:
            raise UserError(f"{path} line {line_number} is no valid JSON ({error}).") from error
        if not isinstance(row, dict):
            raise UserError(
                f'{path} line {line_number} is no JSON object; write one a line: {{"file_name": …, "label": …}}.'
            )
        lines.append(line_number)
        rows.append({key.strip().lower(): cell(value) for key, value in row.items()})
        spelt = {key.strip().lower(): key.strip() for key in row} | spelt
    names = dict.fromkeys(name for row in rows for name in row)
    return Columns(lines, {name: [row.get(name, "") for row in rows] for name in names}, spelt)


def text_or_number(value: Any) -> str:
    """Makes a cell of a text or number; anything else is none."""
    return str(value).strip() if isinstance(value, str | int | float) and not isinstance(value, bool) else ""


def find_metadata(root: str, read: Callable[[str], list[Any]]) -> tuple[str, str, list[Any]]:
    """Finds and reads the `metadata.csv` or `metadata.jsonl` files under root.

    Args:
        root: the folder of the images.
        read: reads the rows of a file, each with `path` and `split`.

    Returns:
        The tables of the training and the test split, "" for none of its own, and the rows of both.

    Raises:
        UserError: if there is none.
    """
    if not root:
        raise UserError(
            "config.data.root is empty; config.data.format=csv needs the folder that the images' paths are relative to."
        )
    present = list_folder(root)
    if file := _metadata_in(root, present):
        return file, "", [row._replace(split=row.split or "train") for row in read(file)]
    found: dict[str, str] = {}
    rows: list[Any] = []
    for folder in sorted(present):
        split = _SPLITS.get(folder.lower())
        if not split or split in found or not is_folder(os.path.join(root, folder)):
            continue
        if file := _metadata_in(os.path.join(root, folder), list_folder(os.path.join(root, folder))):
            found[split] = file
            rows += [row._replace(path=os.path.join(folder, row.path), split=split) for row in read(file)]
    if "train" not in found:
        raise UserError(
            f"{root} has no {' or '.join(METADATA)}, and neither has its folder train; set data.train_list to the "
            f"table."
        )
    return found["train"], found.get("test", ""), rows


def _metadata_in(folder: str, present: Collection[str]) -> str:
    name = next((each for each in METADATA if each in present), "")
    return name and os.path.join(folder, name)
