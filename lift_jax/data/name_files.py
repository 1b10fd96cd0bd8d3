"""Files of class names, in the forms in which people have them."""

import enum
import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from lift_jax.data import delimited, text
from lift_jax.data.labels import whole_number
from lift_jax.errors import UserError
from lift_jax.files import parse_json

_WNID = re.compile(r"n\d{8}", re.ASCII)
_CODE = re.compile(r"(?=\D*\d)\S+")
_FIRST_WORD = re.compile(r"""("[^"]*"|'[^']*'|[^\s,]+)[\s,]+(.+)""")

_KEY_COLUMNS = {"", "class", "label", "id", "index", "idx", "number", "folder", "wnid", "synset", "key", "category"}
_KEY_COLUMNS |= {f"{what}_{kind}" for what in ("class", "label", "category") for kind in ("id", "index", "idx")}
_NAME_COLUMNS = {"name", "names", "class_name", "class_names", "classname", "label_name", "category_name"}

LARGEST_FILE, MOST_NAMES, MOST_COLUMNS = 64 << 20, 1_000_000, 20
"""Bytes, lines and columns; the names of all of WordNet have 3 million, 82 thousand and two."""


class _Kind(enum.IntEnum):
    """The kind of content of a column; the higher, the more likely it has the names of the classes."""

    NUMBER = 0
    WNID = 1
    CODE = 2  # one word with a digit in it
    NAME = 3


class Reading(NamedTuple):
    """One way to read a file of names.

    Attributes:
        keys: what a class may be called in the data set: its label, its folder.
        names: the name of each.
        ordered: whether the file may mean the classes by their order; then it has all of them, and no others.
        spaced: whether the key is only the first word of a line, which may as well be the first word of the name.
    """

    keys: tuple[str, ...]
    names: tuple[str, ...]
    ordered: bool = False
    spaced: bool = False


def read(path: str) -> list[list[Reading]]:
    """Gives all ways to read a file of names, the surest first; those that are equally sure are in one list.

    Args:
        path: a JSON file (its name ends in .json), or a text with columns, or with a name a line.

    Raises:
        UserError: if the file cannot be read, has no names, or is neither text nor JSON of names.
    """
    content = text.read(path, largest=LARGEST_FILE)
    tables = _of_json(content, path) if path.lower().endswith(".json") else _of_text(content, path)
    if not any(reading.keys for table in tables for reading in table):
        raise UserError(f"{path} holds no class names; write one a line, in label order.")
    return tables


def _of_text(content: str, path: str) -> list[list[Reading]]:
    delimiter, content = delimited.declared(content)
    lines = [line.strip() for line in content.split("\n") if line.strip()]
    if len(lines) > MOST_NAMES:
        raise UserError(f"{path} has {len(lines):,} lines, more than there can be classes; is it the right file?")
    words = [(_unquoted(found[1]), _unquoted(found[2])) for line in lines if (found := _FIRST_WORD.fullmatch(line))]
    tables = [[_plain(lines, words)]]
    for each in [delimiter] if delimiter else (*delimited.DELIMITERS, ":"):
        rows = _columns(content, lines, each, path)
        if rows:
            tables += _of_rows(rows)
    for pairs in words, [_by_last_word(line) for line in lines]:
        if pairs and len(pairs) == len(lines) and all(map(all, pairs)) and _kind(_keys(pairs)) < _Kind.CODE:
            tables += _of_rows(pairs)
    tables.append([_mapping(words)._replace(spaced=True)])
    if len(lines) > 1 and lines[0].lower() in _NAME_COLUMNS:
        tables.append([_plain(lines[1:], words)])  # the first has one word and is not among them
    return tables


def _by_last_word(line: str) -> tuple[str, str]:
    """Gives the last word of a line, and what is before it or ""."""
    end = 1 + max(line.rfind(each) for each in " \t,")
    return line[end:], _unquoted(line[:end].rstrip(" \t,"))


def _plain(lines: Sequence[str], words: Sequence[tuple[str, str]]) -> Reading:
    """Reads lines that are a name each, or WordNet's `wnid name` in the order of the labels."""
    if len(words) == len(lines) and all(_WNID.fullmatch(key) for key, _ in words):
        return Reading(*_transposed(words), ordered=True)
    names = tuple(_unquoted(line) for line in lines)
    return Reading(names, names, ordered=True)


