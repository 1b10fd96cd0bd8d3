"""Files of a finished run that were edited or damaged: what reads them must say so."""

import io
import json
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from lift_jax.bench.abuse.cases import Case, Grammar, Setting
from lift_jax.bench.abuse.run_readers import Answer, Reader, loaded, reported
from lift_jax.bench.abuse.setting import ANYTHING, STEPS


def _truth(setting: Setting, reader: Reader) -> tuple[Answer, ...]:
    """Gives what a reader must find, from what is known of the run."""
    return (setting.known[reader.__name__],)


def _case(
    setting: Setting,
    says: str,
    reader: Reader,
    spoil: Callable[[Path], Any],
    names: tuple[str, ...],
    path: str = "",
    also: tuple[Answer, ...] = (),
) -> Case:
    """Spoils something in a copy of the run; `path` below it is given to the reader."""

    def attempt(change: Callable[[Path], Any]) -> Callable[[Path], Answer]:
        def given(place: Path) -> Answer:
            shutil.copytree(setting.run, place / "run", symlinks=True)
            change(place / "run")
            return reader(place / "run" / path)

        return given

    what = f"{reader.__name__} {path}".strip()
    valid = Case(f"a run that is {what}", attempt(lambda run: None), _truth(setting, reader))
    # An answer without what was spoilt is right if the output says that it was left out.
    return Case(says, attempt(spoil), (*_truth(setting, reader), *also), names, names if also else (), valid)


def _places(node: Any, depth: int = 0) -> Iterator[tuple[Any, Any]]:
    for key, value in list(node.items() if isinstance(node, dict) else enumerate(node)):
        yield node, key
        if isinstance(value, dict | list):
            yield from _places(value, depth + 1)


def _not_like(random: Random, before: Any) -> Any:
    """Chooses a value of another type than the one that is right, or an impossible number."""
    likely = (
        (bool,) if isinstance(before, bool) else (int, float) if isinstance(before, int | float) else (type(before),)
    )
    others = [
        x for x in ANYTHING if not isinstance(x, likely) or (isinstance(x, bool) and not isinstance(before, bool))
    ]
    return random.choice(others or [None])


def _readers(file: str) -> tuple[Reader, ...]:
    return {"config.json": (loaded, reported), "run.json": (loaded, reported)}.get(file, (reported,))


def a_json_file(random: Random, setting: Setting) -> Case:
    """Replaces a JSON file by other JSON, or by no JSON."""
    file = random.choice(["config.json", "run.json", "eval.json"])
    whole = (setting.run / file).read_bytes()
    content = random.choice([
        b"[]", b'"x"', b"5", b"{}", b"null", b"", b"{", b"[" * 200_000, b"\0" * 40, b"\xff\xfe\0",
        whole[: random.randrange(len(whole) - 3)],
        whole + b"x", b"[" + whole + b"]", b"NaN", b"true",
    ])  # fmt: skip
    reader = random.choice(_readers(file))
    return _case(setting, f"{file} is {content[:30]!r}", reader, lambda run: (run / file).write_bytes(content), (file,))


def a_value(random: Random, setting: Setting) -> Case:
    """Gives a JSON file a value of another type, or removes a key."""
    file = random.choice(["config.json", "run.json", "eval.json"])
    content = json.loads((setting.run / file).read_text())
    places = [(holder, key) for holder, key in _places(content) if file != "config.json" or holder[key] is not None]
    holder, key = random.choice(places)
    if file != "config.json" and isinstance(holder, dict) and random.random() < 0.3:
        says = f"{file} without {key}"
        del holder[key]
    else:
        value = _not_like(random, holder[key])
        if file == "eval.json" and value is None and holder is not content:
            value = "x"  # null is a number that there is not
        says = f"{file}: {key} is {value!r} instead of {str(holder[key])[:40]!r}"
        holder[key] = value
    text = json.dumps(content)
    return _case(setting, says, random.choice(_readers(file)), lambda run: (run / file).write_text(text), (file,))


def numbers_that_cannot_be(random: Random, setting: Setting) -> Case:
    """Makes the parts of a JSON file disagree."""
    content = json.loads((setting.run / "run.json").read_text())
    way = random.choice(["fewer names", "more names", "negative", "group", "counts", "format", "same names"])
    if way == "fewer names":
        content["class_names"].pop()
    elif way == "more names":
        content["class_names"].append("one more")
    elif way == "negative":
        content[random.choice(["train_counts", "test_counts"])][0] = -5
    elif way == "group":
        content["class_groups"][0] = random.choice([7, -9, 10**12])
    elif way == "counts":
        content["train_counts"] = content["train_counts"] * 2
    elif way == "format":
        content["format"] = 99
    else:
        content["class_names"] = [["x"]] * 4
    text = json.dumps(content)
    return _case(setting, f"run.json: {way}", reported, lambda run: (run / "run.json").write_text(text), ("run.json",))


