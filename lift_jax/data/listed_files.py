"""Finding the image files that a list or table names, in the spelling in which the disk has them."""

import contextlib
import os
import unicodedata
from collections.abc import Iterator, Sequence

from lift_jax.data import archives
from lift_jax.data.reading import entries_of, is_folder, list_folder, printable
from lift_jax.data.shown import shown, some
from lift_jax.errors import UserError, reason
from lift_jax.files import expand

_REMEDY = "set config.data.root to the folder that the paths start from"


def find_files(root: str, paths: Sequence[str], where: str, remedy: str = _REMEDY) -> list[str]:
    """Finds the paths as the disk has them, with one listing of each folder rather than one call for each file.

    A path is taken as it is written if there is such a file. Else it may begin with `~` or a variable, its backslashes
    may stand for slashes, and its accents may be composed, or encoded, in another way.

    Args:
        root: folder that the paths are relative to.
        paths: paths relative to it, or whole ones, before which file:// may stand.
        where: the list file, for the message.
        remedy: what the message says where files are missing.

    Returns:
        One path for each of `paths`.

    Raises:
        UserError: if files are missing (the first ten are named, and how many), or are on the web, or if a folder
            cannot be read.
    """
    written = f"An image of {where}"
    paths = [expand(path, written) if "://" in path or "\0" in path else path for path in paths]
    folders = _Folders(root)
    found = [path if path in folders else _otherwise(path, folders) for path in paths]
    missing = list(dict.fromkeys(path for path, file in zip(paths, found, strict=True) if file is None))
    for path in missing:
        if "://" not in root and is_folder(os.path.join(root, path)):
            raise UserError(f"{where} names {shown(path)}, which is a folder; write the path of an image in each row.")
    if missing:
        files = "a file that is" if len(missing) == 1 else f"{len(missing):,} files that are"
        raise UserError(f"{where} names {files} not under {root or 'the current folder'}: {some(missing)}; {remedy}.")
    return [file for file in found if file is not None]


class _Folders:
    """The files below a root; each folder is listed once, when it is asked for."""

    def __init__(self, root: str):
        self._root = root
        self._files: dict[str, set[str]] = {}

    def __contains__(self, path: str) -> bool:
        folder, name = os.path.split(path)
        if folder not in self._files:
            full = os.path.join(self._root, folder)
            self._files[folder] = _files_in(full)
        return name in self._files[folder]


def _files_in(folder: str) -> set[str]:
    """Returns the names of what lies in a folder and is none itself; in a bucket, where asking is slow, all names."""
    if place := archives.divide(folder):
        return {name for name, is_one in entries_of(place).items() if not is_one} if is_folder(folder) else set()
    if "://" in folder:
        return list_folder(folder)
    if not os.path.exists(folder or "."):
        return set()
    try:
        with os.scandir(folder or ".") as entries:
            return {entry.name for entry in entries if not entry.is_dir()}
    except OSError as error:
        raise UserError(f"The folder {printable(folder)} cannot be read: {reason(error)}.") from error


def _otherwise(path: str, folders: _Folders) -> str | None:
    return next((each for each in _spellings(path) if each in folders), None)


def _spellings(path: str) -> Iterator[str]:
    """Gives other ways to write a path: expanded, with slashes, other accents, in other bytes."""
    for each in dict.fromkeys((path, expand(path), path.replace("\\", "/"))):
        yield each
        yield unicodedata.normalize("NFC", each)
        yield unicodedata.normalize("NFD", each)
        # A list may be in Windows-1252 and the disk in UTF-8, or a list in UTF-8 and the disk in Windows-1252.
        with contextlib.suppress(UnicodeError):
            yield os.fsencode(each).decode("cp1252")
        with contextlib.suppress(UnicodeError):
            yield os.fsdecode(each.encode("cp1252"))
