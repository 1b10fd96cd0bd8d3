"""Data sets whose images have several labels each, or one, or none: `config.task=multilabel`."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

from lift_jax.data import classnames, label_sets, tables
from lift_jax.data.dataset import Dataset, FileSource
from lift_jax.data.image_groups import warn_of_divided
from lift_jax.data.listed_files import find_files
from lift_jax.data.matching import in_order, match
from lift_jax.data.shown import shown, some
from lift_jax.data.splits import hold_out, warn_of_unused
from lift_jax.errors import UserError


class _Row(NamedTuple):
    """One image of a table; for the attributes see `lift_jax.data.tables.Row`."""

    path: str
    labels: list[str]
    split: str
    where: str
    group: str = ""


def load_multilabel(
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
    """Loads both splits from tables with a column of paths and the labels of each image.

    The labels are in one column, or in a column of 0 and 1 for each class (see `label_sets.read`), whose order is then
    that of the classes; else it is that of `matching.in_order`.

    Args:
        root, train_table, test_table, class_names, name, val_fraction, seed, label_column, group_column: see
            `tables.load_tables`.

    Raises:
        UserError: if a file or column is missing, an image of the test split has a label that no training image has, or
            no image has a label.
    """
    reader = _Reader(label_column, group_column)
    if not train_table:
        train_table, test_table, rows = tables.find_metadata(root, reader)
    else:
        rows = [row._replace(split=row.split or "train") for row in reader(train_table)]
        rows += [row._replace(split="test") for row in (reader(test_table) if test_table else [])]
    parts = {split: [row for row in rows if row.split == split] for split in ("train", "test")}
    if not parts["train"]:
        raise UserError(f"{train_table} has no row of the training split.")
    labels = reader.classes or in_order(label for row in parts["train"] for label in row.labels)
    if not labels:
        raise UserError(f"{train_table} has no label in any row of the training split; write what each image shows.")
    thing = "column" if reader.classes else "label"
    classes = classnames.of_labels(labels, class_names, thing, train_table)
    groups = tables.image_groups(rows) if group_column else {}
    train, test = (
        Dataset(
            f"{name} {split}",
            FileSource(root, tuple(find_files(root, [row.path for row in parts[split]], where))),
            _matrix(parts[split], labels, train_table),
            classes.names,
            classes.source,
            groups.get(split),
        )
        for split, where in (("train", train_table), ("test", test_table or train_table))
    )
    if parts["test"]:
        warn_of_divided(*tables.split_groups(rows), group_column)
        warn_of_unused(val_fraction, tables.named_test(train_table, test_table))
        return train, test
    kept, held_out = hold_out(train.labels, val_fraction, seed, train.image_groups)
    return train.subset(kept), dataclasses.replace(train, name=f"{name} test").subset(held_out)


class _Reader:
    """Reads the rows of tables, and remembers which columns are classes."""

    def __init__(self, label_column: str, group_column: str):
        self._label_column = label_column
        self._group_column = group_column
        self.classes: list[str] | None = None
        self._first = ""

    def __call__(self, path: str) -> list[_Row]:
        columns = tables.read_columns(path, label_sets.json_cell)
        file_column = tables.file_column_of(columns.cells)
        if file_column is None:
            raise UserError(
                f"{path} has the columns {some(list(columns.spelt.values())) or '(none)'}; it needs one called "
                "file_name or path in its first line, with the path of each image."
            )
        if not columns.lines:
            raise UserError(f"{path} has no rows; write a line for each image below the one that names the columns.")
        label = tables.find_column("label_column", self._label_column, columns.cells, path)
        group = tables.find_column("group_column", self._group_column, columns.cells, path)
        found = label_sets.read(columns, label, group, path)
        self._remember(found.classes, path)
        blank = [""] * len(columns.lines)
        used = [columns.cells.get(each, blank) if each else blank for each in (file_column, "split", group)]
        rows = []
        for line, labels, file, split, own_group in zip(columns.lines, found.rows, *used, strict=True):
            where = f"{path} line {line}"
            if not file or (group and not own_group):
                missing = group if file else file_column
                raise UserError(f"{where} has no {missing}; write it, or take the line out.")
            rows.append(_Row(file, labels, tables.split_of(split, where), where, own_group))
        tables.check_splits_said(rows)
        return rows

    def _remember(self, classes: list[str] | None, path: str) -> None:
        """Refuses tables of different classes."""
        if self._first and (differ := set(self.classes or []) ^ set(classes or [])):
            raise UserError(
                f"{path} and {self._first} have different columns of 0 and 1: {some(sorted(differ))} is in one of them "
                "alone; give both the same classes, each with a column."
            )
        self.classes, self._first = self.classes or classes, self._first or path


def _matrix(rows: Sequence[_Row], classes: Sequence[str], train_table: str) -> Bool[np.ndarray, "images classes"]:
    """Says of each image and class whether the image is of the class."""
    matrix = np.zeros((len(rows), len(classes)), bool)
    places = {label: place for place, label in enumerate(classes)}
    for index, row in enumerate(rows):
        for label in row.labels:
            if label not in places:
                places[label] = _other_spelling(label, row.where, classes, train_table)
            matrix[index, places[label]] = True
    return matrix


def _other_spelling(label: str, where: str, classes: Sequence[str], train_table: str) -> int:
    found = match([label], classes)
    if found is None:
        raise UserError(
            f"{where} has the label '{shown(label)}', which no training image of {train_table} has; add images of it "
            f"there, or take it out (the classes are {some(list(classes))})."
        )
    return found[0]
