"""The checksums of a PNG's pixels."""

import struct
import zlib

_SIGNATURE = 8
"""Bytes before the first chunk."""


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
