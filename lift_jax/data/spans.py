"""Images that lie within larger files: a tar or zip archive, or a file of Arrow."""

import dataclasses
import zlib
from collections.abc import Iterable, Sequence
from typing import IO, NamedTuple

import numpy as np
from jaxtyping import Shaped

from lift_jax.errors import UserError, reason
from lift_jax.text import printable

MAX_FILE_BYTES = 1 << 31
"""Larger images are refused: one with the most pixels that are accepted has less, in 32-bit floats."""

_LOCAL_HEADER = 30
"""Bytes of what a zip archive writes before the name of a member and its data."""


class Span(NamedTuple):
    """Where the bytes of one image are.

    Attributes:
        start: the first of them in the larger file; in a zip archive, of the header before them.
        stored: how many of them there are.
        size: how many they make; more than `stored` if they are deflated.
        form: `PLAIN`, or, of a member of a zip archive, `STORED` or `DEFLATED`.
        crc: the checksum of such a member.
    """

    start: int
    stored: int
    size: int
    form: int = 0
    crc: int = 0


PLAIN, STORED, DEFLATED = range(3)

SPANS = np.dtype([("start", "i8"), ("stored", "i8"), ("size", "i8"), ("form", "u1"), ("crc", "u4")])
"""Spans as an array: a million of them take 29 MB."""


def as_array(spans: Iterable[Span]) -> Shaped[np.ndarray, " spans"]:
    """Makes an array of `SPANS`."""
    return np.array(list(spans), SPANS)


@dataclasses.dataclass(frozen=True)
class SpanSource:
    """Images within larger files, each of which is read when it is asked for.

    Args:
        files: the larger files, on a disk.
        which: the file of each image, as an index into `files`, int32 [images].
        spans: where each image is in it, `SPANS` [images].
        names: the path that messages and corrections call each image by.
    """

    files: Sequence[str]
    which: np.ndarray
    spans: np.ndarray
    names: Sequence[str]

    def __len__(self) -> int:
        return len(self.spans)

    def __getitem__(self, index: int) -> bytes:
        return read(self.files[int(self.which[index])], Span(*self.spans[index].tolist()), self.path(index))

    def path(self, index: int) -> str:
        """Names the image."""
        return str(self.names[index])


def read(file: str, span: Span, name: str) -> bytes:
    """Reads the bytes of one image.

    Args:
        file: the larger file.
        span: where they are in it.
        name: what messages call the image.

    Raises:
        UserError: if the file cannot be read, has changed, or is damaged there.
    """
    if span.size > MAX_FILE_BYTES:
        raise UserError(f"{_whole(name)} has {span.size:,} bytes, more than the {MAX_FILE_BYTES:,} that are read.")
    try:
        with open(file, "rb") as opened:
            content = _plain(opened, span) if span.form == PLAIN else _zipped(opened, span)
    except OSError as error:
        raise UserError(f"{_whole(name)} cannot be read: {reason(error)}.") from error
    if content is None:
        raise UserError(
            f"{_whole(name)} is damaged, or {_whole(file)} has changed since it was opened; fetch or make it again."
        )
    return content


def _plain(opened: IO[bytes], span: Span) -> bytes | None:
    opened.seek(span.start)
    content = opened.read(span.stored)
    return content if len(content) == span.size else None


def _zipped(opened: IO[bytes], span: Span) -> bytes | None:
    """Reads a member of a zip archive; None if it is not what it was when it was written."""
    opened.seek(span.start)
    header = opened.read(_LOCAL_HEADER)
    opened.seek(int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little"), 1)
    content = opened.read(span.stored)
    if span.form == DEFLATED:
        try:
            content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(content, span.size + 1)
        except zlib.error:
            return None
    return content if len(content) == span.size and zlib.crc32(content) == span.crc else None


def _whole(name: str) -> str:
    return printable(name, None)
