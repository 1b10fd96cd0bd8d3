"""How the images of a folder are kept that a person names without saying it."""

import logging
import os
from collections.abc import Iterator

from lift_jax.data import archives, arrow_files, shards, webdataset
from lift_jax.data.image_files import SUFFIXES, entries
from lift_jax.data.reading import is_folder, printable
from lift_jax.data.split_folders import find_splits

_LOGGER = logging.getLogger(__name__)

_FOLDERS = 64
"""How many folders are looked into."""


def detect(root: str) -> str:
    """Tells the `config.data.format` of what is named for `folder`.

    It is `folder` where images lie in several folders, which can be classes, and `parquet` or `webdataset` where they
    do not, but there are such files.

    Args:
        root: a folder, an archive or a file.

    Raises:
        UserError: if a folder or an archive cannot be read.
    """
    found = _of_archive(root) if archives.divide(root) else _of_folder(root)
    if found != "folder":
        _LOGGER.info("%s is read with config.data.format=%s.", printable(root), found)
    return found


def splits(root: str) -> tuple[str, str]:
    """Finds the names of the training and the test split, whatever the layout; "" for a test split that is not there.

    Raises:
        UserError: see `detect`, `shards.find` and `split_folders.find_splits`; or if there are no images in any layout.
    """
    form, root = detect(root), archives.without_wrapping(root)
    if form == "folder":
        return find_splits(root, "", "")
    endings = (webdataset.SHARD,) if form == "webdataset" else (arrow_files.PARQUET, arrow_files.ARROW)
    return shards.find(root, endings, "", "").names


def among_classes(folder: str, root: str, train: str, test: str) -> str:
    """Finds the folder of class folders that a folder lies in, where it would be taken for a class; "" if in none.

    Args:
        folder: it need not be there.
        root, train, test: what `config.data` has as root, train_list and test_list, with the format `folder`.

    Raises:
        UserError: see `split_folders.find_splits`.
    """
    if not os.path.isdir(root) or not _is_below(folder, root) or _of_folder(root) != "folder":
        return ""
    splits = (os.path.join(root, each).rstrip(os.sep) for each in find_splits(root, train, test))
    return next((each for each in splits if _is_below(folder, each)), "")


def _is_below(folder: str, root: str) -> bool:
    folder, root = os.path.realpath(folder), os.path.realpath(root)
    return os.path.commonpath((folder, root)) == root


def _of_archive(root: str) -> str:
    place = archives.divide(root)
    assert place is not None
    members = archives.open_archive(place.archive).members
    tar = not place.archive.lower().endswith(".zip")
    return "webdataset" if tar and not place.inside and webdataset.has_samples(members) else "folder"


def _of_folder(root: str) -> str:
    if not is_folder(root):
        return "parquet" if _ending(root) in (arrow_files.PARQUET, arrow_files.ARROW) else "folder"
    others = {arrow_files.PARQUET: "parquet", arrow_files.ARROW: "parquet", webdataset.SHARD: "webdataset"}
    seen: set[str] = set()
    with_images = 0
    for names in _files(root):
        endings = set(map(_ending, names))
        seen |= endings & others.keys()
        with_images += not SUFFIXES.isdisjoint(endings)
        if with_images > 1:
            return "folder"
    return next((form for ending, form in others.items() if ending in seen), "folder")


def _files(root: str) -> Iterator[list[str]]:
    """Yields the names of the files in a folder, then of those in the folders in it, and so on."""
    folders = [root]
    for _ in range(_FOLDERS):
        if not folders:
            return
        folder = folders.pop(0)
        found = sorted(entries(folder))
        yield [name for name, what in found if what == "file"]
        folders += [os.path.join(folder, name) for name, what in found if what in ("folder", "link")]


def _ending(name: str) -> str:
    return os.path.splitext(name)[1].lower()
