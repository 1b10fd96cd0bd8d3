"""Labelled images that a person names for a run: a folder for each class, a list, or a table."""

import logging
import os
from collections.abc import Sequence

import numpy as np

from lift_jax.data import Dataset, duplicates, named_classes, tables
from lift_jax.data.dataset import FileSource, check_labels, source_path
from lift_jax.data.folder import scan
from lift_jax.data.hub_datasets import located
from lift_jax.data.labels import number_or_name
from lift_jax.data.listed_files import find_files
from lift_jax.data.lists import read_list
from lift_jax.data.reading import is_folder, is_remote, printable
from lift_jax.data.shown import shown
from lift_jax.errors import UserError

_LOGGER = logging.getLogger(__name__)


def read(path: str, class_names: tuple[str, ...], root: str = "", label_column: str = "") -> Dataset:
    """Reads labelled images of a run's classes, not all of which need have one.

    Args:
        path: a folder with a folder for each class, which has its name or label; or a list file, whose lines have the
            path of an image and its label (see `lift_jax.data.lists.read_list`); or a table with a column of paths and
            one of labels or class names, as training reads it (see `lift_jax.data.tables.read_table`). Of a table that
            says which split a row belongs to, the rows of the training split are left out.
        class_names: the names of the run's classes, in label order.
        root: the folder that the paths of a list or table start from; "" for its own.
        label_column: the column of the labels that the run's data have, which a table may have too; "" for none.

    Raises:
        UserError: if there is no such folder or file, an image is missing, or a class is not one of the run.
    """
    path = located(path, "--images")
    if is_folder(path):
        found = scan(path, "")
        folders = sorted(set(found.folders))
        places = dict(zip(folders, named_classes.find(folders, class_names, path), strict=True))
        labels = np.array([places[folder] for folder in found.folders], np.int32)
        return Dataset(path, FileSource(path, tuple(found.paths)), labels, class_names)
    if not is_remote(path) and not os.path.exists(path):
        raise UserError(
            f"--images is {shown(path)}, which is not there; name a folder with a folder for each class, or a list or "
            "table of paths and labels."
        )
    paths, given = _table(path, class_names, label_column) if tables.is_table(path) else read_list(path)
    root = root or os.path.dirname(path)
    remedy = f"write paths that start from {root or 'there'}, or whole ones"
    source = FileSource(root, tuple(find_files(root, paths, path, remedy)))
    return Dataset(path, source, check_labels(given, len(class_names), path), class_names)


def without_training_images(images: Dataset, train: Dataset) -> Dataset:
    """Leaves out what a run was trained on, known by its path or content; the log then says how much that was.

    Args:
        images: labelled images.
        train: the training images of the run.
    """
    paths, trained = (
        [os.path.realpath(path) for i in range(len(each)) if (path := source_path(each.source, i))]
        for each in (images, train)
    )
    known = {*trained, *duplicates.copies(trained, paths).pairs}
    kept = np.array([path not in known for path in paths])
    if kept.all():
        return images
    _LOGGER.warning(
        "%s: left out: %d of %d images, which are training images of the run, such as %s.",
        printable(images.name), np.count_nonzero(~kept), len(images), printable(images.path(int(np.argmin(kept)))),
    )  # fmt: skip
    return images.subset(np.flatnonzero(kept))


def _table(path: str, class_names: Sequence[str], label_column: str) -> tuple[list[str], list[int]]:
    """Reads the paths and labels of a table, but for those of the training split."""
    known = bool(label_column) and tables.has_column(label_column, tables.read_columns(path).cells)
    wanted = label_column if known else ""
    rows = [row for row in tables.read_table(path, wanted) if row.split != "train"]
    if not rows:
        raise UserError(f"{path} has rows of the training split alone; name images that the run was not trained on.")
    written = number_or_name([row.label for row in rows], [row.where for row in rows])
    labels = named_classes.labels(written, class_names, path) if isinstance(written[0], str) else list(written)
    return [row.path for row in rows], labels  # pyright: ignore[reportReturnType]
