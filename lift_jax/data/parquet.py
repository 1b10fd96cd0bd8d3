"""Data sets of the Hugging Face hub as they lie on a disk: Parquet files, or what `save_to_disk` has written."""

import logging
import os
import posixpath
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lift_jax.data import arrow_files, labelled, remote_copies, shards
from lift_jax.data.arrow_files import ARROW, PARQUET
from lift_jax.data.dataset import Dataset, source_path
from lift_jax.data.image_groups import warn_of_divided
from lift_jax.data.labelled import Labelled
from lift_jax.data.labels import number_or_name
from lift_jax.data.reading import printable
from lift_jax.data.shown import some
from lift_jax.data.spans import SpanSource
from lift_jax.data.tables import LABEL
from lift_jax.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

_LOGGER = logging.getLogger(__name__)

_IMAGE = ("image", "img", "picture", "photo", "jpg", "png", "webp")
_LABEL = tuple(name for name in LABEL if name != "text")  # which is a caption where images are columns


class Columns(NamedTuple):
    """The columns of a file that are read.

    Attributes:
        image, label: their names.
        class_names: what the labels mean, None if the file does not say it.
        group: the column of what no split divides, "" for none.
    """

    image: str
    label: str
    class_names: tuple[str, ...] | None
    group: str

    @property
    def others(self) -> list[str]:
        """The columns beside that of the images, each once."""
        return list(dict.fromkeys(filter(None, (self.label, self.group))))


def load_parquet(
    root: str,
    train_split: str,
    test_split: str,
    class_names: str,
    name: str,
    val_fraction: float,
    seed: int,
    label_column: str = "",
    group_column: str = "",
) -> tuple[Dataset, Dataset]:
    """Loads both splits from Parquet or Arrow files with a column of images and one of labels.

    Args:
        root: a folder of such files, or one of them.
        train_split, test_split: names of splits, which the names of the files or of their folders say; "" takes
            `train`, and `test` or else `validation`.
        class_names: file of class names; "" for those of the files.
        name: name of the data set.
        val_fraction: share of each class that becomes the test split where there is only one.
        seed: chooses that share.
        label_column, group_column: the columns of the labels, "" for the one that there is; and of what no split
            divides, "" for none.

    Raises:
        UserError: there are no such files, one is damaged, a column is missing, or an image has no label.
    """
    arrow_files.require("config.data.format=parquet")
    found = shards.find(root, (PARQUET, ARROW), train_split, test_split)
    wanted = label_column, group_column
    train = _read(found, found.names[0], found.train, wanted)
    tested = {found.names[1]: found.test, **({} if test_split else found.further)} if found.test else {}
    for split, files in tested.items():
        test = _read(found, split, files, wanted)
        if not _is_unlabelled(test):
            _check_labelled(test)
            break
        _LOGGER.warning("%s has no labels (all are -1).", test.where)
    else:
        test = None
    if tested and test is None:
        raise UserError(
            f"{printable(root)} has no labels in its split {some(list(tested))}; name one that has them with "
            "config.data.test_list, or hold out a share of the training split with config.data.val_fraction."
        )
    _check_labelled(train)
    if test is not None:
        warn_of_divided(train.groups or [], test.groups or [], group_column)
    return labelled.splits(train, test, class_names, name, val_fraction, seed)


def _read(found: shards.Shards, split: str, files: Sequence[str], wanted: tuple[str, str]) -> Labelled:
    """Reads the files of a split."""
    paths = [os.path.join(found.root, file) for file in files]
    where = f"{printable(found.root or os.curdir)} (split {split})"
    local = remote_copies.fetch(paths)
    columns = [
        find_columns(arrow_files.read_schema(file), path, *wanted) for file, path in zip(local, paths, strict=True)
    ]
    if different := [path for path, each in zip(paths, columns, strict=True) if each != columns[0]]:
        raise UserError(
            f"{printable(different[0])} has other columns or classes than {printable(paths[0])}; take one of them out."
        )
    if "split" in (name.lower() for name in arrow_files.read_schema(local[0]).names):
        _LOGGER.warning("%s: its column split is not read; write a file for each split, with its name.", where)
    rows = [arrow_files.read_rows(file, columns[0].image, columns[0].others) for file in local]
    names, row = [], 0
    for path, each in zip(paths, rows, strict=True):
        names += [posixpath.join(path, f"{row + i:08d}", file).rstrip("/") for i, file in enumerate(each.names)]
        row += len(each.names)
    which = np.repeat(np.arange(len(rows), dtype=np.int32), [len(each.names) for each in rows])
    source = SpanSource([each.file for each in rows], which, np.concatenate([each.spans for each in rows]), names)
    labels = _labels([value for each in rows for value in each.columns[columns[0].label]], names, columns[0].label)
    groups = _groups([value for each in rows for value in each.columns.get(columns[0].group, [])], names)
    return Labelled(where, source, labels, columns[0].class_names, groups)


