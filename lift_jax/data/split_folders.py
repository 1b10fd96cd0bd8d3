"""Which folders of a data set are its splits."""

import itertools
import logging
import os
from collections.abc import Iterable, Sequence

from lift_jax.data.image_files import sub_folders
from lift_jax.data.reading import is_folder, is_remote, printable
from lift_jax.errors import UserError
from lift_jax.files import expand

_LOGGER = logging.getLogger(__name__)

TRAIN = ("train", "training")
TEST = ("test", "val", "validation", "valid", "testing", "eval", "evaluation")
"""The usual names, in any case of letters; the first one that is there is taken."""

_FORMAT_OF = {".csv": "csv", ".tsv": "csv", ".jsonl": "csv", ".ndjson": "csv", ".json": "inaturalist"}
"""The value of config.data.format that reads a file of such an ending; `lists` reads the others."""


def find_splits(root: str, train: str, test: str) -> tuple[str, str]:
    """Finds the folders of the training and the test split: those given, or else those with the usual names.

    Args:
        root: the folder of the data set.
        train, test: folders under it, or "".

    Returns:
        Both folders. "" for the training split stands for the root itself, whose folders then are the classes; "" for
        the test split for none.

    Raises:
        UserError: what is given is a file or not there; or the test split has no training split beside it.
    """
    train, test = _given(root, "train_list", train), _given(root, "test_list", test)
    if train and test:
        return train, test
    folders = sub_folders(root)
    if train:
        test = usual(TEST, [each for each in folders if each != train]) if train != os.curdir else ""
    elif _has_train(root, folders, test):
        train, test = usual(TRAIN, folders), test or usual(TEST, folders)
    else:
        _check_no_test(root, folders, test)
        return "", test
    unread = [each for each in folders if each not in (train.split(os.sep)[0], test.split(os.sep)[0], os.curdir)]
    if unread and train != os.curdir:
        _LOGGER.warning(
            "%s: not read are %s; the splits are %s, and config.data.train_list and config.data.test_list name others.",
            printable(root), _named(unread), printable(" and ".join(filter(None, (train, test)))),
        )  # fmt: skip
    return train, test


def _given(root: str, key: str, folder: str) -> str:
    """Gives the folder that a config key names.

    Raises:
        UserError: if it is a file, with the format that reads such a file; if it is not there.
    """
    folder = expand(folder, f"config.data.{key}").rstrip(os.sep)
    below = os.path.join(root, folder)
    if folder and not is_remote(root) and not is_folder(below) and any(map(os.path.isfile, (below, folder))):
        ending = os.path.splitext(folder)[1].lower()
        raise UserError(
            f"config.data.{key} is {folder}, a file, but config.data.format=folder takes the name of a folder below "
            f"config.data.root; write config.data.format={_FORMAT_OF.get(ending, 'lists')}."
        )
    if folder and is_folder(root) and not is_folder(below):
        there = f"those there are {_named(found)}" if (found := sub_folders(root)) else "there is none"
        raise UserError(f"config.data.{key} is {printable(folder)}, and {printable(root)} has no such folder; {there}.")
    return folder


def usual(names: Iterable[str], folders: Sequence[str]) -> str:
    """Finds the first of the names that is a folder's, if need be in another case of letters; "" if none is."""
    exact = (name for name in names if name in folders)
    similar = (folder for name in names for folder in folders if folder.lower() == name)
    return next(itertools.chain(exact, similar), "")


def _has_train(root: str, folders: Sequence[str], test: str) -> bool:
    """Tells whether there is a training split, and not merely one class of several that is called train."""
    train = usual(TRAIN, folders)
    if not train or test or usual(TEST, folders) or len(folders) == 1:
        return bool(train)
    return bool(sub_folders(os.path.join(root, train)))


def _check_no_test(root: str, folders: Sequence[str], test: str) -> None:
    """Checks that none of the folders, which are to be the classes, is the test split."""
    found = test or usual(TEST, folders)
    if found.split(os.sep)[0] in folders and (test or sub_folders(os.path.join(root, found))):
        raise UserError(
            f"{printable(root)} has the test split {printable(found)} but no folder called train; name the folder of "
            "the training images with config.data.train_list"
            + ("." if test else f", or write config.data.train_list=. if {printable(found)} is a class.")
        )


def _named(names: Sequence[str], most: int = 10) -> str:
    shown = ", ".join(map(printable, names[:most]))
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
