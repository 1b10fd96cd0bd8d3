"""Zip and tar archives as folders, whose files are read where they lie: `photos.zip/cat/1.jpg`.

Nothing is unpacked; an archive in a bucket is fetched once, as a whole. Links, and members whose paths lead out of the
archive, are left out with a warning.
"""

import functools
import logging
import os
import posixpath
import re
import stat
import tarfile
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from lift_jax.data import remote_copies
from lift_jax.data.spans import DEFLATED, STORED, Span
from lift_jax.errors import UserError, first_line, reason
from lift_jax.text import printable

_LOGGER = logging.getLogger(__name__)

_ENDING = re.compile(r"\.(?:zip|tar|tgz|tbz2|txz|tar\.(?:gz|bz2|xz|zst))(?=/|$)", re.IGNORECASE)
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd")
"""What files begin with that gzip, bzip2, xz and zstd write."""

_LINK = "link", "links"
_OUTSIDE = "path that leads out of the archive", "paths that lead out of the archive"
_SPECIAL = "pipe, device or sparse file", "pipes, devices or sparse files"
"""What is left out: its name for one and for several."""


class Place(NamedTuple):
    """A file or folder in an archive: the archive's path, and the path within it ("" for all of it)."""

    archive: str
    inside: str


class Archive(NamedTuple):
    """What is in an archive.

    Attributes:
        members: where the content of each file is, by its path.
        folders: the names in each folder, and whether each is a folder itself; "" is the uppermost.
    """

    members: dict[str, Span]
    folders: dict[str, dict[str, bool]]


class _Member(NamedTuple):
    """A member by the name that the archive gives it, with its span, or with the reason for which it is left out."""

    name: str
    span: Span | None
    left_out: tuple[str, str] = _SPECIAL


def divide(path: str) -> Place | None:
    """Divides a path into that of an archive on the disk and the one within it; None if it leads through none.

    Of an archive in a bucket, it is the path of its copy.

    Raises:
        UserError: if the archive is in a bucket that cannot be read.
    """
    for found in _ENDING.finditer(path):
        archive = _on_disk(path[: found.end()])
        if archive is not None:
            inside = posixpath.normpath(path[found.end() :].lstrip("/"))
            return Place(archive, "" if inside == "." else inside)
    return None


def _on_disk(archive: str) -> str | None:
    if "://" in archive:
        return remote_copies.fetch_archive(archive)
    return archive if os.path.isfile(archive) else None


def open_archive(file: str) -> Archive:
    """Reads what is in an archive, once as long as it does not change.

    Raises:
        UserError: if it cannot be read, is compressed as a whole, or holds no file.
    """
    try:
        status = os.stat(file)
    except OSError as error:
        raise UserError(f"The archive {printable(file, None)} cannot be read: {reason(error)}.") from error
    return _read(file, status.st_mtime_ns, status.st_size)


def without_wrapping(path: str) -> str:
    """Gives the folder of an archive in which the data begin: often the whole folder was packed, with its name.

    Args:
        path: an archive, or any other path, which is returned as it is.

    Raises:
        UserError: see `open_archive`.
    """
    place = divide(path)
    if place is None or place.inside:
        return path
    folders, inside = open_archive(place.archive).folders, ""
    while len(only := _shown(folders[inside])) == 1:
        below = posixpath.join(inside, next(iter(only)))
        if not any(_shown(folders.get(below, {})).values()):
            break
        inside = below
    return posixpath.join(path, inside) if inside else path


def _shown(entries: dict[str, bool]) -> dict[str, bool]:
    """Leaves out hidden entries, and what macOS adds."""
    return {name: is_folder for name, is_folder in entries.items() if not name.startswith((".", "__MACOSX"))}


