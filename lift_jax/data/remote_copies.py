"""Copies on this machine of files in buckets, each of which is fetched once as long as it does not change.

A copy is there whole or not at all. What was fetched before a command was killed is not fetched again.
"""

import contextlib
import functools
import hashlib
import logging
import os
import posixpath
import re
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from lift_jax.data import local_copies
from lift_jax.errors import NO_ROOM, UserError, reason
from lift_jax.files import require_room, writing
from lift_jax.text import printable

_LOGGER = logging.getLogger(__name__)

_ADDRESS = re.compile("[A-Za-z][A-Za-z0-9+.-]*://")
_THREADS = 32
"""How many files are fetched at once: to ask for one takes longer than to send it."""

_VERSION = ("ETag", "etag", "md5Hash", "LastModified", "last_modified", "updated", "mtime", "created")
"""What file systems tell of a file that changes with it; the first that there is counts."""

_ABANDONED = 3600.0
"""Seconds after which a file that nobody has written to is that of a command which was killed."""

_LONGEST_NAME = 100
"""Characters of a file's name that its copy has, so that messages about the copy say which file it is of."""


class _File(NamedTuple):
    """A file in a bucket.

    Attributes:
        address: as a person writes it.
        name: as its file system calls it.
        size: in bytes.
        place: where its copy is, or will be: elsewhere once the file has changed.
    """

    address: str
    name: str
    size: int
    place: Path


class FullError(UserError):
    """Raised where the disk of the copies is full."""


def fetch(paths: Sequence[str]) -> list[str]:
    """Gives paths on the disk: those of the copies of files in buckets, which are fetched, and local paths as they are.

    Args:
        paths: of files, some or all of which are in buckets.

    Raises:
        FullError: if the disk has no room for the copies.
        UserError: if a file is not there, a bucket cannot be read, or the copies cannot be written.
    """
    remote = [path for path in paths if _ADDRESS.match(path)]
    if not remote:
        return list(paths)
    found = {file.address: file for file in _look_up(remote)}
    missing = [file for file in found.values() if not _is_there(file)]
    if missing:
        _fetch(missing)
    return [str(found[path].place) if path in found else path for path in paths]


@functools.lru_cache(maxsize=64)
def fetch_archive(address: str) -> str | None:
    """Gives the path of the copy of an archive in a bucket, once for each process; None if there is no such file.

    Raises:
        UserError: see `fetch`.
    """
    with _asking(address):
        is_file = _system(address).isfile(address)
    return fetch([address])[0] if is_file else None


def matches(pattern: str) -> list[str]:
    """Finds the files in a bucket that a pattern such as gs://bucket/photos/**/*.jpg stands for, sorted.

    Raises:
        UserError: if the bucket cannot be read.
    """
    with _asking(pattern):
        found = _system(pattern).glob(pattern, detail=True)
    scheme = pattern.partition("://")[0]
    return sorted(f"{scheme}://{name.lstrip('/')}" for name, about in found.items() if about["type"] == "file")


def _system(address: str) -> Any:
    """Gives the file system of an address, in the words of fsspec."""
    import fsspec  # It imports the package of the bucket.

    return fsspec.filesystem(address.partition("://")[0])


@contextlib.contextmanager
def _asking(address: str) -> Iterator[None]:
    """Turns what the file system of a bucket says inside the block into a sentence."""
    try:
        yield
    except UserError:
        raise
    except ImportError as error:  # the package of the bucket
        raise UserError(f"{printable(address, None)} cannot be read: {reason(error)}.") from error
    except Exception as error:  # The file systems have no common base.
        raise UserError(
            f"{printable(address, None)} cannot be read: {reason(error)}; see to the address, the network and your "
            "permissions."
        ) from error


def _look_up(addresses: Iterable[str]) -> list[_File]:
    """Asks for size and version of each file, of several in one folder at once."""
    folders: dict[str, list[str]] = defaultdict(list)
    for address in dict.fromkeys(addresses):
        folders[posixpath.dirname(address)].append(address)
    found: list[_File] = []
    _at_once(lambda item: found.extend(_look_up_in(*item)), folders.items())
    return found


