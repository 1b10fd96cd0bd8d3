"""Where commands read and write: paths as people write them, and results that are there whole or not at all."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from etils import epath

from lift_jax.errors import UserError, reason
from lift_jax.files import expand, replacing

_PACKAGES = {"gs": "gcsfs", "s3": "s3fs", "az": "adlfs"}
"""The packages that reach the buckets."""


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
