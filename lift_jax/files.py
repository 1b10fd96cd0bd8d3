"""Paths as people write them, JSON that is no JSON, and results that are there whole or not at all."""

import contextlib
import errno
import json
import math
import os
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from etils import epath

from lift_jax.errors import UserError, reason

SCHEMES = ("gs", "s3", "az")
"""The kinds of buckets that paths may name."""

_PACKAGES = {"gs": "gcsfs", "s3": "s3fs", "az": "adlfs"}
"""The packages that reach the buckets."""


def expand(path: str, what: str = "The path") -> str:
    """Expands a path as a person writes it: `~` and environment variables are put in, and `file://` is taken off.

    Args:
        path: a local path, or one in a bucket (gs://, s3://, az://), which is returned as it is.
        what: how the error message begins, such as "config.data.root".

    Raises:
        UserError: if the path has a NUL character, or begins with http:// or a scheme that is not known.
    """
    if "\0" in path:
        raise UserError(f"{what} is {path!r}, which has a NUL character in it; write the path without it.")
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", path)
    if scheme is None:
        return os.path.expanduser(os.path.expandvars(path))
    name = scheme[1].lower()
    if name == "file":
        return expand("/" + path[scheme.end() :].removeprefix("localhost").lstrip("/"), what)
    if name in ("http", "https"):
        raise UserError(f"{what} is {path}, which is on the web; download it and name the file or folder on the disk.")
    if name not in SCHEMES:
        known = ", ".join(f"{each}://" for each in SCHEMES)
        raise UserError(f"{what} is {path}, but {scheme[0]} is not known; write a path on the disk, or one at {known}.")
    return name + path[len(name) :]


def parse_json(text: str | bytes) -> Any:
    """Parses JSON text.

    Raises:
        ValueError: if it is no JSON, no UTF-8, or nested too deeply; or if an object has a key twice.
    """
    try:
        return json.loads(text, object_pairs_hook=_object)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except (json.JSONDecodeError, UnicodeDecodeError, _TwiceError):
        raise
    except ValueError:  # Python's own, which advises to raise its limit
        raise ValueError(f"it has a whole number of more than {sys.get_int_max_str_digits():,} digits") from None


class _TwiceError(ValueError):
    """Says that an object has a key twice."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise _TwiceError(f"its key {twice[:60]!r} is there twice")
    return made


@contextlib.contextmanager
def replacing(file: epath.PathLike) -> Iterator[epath.Path]:
    """Gives a path to write to, which takes the place of `file` once all is written: nobody sees half a file.

    If the block fails, `file` is as it was.
    """
    file = epath.Path(file)
    part = file.with_name(f".{file.name}.part")
    try:
        yield part
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing_together(files: Sequence[epath.PathLike]) -> Iterator[list[epath.Path]]:
    """Gives paths to write to, which take the places of `files` once all of them are written.

    If the block fails, all files are as they were. What remains is the moment between the renamings.
    """
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(replacing(file)) for file in files]


def write_json(file: epath.PathLike, content: Any) -> None:
    """Writes JSON in one step (see `replacing`); NaN, which JSON does not have, becomes null."""
    with replacing(file) as part:
        part.write_text(json.dumps(_without_nan(content), indent=2) + "\n", encoding="utf-8")


def _without_nan(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _without_nan(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_without_nan(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def place(path: str | os.PathLike[str], what: str) -> epath.Path:
    """Gives the place that a person names, with `~` and environment variables put in.

    Args:
        path: a path on the disk, or in a bucket.
        what: how the error message calls it, such as "--workdir".

    Raises:
        UserError: if it is no path, or in a bucket that cannot be reached.
    """
    written = expand(os.fspath(path), what)
    scheme, separator, _ = written.partition("://")
    if not separator:
        return epath.Path(written)
    try:
        found = epath.Path(written)
        found.exists()
    except ImportError as error:
        package = _PACKAGES.get(scheme, "fsspec")
        raise UserError(
            f"{what} is {written}, which the package {package} reads; install it: pip install {package}."
        ) from error
    except Exception as error:  # the file systems of buckets have no common base
        raise UserError(
            f"{what} is {written}, which cannot be reached ({reason(error)}); see to the network and your permissions."
        ) from error
    return found


@contextlib.contextmanager
def writing(target: epath.PathLike, remedy: str) -> Iterator[None]:
    """Turns what the system says inside of the block into a sentence.

    Args:
        target: the file or folder that is written.
        remedy: what helps besides room on the disk and permission, such as "name another file with --output".

    Raises:
        UserError: if something could not be written.
    """
    try:
        yield
    except OSError as error:
        where = error.filename2 or error.filename or target
        if str(target) in str(where) and not str(where).endswith(".part"):
            target = where
        raise UserError(
            f"{os.fspath(target)} cannot be written ({reason(error)}); make room or get permission, or {remedy}."
        ) from error


def check_file(file: epath.PathLike, remedy: str) -> None:
    """Sees to it, before something takes long, that a file can be written at its end.

    Raises:
        UserError: if it cannot, as far as this is known now (see `writing`).
    """
    file = epath.Path(file)
    with writing(file, remedy):
        if file.is_dir():
            raise IsADirectoryError(None, "a folder has this name", os.fspath(file))
        folder = next((each for each in file.parents if each.exists()), file.parent)
        with contextlib.suppress(_Checked), replacing(folder / file.name) as part:
            part.write_bytes(b"")
            raise _Checked


class _Checked(Exception):
    """Leaves `replacing` without a change."""


def require_room(folder: epath.PathLike, size: int) -> None:
    """Sees to it that so many bytes fit on the disk that the folder is on; a bucket has room.

    Raises:
        OSError: of a disk without space, before anything is written.
    """
    if "://" in str(folder):
        return
    disk = shutil.disk_usage(folder)
    if disk.total and disk.free < size:  # some network file systems do not know, and say 0
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextlib.contextmanager
def filling(folder: Path) -> Iterator[Path]:
    """Gives a folder to fill, whose files are put into `folder` once all of them are there.

    If the block fails, `folder` is as it was. A new folder appears in one step; in one that is there already, each file
    takes its place in one step.
    """
    inside = folder.is_dir()
    part = folder / ".part" if inside else folder.with_name(f".{folder.name}.part")
    made = _first_missing(part.parent)
    try:
        shutil.rmtree(part, ignore_errors=True)  # of a command that was killed
        part.mkdir(parents=True)
        yield part
        if inside:
            for entry in sorted(part.iterdir()):
                entry.replace(folder / entry.name)
        else:
            part.rename(folder)
        made = None
    finally:
        shutil.rmtree(part, ignore_errors=True)
        if made is not None:
            shutil.rmtree(made, ignore_errors=True)


def _first_missing(folder: Path) -> Path | None:
    """Finds the uppermost of a folder and its parents that is not there."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    return missing[-1] if missing else None