def _look_up_in(folder: str, addresses: Sequence[str]) -> list[_File]:
    with _asking(addresses[0] if len(addresses) == 1 else folder):
        system = _system(folder)
        if len(addresses) == 1:
            entries = [system.info(addresses[0])]
        else:
            entries = system.ls(system._strip_protocol(folder), detail=True)
        known = {entry["name"].rstrip("/"): entry for entry in entries}
        files = []
        for address in addresses:
            name = system._strip_protocol(address)
            with _asking(address):
                files.append(_described(address, name, known.get(name) or system.info(address)))
        return files


def _described(address: str, name: str, about: dict[str, Any]) -> _File:
    version = next((str(about[key]) for key in _VERSION if about.get(key)), "")
    identity = "\0".join((address, str(about["size"]), version))
    digest = hashlib.sha256(identity.encode("utf-8", "surrogateescape")).hexdigest()
    own_name = posixpath.basename(address)[-_LONGEST_NAME:]
    return _File(address, name, int(about["size"]), _folder() / digest[:2] / f"{digest[2:24]}-{own_name}")


def _folder() -> Path:
    return local_copies.folder() / "remote"


def _is_there(file: _File) -> bool:
    try:
        return file.place.stat().st_size == file.size
    except OSError:
        return False


def _fetch(files: Sequence[_File]) -> None:
    """Fetches files into their places, with a line before and one after."""
    total, count = sum(file.size for file in files), f"{len(files):,} file{'' if len(files) == 1 else 's'}"
    first, folder = printable(files[0].address, None), _folder()
    _LOGGER.info(
        "%s of %s, such as %s, %s copied into %s.",
        count, _bytes(total), first, "is" if len(files) == 1 else "are", folder,
    )  # fmt: skip
    start = time.perf_counter()
    with writing(folder, f"name another folder with {local_copies.VARIABLE}"), _unless_full():
        parts = folder / "parts"
        parts.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(parts)
        require_room(folder, total)
        shown = tqdm(total=total, unit="B", unit_scale=True, desc="copying", disable=None, leave=False)
        with shown as progress:
            _at_once(lambda file: _fetch_one(file, parts, progress), files)
    taken = time.perf_counter() - start
    _LOGGER.info("%s came in %.0f s, %s a second.", count, taken, _bytes(total / taken))


def _fetch_one(file: _File, parts: Path, progress: tqdm) -> None:
    file.place.parent.mkdir(exist_ok=True)
    part = parts / f"{os.getpid()}-{threading.get_ident()}-{file.place.name}"
    try:
        with _asking(file.address), _unless_full():
            _system(file.address).get_file(file.name, str(part), callback=_callback(progress))
        if (size := part.stat().st_size) != file.size:
            raise UserError(
                f"{printable(file.address, None)} came with {size:,} bytes instead of {file.size:,}; start the command "
                "again, which goes on with what is missing."
            )
        part.replace(file.place)
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def _unless_full() -> Iterator[None]:
    """Tells a full disk from what the bucket says."""
    try:
        yield
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        folder = _folder()
        raise FullError(
            f"{folder} cannot be written ({reason(error)}); make room, or name another folder with "
            f"{local_copies.VARIABLE}."
        ) from error


def _callback(progress: tqdm) -> Any:
    from fsspec.callbacks import Callback

    class Counted(Callback):
        """Counts the bytes of a file among those of all."""

        def relative_update(self, inc: int = 1) -> None:
            with progress.get_lock():
                progress.update(inc)

    return Counted()


def _at_once(work: Callable[[Any], None], items: Iterable[Any]) -> None:
    """Does something with many items at once; after the first failure, or Ctrl-C, no other is begun."""
    with ThreadPoolExecutor(_THREADS) as threads:
        try:
            futures: list[Future[None]] = [threads.submit(work, item) for item in items]
            wait(futures, return_when="FIRST_EXCEPTION")
            for future in futures:
                if future.done():
                    future.result()
        finally:
            threads.shutdown(cancel_futures=True)


def _remove_abandoned(parts: Path) -> None:
    for part in parts.iterdir():
        with contextlib.suppress(OSError):
            if time.time() - part.stat().st_mtime > _ABANDONED:
                part.unlink()


def _bytes(count: float) -> str:
    digits, unit = re.fullmatch(r"(.*?)(\D?)", tqdm.format_sizeof(count)).groups()  # pyright: ignore
    return f"{digits} {unit}B"
