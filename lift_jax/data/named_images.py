"""Finding the images that paths, patterns and lists stand for, as people give them to commands."""

import fnmatch
import glob
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import IO

from lift_jax.data import hub_datasets, remote_copies
from lift_jax.data.image_files import list_images, walk
from lift_jax.data.reading import is_file, is_folder, is_remote, printable
from lift_jax.errors import UserError

_LOGGER = logging.getLogger(__name__)


def find_images(paths: Sequence[str], listed: IO[str] | None = None) -> list[str]:
    """Finds the files that paths, patterns and a list stand for, in that order; those of a folder or pattern by name.

    Args:
        paths: files, folders (of which the images are taken, at any depth), patterns such as "photos/**/*.jpg", or "-".
        listed: what "-" stands for: a path a line.

    Raises:
        UserError: a folder has no images, a pattern matches nothing, an address is on the web, or there is nothing.
    """
    found: list[str] = []
    for path in paths:
        if path == "-":
            found += [located(line) for line in _lines(listed)]
            continue
        path = located(path)
        if is_folder(path):
            found += _images_below(path)
        elif glob.has_magic(path) and not (is_file(path) or os.path.lexists(path)):
            matches = remote_copies.matches(path) if is_remote(path) else _matches(path)
            if not matches:
                raise UserError(f"No file matches {printable(path)}.")
            found += matches
        else:
            found.append(path)
    if not found:
        raise UserError("There is no image to predict; name files, folders or patterns, or give a list with -.")
    return found


def _images_below(folder: str) -> list[str]:
    images, _, left_out = list_images(folder)
    if not images:
        more = f", but {left_out}" if left_out else ""
        raise UserError(f"The folder {printable(folder)} has no images in it{more}; name a folder with images.")
    if left_out:
        _LOGGER.warning("%s: left out: %s.", printable(folder), left_out)
    return [os.path.join(folder, path) for path in images]


def located(path: str, what: str = "The path of an image") -> str:
    """Expands the path of a file as a person writes it; one that exists as it is written stays so.

    Raises:
        UserError: the path is empty, or see `hub_datasets.located`.
    """
    if not path:
        raise UserError(f"{what} is empty; write the name of a file.")
    return path if "\0" not in path and os.path.lexists(path) else hub_datasets.located(path, what)


def _lines(listed: IO[str] | None) -> Iterator[str]:
    """Reads the lines of a list that are not empty; a file is read in bytes, since names need not be UTF-8."""
    encoded: Iterable[bytes] | None = getattr(listed, "buffer", None)
    lines = listed or () if encoded is None else map(os.fsdecode, encoded)
    yield from (line.rstrip("\r\n") for line in lines if line.strip())


def _matches(pattern: str) -> list[str]:
    """Finds the files that a pattern stands for, sorted; `**` stands for any number of folders, each read once."""
    parts = pattern.split(os.sep)
    if "**" not in parts:
        return sorted(match for match in glob.glob(pattern) if not os.path.isdir(match))
    at = parts.index("**")
    tops = glob.glob(os.sep.join(parts[:at]) or os.sep) if at else [""]
    return sorted(
        os.path.join(top, path)
        for top in tops
        if os.path.isdir(top or ".")
        for path in walk(top).files
        if _fits(path.split(os.sep), parts[at:])
    )


def _fits(path: Sequence[str], pattern: Sequence[str]) -> bool:
    if not pattern:
        return not path
    if pattern[0] == "**":
        return len(pattern) == 1 or any(_fits(path[i:], pattern[1:]) for i in range(len(path)))
    return bool(path) and fnmatch.fnmatchcase(path[0], pattern[0]) and _fits(path[1:], pattern[1:])
