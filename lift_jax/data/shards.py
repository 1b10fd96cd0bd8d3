"""Which split the files of a data set are of that holds many images in each: by their names."""

import logging
import os
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from lift_jax.data.image_files import walk
from lift_jax.data.reading import is_file, printable
from lift_jax.data.shown import some
from lift_jax.data.split_folders import TEST, TRAIN, usual
from lift_jax.errors import UserError

_LOGGER = logging.getLogger(__name__)

_SHARD = re.compile(r"(.+?)[-_.]\d+-of-\d+")
"""The name of one file of several, without its ending."""

_NO_SPLITS = ("", "data")
"""What such a name begins with where it does not say the split."""


class Shards(NamedTuple):
    """The files of the splits that a run reads.

    Attributes:
        root: the folder that they are in.
        train, test: paths relative to it, in order; no test files where a share of the training split is held out.
        names: the names of both splits.
        further: the other splits that a test split could be.
    """

    root: str
    train: list[str]
    test: list[str]
    names: tuple[str, str]
    further: dict[str, list[str]]


def find(root: str, endings: Sequence[str], train: str, test: str) -> Shards:
    """Finds the files of the training and the test split.

    Args:
        root: a folder, or one file.
        endings: of the files, in lower case; those of the first ending of which there are files are taken.
        train, test: the names of the splits; "" for the usual ones.

    Raises:
        UserError: there are no such files, no such split, no training split among several, or a split is in several
            folders.
    """
    is_one = is_file(root)  # which an archive is, too
    files, root = ([os.path.basename(root)], os.path.dirname(root)) if is_one else (walk(root).files, root)
    alike = ([file for file in files if _is_data(file, ending)] for ending in endings)
    found = next(filter(None, alike), [])
    if not found:
        raise UserError(f"{printable(root)} has no {' or '.join(endings)} files; name the folder that has them.")
    splits: dict[str, list[str]] = defaultdict(list)
    for file in found:
        splits[split_of(file)].append(file)
    for name, of_split in splits.items():
        _check_one_folder(root, name, of_split)
    train, test = _chosen(root, splits, train, test)
    further = {name: splits[name] for name in splits if name.lower() in TEST and name not in (train, test)}
    return Shards(root, splits[train], splits[test] if test else [], (train, test), further)


def split_of(file: str) -> str:
    """Tells the split of a file by its name, or by the folders that it is in; "train" if neither says it.

    A name such as fold1-00000-of-00004 says a split of any name.
    """
    *folders, name = file.split(os.sep)
    stem = name.partition(".")[0] or name
    if (shard := _SHARD.fullmatch(os.path.splitext(name)[0])) and shard[1].lower() not in _NO_SPLITS:
        return shard[1]
    for part in (stem, *reversed(folders)):
        words = [part, *re.findall("[A-Za-z]+", part)]
        if named := next((word for word in words if word.lower() in (*TRAIN, *TEST)), ""):
            return named
    return TRAIN[0]


def _is_data(file: str, ending: str) -> bool:
    return file.lower().endswith(ending) and not os.path.basename(file).startswith("cache-")  # of datasets' map()


def _check_one_folder(root: str, split: str, files: Sequence[str]) -> None:
    folders = list(dict.fromkeys(map(os.path.dirname, files)))
    if len(folders) > 1:
        raise UserError(
            f"{printable(root)} has files of the split {split} in several folders ({some(folders)}); name one of these "
            "data sets with config.data.root."
        )


def _chosen(root: str, splits: Mapping[str, Sequence[str]], train: str, test: str) -> tuple[str, str]:
    """Chooses both splits; "" for the test split if there is none."""
    for key, name in ("train_list", train), ("test_list", test):
        if name and name not in splits:
            raise UserError(
                f"config.data.{key} is {name}, but {printable(root)} has the splits {some(list(splits))}; write one of "
                "them."
            )
    others = [name for name in splits if name != test]
    train = train or usual(TRAIN, others) or (others[0] if len(splits) == 1 else "")
    if not train:
        raise UserError(
            f"{printable(root)} has the splits {some(list(splits))}, of which none is called train; name the one to "
            "train on with config.data.train_list."
        )
    others = [name for name in splits if name != train]
    test = test or usual(TEST, others)
    if unread := [name for name in others if name != test]:
        _LOGGER.warning(
            "%s: not read are the splits %s; the splits are %s, and config.data.train_list and config.data.test_list "
            "name others.", printable(root), some(unread), " and ".join(filter(None, (train, test))),
        )  # fmt: skip
    return train, test
