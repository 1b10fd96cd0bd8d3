"""Text with columns: CSV as people's programs write it."""

import csv
import io
import re
from typing import NamedTuple

from lift_jax.data.shown import shown
from lift_jax.errors import UserError

DELIMITERS = (",", ";", "\t", "|")


class Row(NamedTuple):
    """The cells of one row, and the line that it ends in."""

    line: int
    cells: list[str]


def declared(text: str) -> tuple[str, str]:
    """Reads a first line such as Excel's `sep=;`: gives its delimiter, or "", and the text after it."""
    found = re.match(r'"?sep=([,;:|\t])"?[^\S\n]*(\n|$)', text, re.IGNORECASE)
    return (found[1], "\n" + text[found.end() :]) if found else ("", text)


def rows(text: str, delimiter: str, where: str) -> list[Row]:
    """Reads the rows that are not blank; their cells lose their quotes and the spaces around them.

    Args:
        text: with `\\n` as line ending.
        delimiter: one character.
        where: the file, for messages.

    Raises:
        UserError: if a quote is opened and not closed, or a cell is absurdly long.
    """
    try:
        parsed = _parse(text, delimiter, strict=True)
    except csv.Error as error:
        if "unexpected end" in str(error):
            line = text[: text.rfind('"')].count("\n") + 1
            raise UserError(
                f"{where} has a quote that is not closed (the last one is in line {line}); close it, or leave it out."
            ) from error
        try:
            parsed = _parse(text, delimiter, strict=False)
        except csv.Error as too_long:
            raise UserError(f"{where} is no table: {too_long}; it begins with {shown(text[:40])}.") from too_long
    return [row for row in parsed if any(row.cells)]


def _parse(text: str, delimiter: str, strict: bool) -> list[Row]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=strict)
    return [Row(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