def _columns(content: str, lines: Sequence[str], delimiter: str, path: str) -> list[tuple[str, ...]]:
    """Splits the file into rows if every line has the delimiter, else gives []; unequal rows end at the first one."""
    if not all(delimiter in line for line in lines) or (delimiter == ":" and any(line[-1] == ":" for line in lines)):
        return []  # a colon at the end of a line is the heading of others
    try:
        rows = [tuple(row.cells) for row in delimited.rows(content, delimiter, path)]
    except UserError:  # a name that begins with a quote
        rows = []
    if len(rows) == len(lines) and len({len(row) for row in rows}) == 1:
        return rows
    return [(key.strip(), name.strip()) for key, _, name in (line.partition(delimiter) for line in lines)]


def _of_rows(rows: Sequence[tuple[str, ...]]) -> list[list[Reading]]:
    """Gives each column of a table as keys, with the names that go with it, if that can be said.

    The names are in the column whose header says so, which may have the keys as well if no other has them. Without a
    header they are in the one other column that is likeliest to have them by its kind; if there is none, the keys are
    the names, and if there are several, nothing can be said.
    """
    if len(rows[0]) > MOST_COLUMNS:
        return []
    body = rows[1:] if _is_header(rows[0]) else rows
    columns = list(zip(*body, strict=True))
    header = [_word(cell) for cell in rows[0]]
    called_names = [place for place, word in enumerate(header) if word in _NAME_COLUMNS]
    if columns and called_names:
        called_keys = [place for place, word in enumerate(header) if word in _KEY_COLUMNS]
        others = called_keys or [place for place in range(len(columns)) if place not in called_names]
        names = columns[called_names[0]]
        by_keys = [_mapping(zip(columns[place], names, strict=True)) for place in others]
        return [by_keys, [_mapping(zip(names, names, strict=True))]]
    kinds = [_kind(column) for column in columns]
    readings = []
    for place, keys in enumerate(columns):
        others = [each for each in range(len(columns)) if each != place and kinds[each] == max(kinds)]
        if len(others) <= 1:
            readings.append(_mapping(zip(keys, columns[others[0]] if others else keys, strict=True)))
    return [readings]


def _is_header(row: Sequence[str]) -> bool:
    words = set(map(_word, row))
    return words <= _KEY_COLUMNS | _NAME_COLUMNS or bool(words & _NAME_COLUMNS)


def _word(cell: str) -> str:
    return cell.strip().lower().replace(" ", "_")


def _keys(pairs: Sequence[tuple[str, str]]) -> list[str]:
    """Gives the first column without its header."""
    return [key for key, _ in (pairs[1:] if _is_header(pairs[0]) else pairs)]


def _kind(column: Sequence[str]) -> _Kind:
    if all(whole_number(cell) is not None for cell in column):
        return _Kind.NUMBER
    if all(map(_WNID.fullmatch, column)):
        return _Kind.WNID
    return _Kind.CODE if all(map(_CODE.fullmatch, column)) else _Kind.NAME


def _mapping(pairs: Iterable[tuple[str, str]]) -> Reading:
    return Reading(*_transposed(list(dict.fromkeys(pairs))))


def _transposed(pairs: Sequence[tuple[str, str]]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return tuple(key for key, _ in pairs), tuple(name for _, name in pairs)


def _unquoted(name: str) -> str:
    quoted = len(name) > 1 and name[0] == name[-1] and name[0] in "\"'" and name[0] not in name[1:-1]
    return name[1:-1].strip() if quoted else name


def _of_json(content: str, path: str) -> list[list[Reading]]:
    try:
        parsed = parse_json(content)
    except ValueError as error:
        raise UserError(f"{path} is no valid JSON ({error}).") from error
    if isinstance(parsed, dict) and isinstance(parsed.get("id2label"), dict):  # the config.json of transformers
        parsed = parsed["id2label"]
    if isinstance(parsed, list) and all(isinstance(name, str) for name in parsed):
        return [[Reading(tuple(parsed), tuple(parsed), ordered=True)]]
    rows = _json_rows(parsed)
    if not rows or len({len(row) for row in rows}) > 1:
        raise UserError(
            f"{path} must hold a list of class names, or an object from label (or folder) to name, or one from name to "
            f"label."
        )
    return _of_rows(rows)


def _json_rows(parsed: Any) -> list[tuple[str, ...]]:
    """Gives the rows of an object from key to name or list of names, or of a list of objects; [] if it is neither."""
    if isinstance(parsed, dict):
        rows = [[key, *(value if isinstance(value, list) else [value])] for key, value in parsed.items()]
    elif isinstance(parsed, list) and all(
        isinstance(each, dict) and each.keys() == parsed[0].keys() for each in parsed
    ):
        rows = [list(parsed[0]), *(list(each.values()) for each in parsed)] if parsed else []
    else:
        return []
    if not all(isinstance(cell, str | int | float) and not isinstance(cell, bool) for row in rows for cell in row):
        return []
    return [tuple(str(cell) for cell in row) for row in rows]
