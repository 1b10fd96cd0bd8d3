"""Text files in the encodings that people's programs write."""

import codecs
import logging
import re

import charset_normalizer
from etils import epath

from lift_jax.data.reading import read_bytes
from lift_jax.data.shown import shown
from lift_jax.errors import UserError

_LOGGER = logging.getLogger(__name__)

_BOMS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, whose mark it begins with
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_SPOKEN = {"utf-16": "UTF-16", "utf-16-le": "UTF-16", "utf-16-be": "UTF-16", "utf-32": "UTF-32"}

_SURROGATE = re.compile("[\ud800-\udfff]")

LARGEST_FILE = 2 << 30
"""Bytes of a text file; the largest known list of images, that of iNaturalist 2021, has less than half of it."""

LONGEST_NAME = 1000
"""Characters of a class name, a prompt or a descriptor; a text tower reads 64 to 77 tokens."""


def read(path: str, keep_bytes: bool = False, largest: int = LARGEST_FILE) -> str:
    """Reads the text of a local or remote file, with `\\n` as its only line ending; see `decode`.

    Args:
        path: the file.
        keep_bytes: see `decode`.
        largest: bytes that the file may have.

    Raises:
        UserError: if the file cannot be read, is too large, or is no text.
    """
    try:
        size = epath.Path(path).stat().length
    except (OSError, ValueError, ImportError):
        size = 0  # whatever is wrong, reading says it
    if size > largest:
        raise UserError(
            f"{path} has {size:,} bytes, and a file of this kind is read up to {largest:,}; is it the right file?"
        )
    return decode(read_bytes(path), path, keep_bytes)


def decode(content: bytes, where: str, keep_bytes: bool = False) -> str:
    """Decodes bytes to text, with `\\n` as its only line ending.

    UTF-8, UTF-16 and UTF-32 are known by their byte order mark; without one, the text is UTF-8 if that is possible,
    UTF-16 if every second byte is zero, else Windows-1252 (which Latin-1 is part of) if the result looks like text.
    A warning says that a file is not UTF-8.

    Args:
        content: the bytes.
        where: what messages call them, such as the file.
        keep_bytes: whether bytes in no known encoding are kept as surrogates, as Python does with the names of files,
            instead of being refused.

    Raises:
        UserError: if the bytes are no text, or in an encoding that cannot be told.
    """
    encoding = _encoding(content)
    try:
        if encoding is None and keep_bytes:
            text = content.decode("utf-8", "surrogateescape")
        else:
            text = content.decode(encoding or "utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{where} is no text in UTF-8, UTF-16 or Windows-1252 (it begins with {content[:8]!r}); if it is text, "
            f"save it as UTF-8."
        ) from error
    if "\0" in text:
        raise UserError(f"{where} is no text: it has NUL characters, first at character {text.index(chr(0)) + 1}.")
    if encoding not in (None, "utf-8", "utf-8-sig"):
        _LOGGER.warning("%s is not UTF-8 and is read as %s.", where, _SPOKEN.get(encoding, "Windows-1252 (Latin-1)"))
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _encoding(content: bytes) -> str | None:
    for mark, encoding in _BOMS.items():
        if content.startswith(mark):
            return encoding
    even, odd = content[::2].count(0), content[1::2].count(0)
    if max(even, odd) > 0.4 * len(content) and min(even, odd) == 0:  # of Latin letters in UTF-16 half is zero
        return "utf-16-le" if odd else "utf-16-be"
    try:
        content.decode("utf-8")
        return "utf-8"
    except UnicodeDecodeError:
        pass
    # Among all encodings the library guesses: of a few words with one accent it makes Chinese. With one that is asked
    # for, it says whether the result looks like text.
    likely = charset_normalizer.from_bytes(content, cp_isolation=["cp1252"], enable_fallback=False).best()
    return likely.encoding if likely else None


def check(text: str, what: str) -> None:
    """Checks what a text tower is to read.

    Args:
        text: a class name, template or descriptor.
        what: how the error message begins, such as "The class name of label 3".

    Raises:
        UserError: if the text is blank or too long, or has a NUL character or half a surrogate pair.
    """
    if not text.strip():
        raise UserError(f"{what} is empty; write some words.")
    if len(text) > LONGEST_NAME:
        raise UserError(f"{what} is {shown(text)}, and no text tower reads so much; write a few words.")
    if "\0" in text:
        raise UserError(f"{what} is {shown(text)}, which has a NUL character in it; write it without.")
    if _SURROGATE.search(text):
        raise UserError(
            f"{what} is {shown(text)}, which has half a character in it (a lone surrogate); write the whole character."
        )
