"""What a PNG says of its pixels: how many there are, and their checksums."""

import struct
import zlib

_SIGNATURE = 8
"""Bytes before the first chunk."""


def shape(data: bytes) -> tuple[int, int]:
    """Reads height and width from the first chunk.

    Args:
        data: the file.

    Raises:
        ValueError: if it ends before they do.
    """
    if len(data) < _SIGNATURE + 16:
        raise ValueError("it ends in its header")
    width, height = struct.unpack_from(">II", data, _SIGNATURE + 8)
    return height, width


def check_pixels(data: bytes) -> None:
    """Checks that the pixels are those that were saved: Pillow's decoder stops at the last row, before the checksum.

    Pillow's `verify` would do it as well, but refuses a file of whose end nothing but the mark is missing, too.

    Args:
        data: the file (PNG specification, section 5.3: chunks of a length, a name, content, and a checksum).

    Raises:
        ValueError: if the checksum of a chunk of pixels is another one.
    """
    view, start = memoryview(data), _SIGNATURE
    while start + 8 <= len(view):
        length, name = struct.unpack_from(">I4s", view, start)
        end = start + 8 + length
        if name == b"IDAT" and view[end : end + 4] != struct.pack(">I", zlib.crc32(view[start + 4 : end])):
            raise ValueError("the checksum of its pixels is another one")
        start = end + 4
