"""Files and folders by their paths: on a disk, in a bucket, or in an archive."""

import os
import re
import stat
from collections.abc import Callable

from etils import epath

from lift_jax import text
from lift_jax.data import archives, spans
from lift_jax.data.spans import MAX_FILE_BYTES
from lift_jax.errors import UserError, reason
from lift_jax.files import expand


def printable(name: str) -> str:
    """Makes the whole of a file's name fit to be shown anywhere (see `lift_jax.text.printable`)."""
    return text.printable(name, None)


def is_remote(path: str) -> bool:
    """Tells whether a path is in a bucket.

    Raises:
        UserError: the path, or a part of it from which on it stands alone, is at an address that cannot be read.
    """
    address = re.search(r"(?:^|/)([A-Za-z][A-Za-z0-9+.-]*://)", path)
    if address is None:
        return False
    expand(path[address.start(1) :], "The path of a file")
    return True


def read_bytes(path: str) -> bytes:
    """Reads a file on a disk, in a bucket, or in an archive.

    Raises:
        UserError: the file cannot be read, is no regular file, or has more than `MAX_FILE_BYTES`.
    """
    try:
        remote = is_remote(path)
        if (place := archives.divide(path)) and place.inside:
            return _read_member(path, place)
        if remote:
            return epath.Path(path).read_bytes()
        status = os.stat(path)  # Before it is opened: to open a pipe is to wait for who writes into it.
        if not stat.S_ISREG(status.st_mode):
            raise UserError(f"{printable(path)} is {special(status.st_mode)}, not a file; name a file.")
        if status.st_size > MAX_FILE_BYTES:
            raise UserError(
                f"{printable(path)} has {status.st_size:,} bytes, more than the {MAX_FILE_BYTES:,} that are read."
            )
        with open(path, "rb") as file:
            return file.read()
    except UserError:
        raise
    except Exception as error:  # That of a bucket's library can be any.
        relative = not is_remote(path) and not os.path.isabs(path)
        place = f" from the current folder {os.getcwd()}" if relative else ""
        raise UserError(f"{printable(path)} cannot be read{place}: {reason(error)}.") from error


def _read_member(path: str, place: archives.Place) -> bytes:
    span = archives.open_archive(place.archive).members.get(place.inside)
    if span is None:
        raise FileNotFoundError
    return spans.read(place.archive, span, path)


def special(mode: int) -> str:
    """Names what is no regular file by its mode, such as "a folder" or "a pipe"."""
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")


def list_folder(folder: str) -> set[str]:
    """Lists the names of what is in a folder on a disk, in a bucket, or in an archive.

    Raises:
        UserError: the folder does not exist, is none, or cannot be read.
    """
    try:
        remote = is_remote(folder)
        if place := archives.divide(folder):
            return set(entries_of(place))
        if remote:
            return {child.name for child in epath.Path(folder).iterdir()}
        return set(os.listdir(folder or "."))
    except UserError:
        raise
    except Exception as error:  # As above.
        raise UserError(f"The folder {printable(folder)} cannot be read: {reason(error)}.") from error


def entries_of(place: archives.Place) -> dict[str, bool]:
    """Gives the names in a folder of an archive, and whether each is a folder itself.

    Raises:
        FileNotFoundError: there is no such folder.
        UserError: the archive cannot be read.
    """
    entries = archives.open_archive(place.archive).folders.get(place.inside)
    if entries is None:
        raise FileNotFoundError
    return entries


def is_folder(path: str) -> bool:
    """Tells whether there is a folder of this path, on a disk, in a bucket, or in an archive; an archive is one too.

    Raises:
        UserError: the bucket cannot be asked, or the archive cannot be read.
    """
    remote = is_remote(path)
    if place := archives.divide(path):
        return place.inside in archives.open_archive(place.archive).folders
    return ask_bucket(path, lambda place: place.is_dir()) if remote else os.path.isdir(path)


def is_file(path: str) -> bool:
    """Tells whether there is a file of this path, on a disk, in a bucket, or in an archive; an archive is one too.

    Raises:
        UserError: see `is_folder`.
    """
    remote = is_remote(path)
    if place := archives.divide(path):
        return not place.inside or place.inside in archives.open_archive(place.archive).members
    return ask_bucket(path, lambda place: place.is_file()) if remote else os.path.isfile(path)


def ask_bucket(path: str, question: Callable[[epath.Path], bool]) -> bool:
    """Asks a bucket whether something is true of a path, which may lead to an archive: that is a file here.

    Raises:
        UserError: the bucket cannot be asked.
    """
    try:
        return question(epath.Path(path))
    except Exception as error:  # As above.
        raise UserError(f"{printable(path)} cannot be read: {reason(error)}.") from error