def predictions(random: Random, setting: Setting) -> Case:
    """Changes the columns of predictions.npz, or damages it."""
    file = setting.run / "predictions.npz"
    whole = file.read_bytes()
    with np.load(file) as saved:
        columns: dict[str, Any] = dict(saved)
    key = random.choice(list(columns))
    values = columns[key]
    way = random.choice(
        ["missing", "shorter", "text", "objects", "floats", "axes", "range", "negative", "cut", "bytes", "other", "NaN"]
    )
    content = None
    if way == "missing":
        del columns[key]
    elif way in ("cut", "bytes", "other"):
        content = {
            "cut": whole[: random.randrange(len(whole))],
            "other": random.choice([b"", b"x" * 50, b"PK\x05\x06" + bytes(18)]),
        }.get(way, whole[:40] + random.randbytes(60) + whole[100:])
    elif way in ("range", "negative"):
        key = random.choice(["label", "prediction"])
        columns[key] = columns[key] * 0 + (10**6 if way == "range" else -2)
    elif way == "NaN":
        key = "confidence"
        columns[key] = np.full(len(values), np.nan, np.float32)
    else:
        columns[key] = {
            "shorter": values[:-1], "text": values.astype(str), "objects": values.astype(object),
            "axes": values[:, None],
            "floats": values.astype(np.float64) + 0.5 if key != "confidence" else values + 5,
        }[way]  # fmt: skip
    if content is None:
        opened = io.BytesIO()
        np.savez_compressed(opened, **columns)
        content = opened.getvalue()
    change = content
    return _case(
        setting, f"predictions.npz: {way} {key}", reported, lambda run: (run / "predictions.npz").write_bytes(change),
        ("predictions.npz",),
    )  # fmt: skip


def lines(random: Random, setting: Setting) -> Case:
    """Spoils a line of metrics.jsonl that is not the last, which a killed run may leave half written."""
    own = (setting.run / "metrics.jsonl").read_text().splitlines()
    at = random.randrange(len(own) - 1)
    line = json.loads(own[at])
    key = random.choice([key for key in ("step", "split", "loss") if key in line])
    spoilt = random.choice([
        "[]", "null", "5", "{}", "{", "x}", "[" * 100_000, "\0", '{"step": 1}', json.dumps({**line, key: []}),
        json.dumps({**line, key: {"a": 1}}), json.dumps({k: v for k, v in line.items() if k != "step"}), own[at][:-5],
        json.dumps({**line, "loss": "x"}),
    ])  # fmt: skip
    changed = "\n".join([*own[:at], spoilt, *own[at + 1 :]]) + "\n"
    says = f"metrics.jsonl line {at + 1}: {spoilt[:50]}"
    without = _without_step(setting, line["step"]) if line["split"] == "train" else ()
    names = ("metrics.jsonl",)
    return _case(setting, says, reported, lambda run: (run / "metrics.jsonl").write_text(changed), names, "", without)


def _without_step(setting: Setting, step: int) -> tuple[Answer, ...]:
    """Gives the known answer, its curve without a step."""
    *others, steps = setting.known["reported"]
    return ((*others, tuple(each for each in steps if each != step)),)


def a_checkpoint(random: Random, setting: Setting) -> Case:
    """Removes, cuts, changes or replaces a file of the newest checkpoint."""
    folder = Path("checkpoints") / str(STEPS)
    inside = sorted(path.relative_to(setting.run) for path in (setting.run / folder).rglob("*") if path.is_file())
    file = random.choice(inside)
    way, bit = random.choice(["missing", "cut", "flip", "empty", "other", "folder"]), random.randrange(8)
    share = random.random()

    def spoil(run: Path) -> None:
        content = bytearray((run / file).read_bytes())
        (run / file).unlink()
        if way == "folder":
            (run / file).mkdir()
        elif way == "flip" and content:
            content[int(share * len(content))] ^= 1 << bit
            (run / file).write_bytes(content)
        elif way != "missing":
            (run / file).write_bytes(
                {"cut": content[: int(share * len(content))], "other": b"[" * 100_000}.get(way, b"")
            )

    return _case(setting, f"{file}: {way}", loaded, spoil, (str(folder), file.name))


