"""Lists, class names, descriptors and annotations, as people have them and as they get damaged."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

from lift_jax.bench.abuse.cases import Case, Grammar, Setting
from lift_jax.bench.abuse.setting import ANYTHING, CLASSES, labelled, paths, truth
from lift_jax.bench.abuse.tables import (
    a_metadata_file,
    a_table_of_another_kind,
    a_table_with_a_bad_cell,
    a_table_without_sense,
)
from lift_jax.data import prompts

# Lists.


def _list_case(
    setting: Setting, says: str, train: bytes, accepted: tuple = (), names: Sequence[str] = ("spoilt.txt",)
) -> Case:
    lines = [f"{path} {CLASSES.index(label)}" for path, label in paths()]
    test = [line for line in lines if "4.png" in line]

    def attempt(content: bytes, file: str) -> Callable[[Path], Any]:
        def given(place: Path) -> Any:
            (place / file).write_bytes(content)
            (place / "test.txt").write_text("\n".join(test))
            lists = dict(train_list=str(place / file), test_list=str(place / "test.txt"))
            return labelled(setting.photos, format="lists", **lists)

        return given

    valid = Case("two lists", attempt("\n".join(_train_lines()).encode(), "valid.txt"), (truth(),))
    return Case(says, attempt(train, "spoilt.txt"), accepted, tuple(names), valid=valid)


def _train_lines() -> list[str]:
    return [f"{path} {CLASSES.index(label)}" for path, label in paths() if "4.png" not in path]


def a_list_with_a_bad_line(random: Random, setting: Setting) -> Case:
    """Spoils a line of a list."""
    lines = _train_lines()
    at = random.randrange(len(lines))
    path, _, label = lines[at].rpartition(" ")
    lines[at] = random.choice([
        path, f"{path} ", f"{path} ²", f"{path} --1", f"{path} -1", f"{path} 1e9", f"{path} 1000000000", f"{path} nan",
        f"{path} 100000000000", f"{path} 1{'0' * 5000}", f"{path} 0.5", f"{path} x", f"{path} 9", f"{path} \0", label,
        f"nope.png {label}", f"/nope/x.png {label}", f"http://x.org/a.png {label}", f"\0 {label}",
        f"{'x' * 5000} {label}",
        f"bee {label}", f"{path} ٣٣",
    ])  # fmt: skip
    return _list_case(setting, f"the line {lines[at][:60]!r}", "\n".join(lines).encode())


def a_list_of_another_kind(random: Random, setting: Setting) -> Case:
    """Writes a good list in another way."""
    lines, newline = _train_lines(), random.choice(["\n", "\r\n", "\r"])
    way = random.choice(["tabs", "commas", "quotes", "backslashes", "floats", "blank lines", "spaces", "plain"])
    pairs = [line.rsplit(" ", 1) for line in lines]
    written = {
        "tabs": [f"{path}\t{label}" for path, label in pairs],
        "commas": [f"{path},{label}" for path, label in pairs],
        "quotes": [f'"{path}" {label}' for path, label in pairs],
        "backslashes": [f"{path} {label}".replace("/", "\\") for path, label in pairs],
        "floats": [f"{path} {label}.0" for path, label in pairs],
        "blank lines": [f"{line}{newline}" for line in lines],
        "spaces": [f"  {path}   {label}  " for path, label in pairs],
        "plain": lines,
    }[way]
    encoding = random.choice(["utf-8", "utf-8-sig", "utf-16", "latin-1"])
    content = newline.join(written).encode(encoding)
    return _list_case(setting, f"a list in {encoding}, {newline!r}, {way}", content, (truth(),))


def a_list_without_sense(random: Random, setting: Setting) -> Case:
    """Gives something else where a list is expected, or labels that are not 0 to n - 1."""
    lines = _train_lines()
    shifted = [f"{line[:-1]}{int(line[-1]) + 1}" for line in lines]
    gap = [line if line[-1] != "1" else f"{line[:-1]}9" for line in lines]
    content = random.choice([
        b"", b"\n\n", b"\0" * 300, b"\xff\xfe", b"\x89PNG\r\n\x1a\n" + bytes(range(256)),
        b"[" * 100_000, b"{}", b"0\n1\n2\n",
        "\n".join(shifted).encode(), "\n".join(gap).encode(), b"PK\x03\x04" + bytes(100), b"<html>\n</html>\n",
    ])  # fmt: skip
    # Labels of which the test split lacks some may be said of either list.
    return _list_case(setting, f"a list of {content[:40]!r}", content, (), ("spoilt.txt", "test.txt"))


# Class names.

NAMES = {"bee": "bumble bee", "cat": "tabby cat", "dog": "great dane", "hen": "brown hen"}


def _names_case(setting: Setting, says: str, file: str, content: bytes) -> Case:
    def attempt(name: str, written: bytes) -> Callable[[Path], Any]:
        def given(place: Path) -> Any:
            (place / name).write_bytes(written)
            return labelled(setting.photos, format="folder", class_names=str(place / name), val_fraction=0.2)

        return given

    known = truth(NAMES.__getitem__)
    valid = Case("names as lines", attempt("valid.txt", "\n".join(NAMES.values()).encode()), (known,))
    return Case(says, attempt(file, content), (known,), (file,), valid=valid)


def class_names_of_another_kind(random: Random, setting: Setting) -> Case:
    """Writes good class names in any order and form that says which folder is meant."""
    folders = list(NAMES)
    random.shuffle(folders)
    pairs = [(folder, NAMES[folder]) for folder in folders]
    numbered = [(str(CLASSES.index(folder)), name) for folder, name in pairs]
    file, text = random.choice([
        ("spoilt.json", json.dumps(dict(pairs))),
        ("spoilt.json", json.dumps(dict(numbered))),
        ("spoilt.json", json.dumps(list(NAMES.values()))),
        ("spoilt.txt", "\n".join(f"{a} {b}" for a, b in pairs)),
        ("spoilt.txt", "\n".join(f"{a}: {b}" for a, b in pairs)),
        ("spoilt.txt", "\n".join(f"{a}\t{b}" for a, b in pairs)),
        ("spoilt.csv", "\n".join(f"{a},{b}" for a, b in pairs)),
        ("spoilt.csv", "\n".join(f'"{a}","{b}"' for a, b in pairs)),
        ("spoilt.txt", "\n".join(f"{a} {b}" for a, b in numbered)),
        ("spoilt.txt", "\n".join(f"{a},{b}" for a, b in numbered)),
    ])  # fmt: skip
    encoding = random.choice(["utf-8", "utf-8-sig", "utf-16", "latin-1"])
    newline = random.choice(["\n", "\r\n", "\r"])
    content = (text if file.endswith("json") else text.replace("\n", newline)).encode(encoding)
    return _names_case(setting, f"names in {encoding}: {text[:50]!r}", file, content)


def class_names_without_sense(random: Random, setting: Setting) -> Case:
    """Gives class names that cannot be matched with the folders."""
    names = list(NAMES.values())
    texts: list[Any] = [
        names[:-1], [*names, "one more"], [], {}, None, 5, "x", [1, 2, 3, 4], [None] * 4, [names], {"bee": 1},
        {"x": "y"},
        {**NAMES, "hen": None}, {**NAMES, "hen": ["a", "b"]}, {str(i + 1): name for i, name in enumerate(names)},
        {"0": "a", "1": "b", "2": "c", "x": "d"}, ["\ud800", "a", "b", "c"], ["", "a", "b", "c"],
    ]  # fmt: skip
    raw = [b"[" * 200_000 + b"]" * 200_000, b"", b"\xff\xff\xff", b"\0" * 100, b"[1, 2", b"{", b"nul", b'{"a": "b",}']
    if random.random() < 0.65:
        content = json.dumps(random.choice(texts)).encode()
        return _names_case(setting, f"names {content[:60]!r}", "spoilt.json", content)
    if random.random() < 0.5:
        content = random.choice(raw)
        return _names_case(setting, f"names {content[:60]!r}", "spoilt.json", content)
    content = random.choice(
        [b"", b"\n\n", b"\0\n\0", b"a\nb\n", b"a\n" * 5, b"a\n" * 1_000_000, b"bee x\ncat y\ndog z\nowl w\n"]
    )
    return _names_case(setting, f"names {content[:60]!r}", "spoilt.txt", content)


def descriptors(random: Random, setting: Setting) -> Case:
    """Spoils a place of a file of descriptors."""
    content: Any = {name: [f"a {name} thing", "has legs"] for name in CLASSES}
    right = tuple((f"{name}, which is a {name} thing.", f"{name}, which has legs.") for name in CLASSES)
    valid = json.dumps(content)
    way = random.choice(["class", "group", "item", "whole", "raw"])
    bad = random.choice([value for value in ANYTHING if value not in ("x", "\0")])
    if way == "class":
        del content[random.choice(CLASSES)]
    elif way == "group":
        content[random.choice(CLASSES)] = bad if bad != ["a"] else 5
    elif way == "item":
        content[random.choice(CLASSES)][0] = bad if not isinstance(bad, str) else 5
    elif way == "whole":
        content = bad
    text = random.choice(["[" * 200_000, "", "{", "\0", valid[:-3]]) if way == "raw" else json.dumps(content)

    def attempt(file: str, written: str) -> Callable[[Path], Any]:
        def given(place: Path) -> Any:
            (place / file).write_text(written)
            return tuple(tuple(group) for group in prompts.build(CLASSES, str(place / file)))

        return given

    return Case(
        f"descriptors {text[:60]!r}", attempt("spoilt.json", text), (), ("spoilt.json",),
        valid=Case("descriptors", attempt("valid.json", valid), (right,)),
    )  # fmt: skip


def annotations(random: Random, setting: Setting) -> Case:
    """Spoils a place of an iNaturalist annotation file."""

    def annotated(test: bool) -> dict[str, Any]:
        chosen = [(i, path, label) for i, (path, label) in enumerate(paths()) if ("4.png" in path) == test]
        return {
            "info": {"year": 2018},
            "images": [{"id": i, "file_name": path} for i, path, _ in chosen],
            "annotations": [
                {"id": i, "image_id": i, "category_id": CLASSES.index(label) + 7} for i, _, label in chosen
            ],
            "categories": [{"id": i + 7, "name": name} for i, name in enumerate(CLASSES)],
        }

    good, content = annotated(False), annotated(False)
    section = random.choice(["images", "annotations", "categories", "whole", "info"])
    bad = random.choice([value for value in ANYTHING if value not in ("x",)])
    if section == "whole":
        content = random.choice([None, [], 5, "x", {}, {**content, "images": bad}, {**content, "annotations": bad}])
    elif section == "info":
        content["info"] = bad
    else:
        entry = random.choice(content[section])
        key = random.choice([key for key in entry if not (section == "annotations" and key == "id")])
        if random.random() < 0.3:
            del entry[key]
        else:
            # A category may be called by any text.
            entry[key] = bad if not (key == "name" and isinstance(bad, str | int | float)) else None

    def attempt(file: str, written: Any) -> Callable[[Path], Any]:
        def given(place: Path) -> Any:
            (place / file).write_text(json.dumps(written))
            (place / "test.json").write_text(json.dumps(annotated(True)))
            lists = dict(train_list=str(place / file), test_list=str(place / "test.json"))
            return labelled(setting.photos, format="inaturalist", **lists)

        return given

    valid = Case("annotations", attempt("valid.json", good), (truth(),))
    says = f"annotations with a spoilt place in {section}: {bad!r}"
    return Case(says, attempt("spoilt.json", content), (truth(),), ("spoilt.json",), valid=valid)


GRAMMAR = Grammar(
    "text_files",
    (
        a_table_of_another_kind,
        a_table_with_a_bad_cell,
        a_list_with_a_bad_line,
        class_names_without_sense,
        class_names_of_another_kind,
        a_list_of_another_kind,
        a_table_without_sense,
        annotations,
        descriptors,
        a_metadata_file,
        a_list_without_sense,
    ),
)
