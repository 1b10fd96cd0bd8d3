"""What an image is known by, whatever its name: a digest of its content."""

import hashlib
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from etils import epath
from safetensors import SafetensorError
from safetensors import numpy as safetensors_numpy

from lift_jax.data.dataset import Dataset, FileSource, Source, SubsetSource
from lift_jax.errors import UserError
from lift_jax.files import replacing

DIGEST = 16
"""Bytes of a digest."""

_THREADS = 8
_SETTLED = 2.0
"""Seconds after which a file that is written again has another time, on every file system."""


def digests(dataset: Dataset, known: epath.Path) -> list[bytes | None]:
    """Gives a digest of the content of each image: of the bytes of its file, or of its pixels where there is no file.

    Files on a disk that have the size and the time of the last change that they had are not read again, as git does it.

    Args:
        dataset: the images.
        known: the file that keeps the digests of files by their path, size and time. It is written if it can be:
            without it, the files are read again.

    Returns:
        One digest an image; None for an image that cannot be read, which whoever decodes it will tell of.
    """
    if (made := getattr(dataset.source, "digests", None)) is not None:  # of images that are made of others
        return made(known)
    stamps = [_stamp(dataset.source, index) for index in range(len(dataset))]
    remembered = _read(known)

    def digest(index: int) -> bytes | None:
        stamp = stamps[index]
        return (remembered.get(stamp) if stamp is not None else None) or _digest(dataset.source, index)

    with ThreadPoolExecutor(_THREADS) as threads:
        found = list(threads.map(digest, range(len(dataset))))
    new = {stamp: made for stamp, made in zip(stamps, found, strict=True) if stamp is not None and made is not None}
    if new.keys() - remembered.keys():
        _write(known, {**remembered, **new})
    return found


def _digest(source: Source, index: int) -> bytes | None:
    try:
        content = source[index]
    except UserError:
        return None
    made = hashlib.blake2b(digest_size=DIGEST)
    if isinstance(content, np.ndarray):
        made.update(repr((content.dtype.str, content.shape)).encode())
        content = np.ascontiguousarray(content).data
    elif not isinstance(content, bytes):
        return None
    made.update(content)
    return made.digest()


def _stamp(source: Source, index: int) -> bytes | None:
    """Gives what tells that a file on a disk is as it was; None where there is none, or it has just been written."""
    while isinstance(source, SubsetSource):
        source, index = source.source, int(source.indices[index])
    if not isinstance(source, FileSource):
        return None
    path = os.path.abspath(source.file(index))
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    if time.time() - status.st_mtime < _SETTLED:
        return None
    text = f"{path}\0{status.st_size}\0{status.st_mtime_ns}"
    return hashlib.blake2b(text.encode(errors="surrogateescape"), digest_size=DIGEST).digest()


def _read(file: epath.Path) -> dict[bytes, bytes]:
    try:
        columns = safetensors_numpy.load(file.read_bytes())
        return dict(zip(split(columns["stamp"]), split(columns["content"]), strict=True))
    except (OSError, SafetensorError, KeyError, ValueError):  # it can be had again
        return {}


def _write(file: epath.Path, known: dict[bytes, bytes]) -> None:
    columns = {"stamp": joined(list(known)), "content": joined(list(known.values()))}
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file) as part:
            part.write_bytes(safetensors_numpy.save(columns))
    except OSError:
        return


def joined(each: Sequence[bytes]) -> np.ndarray:
    """Joins digests to an array, uint8 [n, DIGEST]."""
    return np.frombuffer(b"".join(each), np.uint8).reshape(-1, DIGEST)


def split(rows: np.ndarray) -> list[bytes]:
    """Splits what `joined` has joined.

    Raises:
        ValueError: if it is no such array.
    """
    if rows.ndim != 2 or rows.shape[1] != DIGEST or rows.dtype != np.uint8:
        raise ValueError("no digests")
    content = rows.tobytes()
    return [content[start : start + DIGEST] for start in range(0, len(content), DIGEST)]