def names_in_a_checkpoint(random: Random, setting: Setting) -> Case:
    """Edits what a checkpoint says that it belongs to."""
    folder = Path("checkpoints") / str(STEPS)
    (file,) = (
        path
        for path in (setting.run / folder / "run").rglob("*")
        if path.is_file() and b"class_names" in path.read_bytes()
    )
    content = json.loads(file.read_text())
    identity = content["identity"]
    way = random.choice(["names", "fewer", "method", "hash", "type", "missing", "checksum", "key"])
    if way == "names":
        random.shuffle(identity["class_names"])
        identity["class_names"][0] += " x"
    elif way == "fewer":
        identity["class_names"].pop()
    elif way == "type":
        identity["class_names"] = random.choice([None, 5, "x", [1, 2, 3, 4], {}])
    elif way == "missing":
        del content["identity"]
    elif way == "checksum":
        content["checksum"] = random.choice([None, "x", 5])
    elif way == "key":
        del identity[random.choice(["class_names", "method", "backbone_hash"])]
    else:
        identity[{"method": "method", "hash": "backbone_hash"}[way]] = random.choice([None, "x", []])
    text, inner = json.dumps(content), file.relative_to(setting.run)
    return _case(
        setting, f"{inner}: {way}", loaded, lambda run: (run / inner).write_text(text), (str(folder), inner.name)
    )


def an_export(random: Random, setting: Setting) -> Case:
    """Cuts the exported file of a run, or changes its header."""
    whole = (setting.run / "export" / "run.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", whole[:8])
    header = json.loads(whole[8 : 8 + length])
    said = header["__metadata__"]
    key = random.choice(list(said))
    way = random.choice(["missing", "nonsense", "type", "cut", "array", "edited", "empty"])
    if way == "missing":
        del said[key]
    elif way == "nonsense":
        said[key] = random.choice(["", "x", "{", "[" * 100_000, "null", "5", "[]", "{}"])
    elif way == "edited":
        said["class_names"] = random.choice(['["a"]', "[1, 2, 3, 4]", "[[], [], [], []]", json.dumps(list("abcde"))])
    elif way == "type":
        config = json.loads(said["config"])
        name = random.choice([name for name in config if config[name] is not None])
        config[name] = _not_like(random, config[name])
        said["config"] = json.dumps(config)
    elif way == "array":
        del header[random.choice([name for name in header if name != "__metadata__"])]
    text = json.dumps(header).encode()
    content = struct.pack("<Q", len(text)) + text + whole[8 + length :]
    if way in ("cut", "empty"):
        content = whole[: random.randrange(len(whole))] if way == "cut" else b""

    def spoil(run: Path) -> None:
        (run / "export" / "run.safetensors").write_bytes(content)

    says = f"run.safetensors: {way} {key}"
    return _case(setting, says, loaded, spoil, ("run.safetensors",), "export/run.safetensors")


def a_missing_file(random: Random, setting: Setting) -> Case:
    """Removes a file, or puts a folder or a link that leads nowhere in its place."""
    file, reader = random.choice([
        ("config.json", loaded), ("config.json", reported), ("run.json", reported), ("eval.json", reported),
        ("predictions.npz", reported), ("checkpoints", loaded),
    ])  # fmt: skip
    way = random.choice(["missing", "folder", "link"])

    def spoil(run: Path) -> None:
        (run / file).rename(run.parent / "elsewhere")
        if way == "folder":
            (run / file).mkdir()
        elif way == "link":
            (run / file).symlink_to("nowhere")

    names = (file, "checkpoint") if file == "checkpoints" else (file,)
    return _case(setting, f"{file}: {way}, {reader.__name__}", reader, spoil, names)


def a_picture_of_the_report(random: Random, setting: Setting) -> Case:
    """Spoils a picture of the report that another report would show."""
    content = random.choice([b"", b"x", b"\x89PNG\r\n\x1a\n" + bytes(30), b"%!PS-Adobe-3.0 EPSF-3.0\n"])
    rows = setting.known["reported"][1]
    wrong = next((index for index, label, prediction in rows if label != prediction), rows[0][0])

    def spoil(run: Path) -> None:
        (run / "report").mkdir(exist_ok=True)
        for old in (run / "report").glob("worst_*"):
            old.unlink()
        (run / "report" / f"worst_01_spoilt_{wrong}.png").write_bytes(content)

    return _case(setting, f"worst_01_spoilt_{wrong}.png is {content[:20]!r}", reported, spoil, ("worst_01_spoilt",))


GRAMMAR = Grammar(
    "run_files",
    (
        a_json_file,
        a_value,
        predictions,
        a_checkpoint,
        lines,
        an_export,
        names_in_a_checkpoint,
        numbers_that_cannot_be,
        a_value,
        a_missing_file,
        a_picture_of_the_report,
    ),
)