def find_columns(schema: "pa.Schema", where: str, label: str = "", group: str = "") -> Columns:
    """Tells which columns of a file are read.

    Args:
        schema: the names and types of its columns.
        where: what messages call the file.
        label, group: the columns that the config names, or "".

    Raises:
        UserError: if there is none of images or labels, or it is not clear which it is.
    """
    known, kinds = arrow_files.features(schema), dict(zip(schema.names, schema.types, strict=True))
    listed = some([f"{name} ({kind})" for name, kind in kinds.items()]) or "(none)"
    for key, column in ("label_column", label), ("group_column", group):
        if column and column not in kinds:
            raise UserError(
                f"{printable(where)} has the columns {listed}, but none called {column!r}, which config.data.{key} "
                "names; name one of these."
            )
    image = _one_of([name for name, kind in kinds.items() if _holds_images(kind)], _IMAGE)
    if not image:
        raise UserError(
            f"{printable(where)} has the columns {listed}, of which not one alone has images; there must be one of "
            "bytes, called image or the like."
        )
    classes = [name for name in kinds if known.get(name, {}).get("_type") == "ClassLabel"]
    label = label or _one_of(classes or [name for name in kinds if name.lower() in _LABEL], _LABEL)
    if not label:
        raise UserError(
            f"{printable(where)} has the columns {listed}, of which {'several have' if classes else 'none has'} "
            "labels; write config.data.label_column with the name of the one to learn."
        )
    names = known.get(label, {}).get("names")
    return Columns(image, label, tuple(map(str, names)) if isinstance(names, list) else None, group)


def _holds_images(kind: "pa.DataType") -> bool:
    import pyarrow as pa

    if pa.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0 and _holds_images(kind.field("bytes").type)
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _one_of(columns: Sequence[str], known: Sequence[str]) -> str:
    """Chooses the only column, or the one with the first of the known names; "" if neither tells it."""
    if len(columns) == 1:
        return columns[0]
    lower = {name.lower(): name for name in columns}
    return next((lower[name] for name in known if name in lower), "")


def _labels(values: Sequence[Any], places: Sequence[str], column: str) -> list[int] | list[str]:
    """Gives the labels of rows as whole numbers or names."""
    for value, place in zip(values, places, strict=True):
        if value is None or not isinstance(value, str | int | float):
            what = "no label" if value is None else "labels that are lists or the like"
            raise UserError(
                f"{printable(place)} has {what} in its column {column}; give each image one number or name, or take "
                "the row out."
            )
    if all(isinstance(value, int) for value in values):
        return [int(value) for value in values]
    return number_or_name([str(value).strip() for value in values], [printable(place) for place in places])


def _groups(values: Sequence[Any], places: Sequence[str]) -> list[str] | None:
    """Gives the group of each row; None if there are none."""
    if None in values:
        raise UserError(
            f"{printable(places[values.index(None)])} has nothing in the column that config.data.group_column names; "
            "write it, or take the row out."
        )
    return [str(value) for value in values] or None


def _is_unlabelled(part: Labelled) -> bool:
    return all(label == -1 for label in part.labels)


def _check_labelled(part: Labelled) -> None:
    """Refuses a split of which some images have the label that stands for none."""
    missing = [index for index, label in enumerate(part.labels) if label == -1]
    if missing:
        first = printable(source_path(part.source, missing[0]) or "")
        raise UserError(
            f"{part.where} has {len(missing):,} images with the label -1, which stands for none, such as {first}; take "
            "these rows out, or name another split with config.data.train_list or config.data.test_list."
        )
