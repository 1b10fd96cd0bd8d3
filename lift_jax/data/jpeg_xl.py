"""The size of a JPEG XL image, from its header: the decoder tells it only after it has decoded the image."""

import itertools
from collections.abc import Iterator

_CODESTREAM = b"\xff\x0a"
_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
"""Widths over heights that the header has a number for, from 1."""


def shape(data: bytes) -> tuple[int, int]:
    """Reads height and width of an image, bare or in a container (ISO/IEC 18181-1 and -2).

    Raises:
        ValueError: there is no such header.
    """
    parts = [data[:16]] if data.startswith(_CODESTREAM) else _parts(data)
    head = b"".join(itertools.islice(parts, 16))[:16]
    if not head.startswith(_CODESTREAM):
        raise ValueError("it has no JPEG XL header")
    bits = _Bits(int.from_bytes(head[2:], "little"))
    small = bits.take(1)
    height = _side(bits, small)
    ratio = bits.take(3)
    if ratio == 0:
        return height, _side(bits, small)
    over, under = _RATIOS[ratio - 1]
    return height, height * over // under


class _Bits:
    """Reads the bits of a number, from the lowest."""

    def __init__(self, value: int):
        self._value = value

    def take(self, count: int) -> int:
        taken = self._value & ((1 << count) - 1)
        self._value >>= count
        return taken


def _side(bits: _Bits, small: int) -> int:
    return 8 * (bits.take(5) + 1) if small else 1 + bits.take((9, 13, 18, 30)[bits.take(2)])


def _parts(data: bytes) -> Iterator[bytes]:
    """Finds the boxes of a container that hold the codestream, and gives where each begins."""
    at = 0
    while at + 8 <= len(data):
        size, kind, start = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8], at + 8
        if size == 1:
            size, start = int.from_bytes(data[at + 8 : at + 16], "big"), at + 16
        end = at + size if size else len(data)
        if end < start:
            return
        if kind in (b"jxlc", b"jxlp"):
            start += 4 * (kind == b"jxlp")  # the part's number
            yield data[start : min(end, start + 16)]
        at = end
