"""Tables of images and labels, as people have them and as they get damaged."""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

from lift_jax.bench.abuse.cases import Case, Setting
from lift_jax.bench.abuse.setting import CLASSES, labelled, paths, truth

Rows = list[list[str]]


def _rows(name_of: Callable[[str], str] = str) -> Rows:
    return [["path", "label"], *([path, name_of(label)] for path, label in paths())]


def _table(rows: Sequence[Sequence[str]], delimiter: str = ",", newline: str = "\n") -> str:
    return newline.join(delimiter.join(row) for row in rows) + newline


def _table_case(
    setting: Setting, says: str, content: bytes | str, name_of: Callable[[str], str] = str, **more: Any
) -> Case:
    def attempt(written: bytes | str, file: str) -> Callable[[Path], Any]:
        def given(place: Path) -> Any:
            (place / file).write_bytes(written.encode() if isinstance(written, str) else written)
            return labelled(setting.photos, format="csv", train_list=str(place / file), val_fraction=0.2)

        return given

    valid = Case("a table of names", attempt(_table(_rows()), "valid.csv"), (truth(),))
    options = {"accepted": (truth(name_of),), "names": ("spoilt.csv",), **more}
    return Case(says, attempt(content, "spoilt.csv"), valid=valid, **options)


def a_table_of_another_kind(random: Random, setting: Setting) -> Case:
    """Writes a good table in another encoding, with another delimiter, newline, quotes or separator of paths."""

    def name_of(label: str) -> str:
        return f"{label} é" if accents else f"{label} e"

    accents = random.random() < 0.6
    encoding = random.choice(["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "latin-1", "cp1252"])
    delimiter, newline = random.choice([",", ";", "\t", ", "]), random.choice(["\n", "\r\n", "\r"])
    rows = _rows(name_of)
    ways = [
        way for way in ("quotes", "backslashes", "sep", "spaces", "capitals", "blank lines") if random.random() < 0.3
    ]
    if "backslashes" in ways:
        rows = [rows[0], *([path.replace("/", "\\"), label] for path, label in rows[1:])]
    if "capitals" in ways:
        rows[0] = [word.upper() for word in rows[0]]
    if "quotes" in ways:
        rows = [[f'"{cell}"' for cell in row] for row in rows]
    if "spaces" in ways and delimiter != "\t":
        rows = [[f"{cell} " for cell in row] for row in rows]
    text = _table(rows, delimiter, newline)
    if "blank lines" in ways:
        text += newline * 3
    if "sep" in ways and delimiter in ",;":
        text = f"sep={delimiter}{newline}{text}"
    content = (b"\xfe\xff" if encoding == "utf-16-be" else b"") + text.encode(encoding)
    says = f"a table in {encoding}, {delimiter!r}, {newline!r}, accents {accents}, {', '.join(ways)}"
    return _table_case(setting, says, content, name_of)


def a_table_with_a_bad_cell(random: Random, setting: Setting) -> Case:
    """Spoils a cell of a table."""
    rows, numbers = _rows(), random.random() < 0.5
    if numbers:
        rows = [rows[0], *([path, str(CLASSES.index(label))] for path, label in rows[1:])]
    at = random.randrange(1, len(rows))
    if random.random() < 0.6:
        bad = ["", " ", "nan", "NaN", "\0"]
        # Among names, most words are a name.
        numeric = ["²", "--1", "1" + "0" * 5000, "-3", "1e99", "inf", "1000000000", "100000000000", "1.5", "x"]
        cell = random.choice([*bad, *(numeric if numbers else ["7"])])
        rows[at][1] = cell
    else:
        cell = random.choice(
            ["", " ", "nope.png", "bee", "/nope/x.png", "http://x.org/a.png", "\0", "../x.png", "x" * 5000]
        )
        rows[at][0] = cell
    return _table_case(setting, f"the cell {cell[:30]!r} in line {at + 1}", _table(rows), accepted=())


def a_table_without_sense(random: Random, setting: Setting) -> Case:
    """Gives something else where a table is expected."""
    good = _table(_rows())
    bad: list[str | bytes] = [
        "", "\n\n", "path,label\n", good.partition("\n")[2], good.replace("label", "etikett", 1),
        good.replace("path", "wohin", 1), '"' + good, good.replace("\n", '\n"', 1),
        "path;label", "\0" * 500, b"\xff" * 300,
        b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4, "[" * 100_000, "{}", "<html></html>", b"PK\x03\x04" + bytes(200),
        good + "a,b,c,d,e\n" * 3, "path,label\n" + "x" * 300_000 + ",bee\n", good.replace("path,label", "path,path", 1),
    ]  # fmt: skip
    content = random.choice(bad)
    return _table_case(setting, f"a table of {content[:40]!r}", content, accepted=())


def a_metadata_file(random: Random, setting: Setting) -> Case:
    """Spoils a line of a metadata.jsonl."""
    lines = [json.dumps({"file_name": path, "label": label}) for path, label in paths()]
    at = random.randrange(len(lines))
    path, label = paths()[at]
    spoilt = random.choice([
        "{", "null", "[]", "5", '"x"', "{}", "[" * 100_000, "\0", lines[at] + "x", '{"file_name": 5, "label": "bee"}',
        json.dumps({"file_name": path}), json.dumps({"label": label}), json.dumps({"file_name": path, "label": None}),
        json.dumps({"file_name": path, "label": []}), json.dumps({"file_name": "nope.png", "label": label}),
        json.dumps({"file_name": path, "label": {"a": 1}}), json.dumps({"file_name": path, "label": float("nan")}),
    ])  # fmt: skip

    def attempt(content: list[str]) -> Callable[[Path], Any]:
        def given(place: Path) -> Any:
            for name, _ in paths():
                (place / name).parent.mkdir(exist_ok=True)
                os.link(setting.photos / name, place / name)
            (place / "metadata.jsonl").write_text("\n".join(content) + "\n")
            return labelled(place, format="csv", val_fraction=0.2)

        return given

    valid = Case("a metadata.jsonl", attempt(lines), (truth(),))
    says = f"line {at + 1} of metadata.jsonl is {spoilt[:60]}"
    return Case(says, attempt([*lines[:at], spoilt, *lines[at + 1 :]]), (), ("metadata.jsonl",), valid=valid)
