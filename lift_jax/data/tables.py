"""CSV files, and the `metadata.csv` that Hugging Face image folders have."""

import csv
import io
import os
from collections.abc import Sequence

from lift_jax.data.dataset import Dataset, list_folder, read_bytes
from lift_jax.data.lists import from_paths
from lift_jax.data.splits import hold_out
from lift_jax.errors import UserError

_PATH = ("file_name", "path", "file", "filename", "image", "image_path", "filepath")
_LABEL = ("label", "class", "category", "target", "class_name", "label_name")
_SPLITS = {"train": "train", "training": "train"} | dict.fromkeys(("test", "val", "valid", "validation"), "test")

Rows = list[tuple[str, str, str]]
"""(path relative to root, label as written, "train", "test" or "")."""


def load_tables(
    root: str, train_table: str, test_table: str, class_names: str, name: str, val_fraction: float, seed: int
) -> tuple[Dataset, Dataset]:
    """Training and test split from CSV files with a column of paths, one of labels, and possibly one named `split`.

    Labels are integers 0 to n-1, or class names, which are then numbered in alphabetical order.

    Arguments:
        root: folder that the paths are relative to.
        train_table: the CSV file; "" takes root/train/metadata.csv, whose paths are relative to root/train, and the
            like for the test split, or else root/metadata.csv.
        test_table: the test split's; "" takes the rows of `train_table` whose `split` is test or val, or a held-out
            share.
        class_names: file of class names for integer labels, or "".
        name: name of the data set.
        val_fraction: share of each class that becomes the test split where there is none.
        seed: chooses that share.

    Raises:
        UserError: a file or column is missing, or the labels are neither integers 0 to n-1 nor names.
    """
    if not train_table:
        train_table, test_table, rows = _metadata(root)
    else:
        rows = [(path, label, split or "train") for path, label, split in read_table(train_table)]
        rows += [(path, label, "test") for path, label, _ in (read_table(test_table) if test_table else [])]
    if {split for _, _, split in rows} == {"test"}:
        raise UserError(f"{train_table} has no row of the training split.")
    names, numbers = _numbers([label for _, label, _ in rows], train_table)
    parts: dict[str, tuple[list[str], list[int]]] = {"train": ([], []), "test": ([], [])}
    for path, label, split in rows:
        parts[split][0].append(path)
        parts[split][1].append(numbers[label])
    known = class_names or names
    if parts["test"][0]:
        return from_paths(
            root, (train_table, *parts["train"]), (test_table or train_table, *parts["test"]), known, name
        )
    whole, _ = from_paths(root, (train_table, *parts["train"]), (train_table, *parts["train"]), known, name)
    kept, held_out = hold_out(whole.labels, val_fraction, seed)
    return whole.subset(kept, f"{name} train"), whole.subset(held_out, f"{name} test")


def read_table(path: str) -> Rows:
    """Rows of one CSV (or, by its ending, .tsv) file.

    Raises:
        UserError: the file cannot be read, a column is missing, or a row has no label.
    """
    text = read_bytes(path).decode("utf-8-sig", "replace")
    reader = csv.DictReader(io.StringIO(text), delimiter="\t" if path.endswith(".tsv") else ",", skipinitialspace=True)
    columns = {column.strip().lower(): column for column in reader.fieldnames or ()}
    path_column = next((columns[each] for each in _PATH if each in columns), None)
    label_column = next((columns[each] for each in _LABEL if each in columns), None)
    if path_column is None or label_column is None:
        raise UserError(
            f"{path} has the columns {', '.join(columns) or '(none)'}; it needs one of {', '.join(_PATH)} "
            f"and one of {', '.join(_LABEL)}."
        )
    split_column = columns.get("split")
    rows: Rows = []
    for row in reader:
        file, label = (row[path_column] or "").strip(), (row[label_column] or "").strip()
        if not file or not label:
            raise UserError(f"{path} line {reader.line_num} has no {path_column if not file else label_column}.")
        split = (row[split_column] or "").strip().lower() if split_column else ""
        if split and split not in _SPLITS:
            raise UserError(f"{path} line {reader.line_num} has the split {split!r}; write train, val or test.")
        rows.append((file, label, _SPLITS.get(split, "")))
    if not rows:
        raise UserError(f"{path} has no rows.")
    return rows


def _metadata(root: str) -> tuple[str, str, Rows]:
    """The `metadata.csv` files under root."""
    if not root:
        raise UserError(
            "config.data.root is empty; config.data.format=csv needs the folder that the images' paths are relative to."
        )
    present = list_folder(root)
    if "metadata.csv" in present:
        file = os.path.join(root, "metadata.csv")
        return file, "", [(path, label, split or "train") for path, label, split in read_table(file)]
    found: dict[str, str] = {}
    rows: Rows = []
    for folder in sorted(present):
        split = _SPLITS.get(folder)
        if split and split not in found and "metadata.csv" in list_folder(os.path.join(root, folder)):
            found[split] = os.path.join(root, folder, "metadata.csv")
            rows += [(os.path.join(folder, path), label, split) for path, label, _ in read_table(found[split])]
    if "train" not in found:
        raise UserError(f"{root} has no metadata.csv and no train/metadata.csv; set data.train_list to the CSV file.")
    return found["train"], found.get("test", ""), rows


def _numbers(labels: Sequence[str], where: str) -> tuple[Sequence[str], dict[str, int]]:
    """Class names ("" for integers) and the number of each label as written."""
    distinct = sorted(set(labels))
    if all(label.lstrip("-").isdigit() for label in distinct):
        return (), {label: int(label) for label in distinct}
    digits = [label for label in distinct if label.isdigit()]
    if digits:
        raise UserError(
            f"{where} mixes numbers ({digits[0]}) and names ({distinct[-1]}) in its labels; use one of them."
        )
    return distinct, {label: number for number, label in enumerate(distinct)}