@functools.lru_cache(maxsize=8)
def _read(file: str, _changed: int, _size: int) -> Archive:
    named, archive, left_out = printable(file, None), Archive({}, {"": {}}), defaultdict(list)
    try:
        for member in _zip_members(file) if file.lower().endswith(".zip") else _tar_members(file):
            path = _inside(member.name)
            if path is None or member.span is None:
                left_out[_OUTSIDE if path is None else member.left_out].append(member.name)
            elif path:
                archive.members[path] = member.span
                _enter(path, archive.folders)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, ValueError, NotImplementedError) as error:
        raise UserError(
            f"The archive {named} is damaged or cut off ({first_line(error)}); fetch or make it again."
        ) from error
    except OSError as error:
        raise UserError(f"The archive {named} cannot be read: {reason(error)}.") from error
    if left_out:
        counted = ((len(names), kind[len(names) > 1], names[0]) for kind, names in left_out.items())
        said = ", ".join(f"{count} {what} such as {printable(first)}" for count, what, first in counted)
        _LOGGER.warning("%s: left out: %s.", named, said)
    if not archive.members:
        raise UserError(f"The archive {named} holds no file; name one that has images in it.")
    return archive


def _enter(path: str, folders: dict[str, dict[str, bool]]) -> None:
    """Enters a file, and the folders that it is in."""
    folder, name = posixpath.split(path)
    is_folder = False
    while name not in folders.setdefault(folder, {}):
        folders[folder][name] = is_folder
        if not folder:
            return
        (folder, name), is_folder = posixpath.split(folder), True


def _inside(name: str) -> str | None:
    """Gives the path of a member in one way of writing; None if it leads out of the archive."""
    parts = name.split("/")
    if name.startswith("/") or ".." in parts or re.match("[A-Za-z]:/", name):
        return None
    return "/".join(part for part in parts if part not in ("", "."))


def _tar_members(file: str) -> Iterator[_Member]:
    with open(file, "rb") as opened:
        head = opened.read(8)
    if head.startswith(_COMPRESSED):
        raise UserError(
            f"The archive {printable(file, None)} is compressed as a whole, so its images cannot be read in any order; "
            "unpack it, or decompress it (such as with gunzip) and name the .tar file."
        )
    with tarfile.open(file, "r:") as archive:
        while (info := archive.next()) is not None:
            archive.members = []  # pyright: ignore[reportAttributeAccessIssue] # it would grow with the archive
            if info.isdir():
                continue
            if info.issym() or info.islnk():
                yield _Member(info.name, None, _LINK)
            elif not info.isreg() or info.issparse():
                yield _Member(info.name, None, _SPECIAL)
            else:
                yield _Member(info.name, Span(info.offset_data, info.size, info.size))
        end = archive.offset
    _check_end(file, end)


def _check_end(file: str, end: int) -> None:
    """Checks that what follows the last member is the end of the archive, for tarfile stops at anything else, too."""
    with open(file, "rb") as opened:
        opened.seek(end)
        block = opened.read(tarfile.BLOCKSIZE)
    if block.strip(b"\0") or len(block) not in (0, tarfile.BLOCKSIZE):
        raise tarfile.ReadError(f"no member begins at byte {end:,}")


def _zip_members(file: str) -> Iterator[_Member]:
    forms = {zipfile.ZIP_STORED: STORED, zipfile.ZIP_DEFLATED: DEFLATED}
    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            name = info.filename.replace("\\", "/")  # of some programs for Windows
            if name.endswith("/"):
                continue
            if stat.S_ISLNK(info.external_attr >> 16):
                yield _Member(name, None, _LINK)
                continue
            if info.flag_bits & 1 or info.compress_type not in forms:
                how = "encrypted" if info.flag_bits & 1 else "compressed in a rare way"
                raise UserError(
                    f"The archive {printable(file, None)} has {printable(name)}, which is {how}; unpack it and name "
                    "the folder."
                )
            form = forms[info.compress_type]
            yield _Member(name, Span(info.header_offset, info.compress_size, info.file_size, form, info.CRC))
