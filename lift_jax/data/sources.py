"""From `config.data` to the training and the test split."""

import logging
import os
from typing import Any

from lift_jax.data import archives, corrections, layouts, longtail, text
from lift_jax.data.dataset import Dataset, canonical_order, check_splits
from lift_jax.data.digits import load_digits
from lift_jax.data.fetched_images import fetched
from lift_jax.data.folder import load_folder
from lift_jax.data.hub_datasets import located
from lift_jax.data.inaturalist import load_inaturalist
from lift_jax.data.letters import load_letters
from lift_jax.data.lists import load_lists
from lift_jax.data.multilabel import load_multilabel
from lift_jax.data.parquet import load_parquet
from lift_jax.data.preview import describe
from lift_jax.data.reading import is_file, is_folder, is_remote, printable
from lift_jax.data.records import in_memory, load_records
from lift_jax.data.repeats import warn_of_repeats
from lift_jax.data.tables import load_tables
from lift_jax.data.webdataset import load_webdataset
from lift_jax.errors import UserError
from lift_jax.files import expand

_LOGGER = logging.getLogger(__name__)

_PACKAGED = {"digits": load_digits, "letters": load_letters}
"""Those that need no files. They make their own long-tailed subset: it depends on how a test split is held out."""

_OF_FILES = ("lists", "folder", "csv", "inaturalist", "tfds", "parquet", "webdataset")
_COLUMNS = {"label_column": ("csv", "parquet", "webdataset"), "group_column": ("csv", "parquet")}
"""The keys that name columns, and the formats that have such columns."""

FORMATS = (*_PACKAGED, *_OF_FILES)


def load(data_config: Any, seed: int = 0, task: str = "multiclass") -> tuple[Dataset, Dataset]:
    """Loads and checks the training and the test split that a config describes.

    Args:
        data_config: `config.data`, see `options.data_defaults`.
        seed: chooses a held-out split (`val_fraction`); nothing else depends on it.
        task: `config.task`: "multiclass" for images of one class each, "multilabel" for any number of them.

    Returns:
        (train, test).

    Raises:
        UserError: if the format is unknown, files are missing, labels are not 0 to n-1, a class has no training images,
            or a name cannot be read.
    """
    root = located(data_config.root, "config.data.root")
    train, test = _read(data_config, root, seed, task)
    if path := expand(data_config.corrections, "config.data.corrections"):
        train, test = corrections.apply([train, test], path, root)
    if data_config.format not in _PACKAGED:
        imbalance = data_config.imbalance
        kept = longtail.subset(train.labels, train.num_classes, imbalance) if imbalance else canonical_order(train)
        train = train.subset(kept)
    if data_config.format == "tfds":
        train, test = in_memory(train), in_memory(test)
    if not data_config.cap:  # of which a part is taken later
        train, test = fetched(train, test)
    for label, name in enumerate(train.class_names):
        text.check(name, f"The name of class {label} (from {train.names_from or data_config.name})")
    check_splits(train, test)
    warn_of_repeats(train, test)
    _LOGGER.info("%s", describe(train))
    return train, test


def _read(data: Any, root: str, seed: int, task: str) -> tuple[Dataset, Dataset]:
    train_list, test_list, class_names = (
        expand(data[key], f"config.data.{key}") for key in ("train_list", "test_list", "class_names")
    )
    root = archives.without_wrapping(root)
    if root and data.format not in (*_PACKAGED, "tfds") and not (is_remote(root) or is_folder(root) or is_file(root)):
        here = "" if os.path.isabs(root) else f" from the current folder {os.getcwd()}"
        raise UserError(
            f"config.data.root is {printable(root)}, and nothing is there{here}; name where the images are with "
            "--config.data.root=FOLDER, those of a trained run with lift_jax eval RUN --config.data.root=FOLDER."
        )
    form = layouts.detect(root) if data.format == "folder" and root else data.format
    _check_columns(data, form)
    if form != "folder":  # Whose splits are folders of the root.
        train_list, test_list = _found(train_list, root), _found(test_list, root)
    class_names = _found(class_names, root)
    match form:
        case "digits" | "letters":
            _check_unused(data.format, root=root, train_list=train_list, test_list=test_list, class_names=class_names)
            return _PACKAGED[data.format](data.imbalance, data.permute_classes)
        case "lists":
            return load_lists(root, train_list, test_list, class_names, data.name)
        case "folder":
            return load_folder(root, train_list, test_list, class_names, data.name, data.val_fraction, seed)
        case "csv":
            columns = data.val_fraction, seed, data.label_column, data.group_column
            read = load_multilabel if task == "multilabel" else load_tables
            return read(root, train_list, test_list, class_names, data.name, *columns)
        case "parquet":
            columns = data.val_fraction, seed, data.label_column, data.group_column
            return load_parquet(root, data.train_list, data.test_list, class_names, data.name, *columns)
        case "webdataset":
            share, key = data.val_fraction, data.label_column
            return load_webdataset(root, data.train_list, data.test_list, class_names, data.name, share, seed, key)
        case "inaturalist":
            return load_inaturalist(root, train_list, test_list, class_names, data.level, data.name)
        case "tfds":
            return load_records(data.name, root, train_list, test_list, class_names, data.level)
    raise UserError(f"config.data.format is {data.format!r}; write one of {', '.join(FORMATS)}.")


def _check_columns(data: Any, form: str) -> None:
    """Refuses the name of a column for a format that has none."""
    for key, forms in _COLUMNS.items():
        if data[key] and form not in forms:
            raise UserError(
                f"config.data.{key} is {data[key]}, but config.data.format={form} has no columns that it could name; "
                f"write config.data.format={' or '.join(forms)}, or leave data.{key} out."
            )


def _found(path: str, root: str) -> str:
    """Gives the path of a file that is named from the root, where the current folder has none of that name."""
    if not path or "://" in path or os.path.exists(path):
        return path
    below = os.path.join(root, path)
    return below if is_file(below) else path


def _check_unused(form: str, **paths: str) -> None:
    """Checks that no files are named where a data set of the package would be trained on instead of them."""
    for key, path in paths.items():
        if path:
            raise UserError(
                f"config.data.{key} is {path}, but config.data.format={form} reads no files; write "
                f"config.data.format={' or '.join(_OF_FILES)}."
            )
