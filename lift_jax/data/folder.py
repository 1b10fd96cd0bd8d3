"""A folder per class."""

import logging
import os
from collections.abc import Sequence
from typing import NamedTuple

from lift_jax.data import duplicates, hidden_folders
from lift_jax.data.dataset import Dataset, source_path
from lift_jax.data.image_files import list_images, sub_folders
from lift_jax.data.lists import from_paths
from lift_jax.data.reading import is_file, is_remote, printable
from lift_jax.data.split_folders import find_splits
from lift_jax.data.splits import hold_out, warn_of_unused
from lift_jax.data.tables import METADATA
from lift_jax.errors import UserError

_LOGGER = logging.getLogger(__name__)


class Split(NamedTuple):
    """The images of a folder with a sub-folder a class.

    Attributes:
        where: the folder.
        paths: of the images, relative to the root of the data set, in the order of their names.
        folders: the class folder of each.
    """

    where: str
    paths: list[str]
    folders: list[str]


def load_folder(
    root: str, train_folder: str, test_folder: str, class_names: str, name: str, val_fraction: float, seed: int
) -> tuple[Dataset, Dataset]:
    """Loads the training and the test split from folders with one sub-folder a class.

    The classes come in the order of the folders' names; of their numbers, if all are numbers.

    Args:
        root: the folder of both.
        train_folder, test_folder: the splits' folders under root. "" finds `train` and one of `test`, `val`,
            `validation` and the like, in any case of letters; where root has no `train`, its own sub-folders are the
            classes.
        class_names: file of names, see `classnames.of_labels`; "" takes the names of the folders.
        name: name of the data set.
        val_fraction: share of each class that becomes the test split where there is no folder for it.
        seed: chooses that share.

    Raises:
        UserError: a folder is missing, cannot be read, or holds no images; there are not two classes; the test split
            has a class of its own; or it is not clear which folders are splits and which classes.
    """
    if not root:
        raise UserError("config.data.root is empty; config.data.format=folder needs the folder of the images.")
    train_folder, test_folder = find_splits(root, train_folder, test_folder)
    if test_folder:
        warn_of_unused(val_fraction, test_folder)
    train = scan(root, train_folder)
    if len(set(train.folders)) == 1:
        raise _one_class(train.where, train.folders[0])
    test = scan(root, test_folder) if test_folder else train
    train_data, test_data = from_paths(root, train, test, class_names, name, check=False, thing="class folder")
    if not test_folder:
        kept, held_out = hold_out(train_data.labels, val_fraction, seed)
        train_data, test_data = train_data.subset(kept), train_data.subset(held_out, test_data.name)
    if not is_remote(root):
        _warn_of_copies(train_data, test_data)
    return train_data, test_data


def scan(root: str, split: str) -> Split:
    """Lists the images under root/split, at any depth below its class folders.

    What else is there is counted and named in one warning, and hidden folders with images in another one.

    Args:
        root: the folder that the paths become relative to.
        split: its sub-folder with the class folders, or "".

    Raises:
        UserError: a folder cannot be read, or there are no images in class folders.
    """
    where = os.path.join(root, split)
    listing = list_images(where)
    if hidden := hidden_folders.notice(where):
        _LOGGER.warning("%s", hidden)
    inside = sorted(path.split(os.sep, 1) for path in listing.images if os.sep in path)
    beside = [path for path in listing.images if os.sep not in path]
    if not inside:
        raise _no_class_folders(where, _counted(beside, "image", "images"), listing.left_out)
    folders = [folder for folder, _ in inside]
    empty = sorted(set(listing.folders) - set(folders))
    left_out = [
        _counted(beside, "image beside the class folders", "images beside the class folders"),
        _counted(empty, "folder without an image", "folders without an image"),
        listing.left_out,
    ]
    if any(left_out):
        _LOGGER.warning("%s: left out: %s.", printable(where), ", ".join(filter(None, left_out)))
    return Split(where, [os.path.join(split, *parts) for parts in inside], folders)


def _no_class_folders(where: str, *found: str) -> UserError:
    """Says what is there instead of class folders, and how a table that has the labels is named."""
    others = " and ".join(filter(None, found))
    table = next((name for name in METADATA if is_file(os.path.join(where, name))), "")
    labels = f"for the labels in {table}" if table else "and name their table with --config.data.train_list=FILE"
    return UserError(
        f"{printable(where)} has no folders with images in it{', but ' if others else ''}{others}; put each class's "
        f"images into a folder of its own, or write --config.data.format=csv {labels}."
    )


def _one_class(where: str, folder: str) -> UserError:
    inner = os.path.join(where, folder)
    hint = f"; if the folders in {printable(inner)} are the classes, name that one" if sub_folders(inner) else ""
    return UserError(
        f"{printable(where)} has images of one class only ({printable(folder)}), and a classifier needs two or more, "
        f"each in a folder of its own{hint}."
    )


def _warn_of_copies(train: Dataset, test: Dataset) -> None:
    """Warns of test images whose files have the same content as a training image's."""
    pairs, complete = duplicates.copies(
        *([path for i in range(len(each)) if (path := source_path(each.source, i))] for each in (train, test))
    )
    if pairs:
        first = min(pairs)
        _LOGGER.warning(
            "%s%d images of %s have the same content as images of %s, for example %s and %s; the test accuracy is too "
            "high by them.", "" if complete else "At least ", len(pairs), test.name, train.name, printable(first),
            printable(pairs[first]),
        )  # fmt: skip


def _counted(names: Sequence[str], one: str, several: str) -> str:
    return f"{len(names)} {one if len(names) == 1 else several} such as {printable(names[0])}" if names else ""
