"""Predictions of very many images, in Parquet files of a folder that are written as they come.

Which images are in which part follows from the list alone. A part appears when it is whole, and one that is there is
not made again; so a command that was killed goes on, several share the work, and no image is lost or there twice.
"""

import hashlib
import itertools
import json
import math
import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from etils import epath

from lift_jax.errors import UserError
from lift_jax.files import parse_json, replacing, writing
from lift_jax.inference.predictions import Prediction, as_json

if TYPE_CHECKING:
    import pyarrow

FILE = "parts.json"
"""The file that says what the parts of a folder are of."""

ROWS = 1 << 16
"""Images of a part."""

_AT_A_TIME = 4096
"""Images whose predictions are in memory."""


def parse_shard(text: str) -> tuple[int, int]:
    """Reads the share of the work that a command has: "2/8" is the third of eight.

    Raises:
        UserError: if it is no such share.
    """
    first, _, second = text.partition("/")
    if not (first.isdecimal() and second.isdecimal() and int(first) < int(second)):
        raise UserError(f"--shard is {text!r}; write I/N, where N is the number of shards and I goes from 0 to N - 1.")
    return int(first), int(second)


def write(
    folder: epath.PathLike, paths: Sequence[str], predict: Callable[[Sequence[str]], Iterable[Prediction]],
    class_names: Sequence[str], origin: Mapping[str, Any], *, shard: tuple[int, int] = (0, 1), rows: int = ROWS,
) -> int:  # fmt: skip
    """Writes the parts of a shard that are not there yet.

    Args:
        folder: where they are written, on a disk or in a bucket.
        paths: all images, those of other shards too.
        predict: yields the predictions of images, in their order.
        class_names: the names of the classes, in label order.
        origin: what else the predictions follow from; the parts of a folder have the same.
        shard: which share of the parts is written, and of how many.
        rows: images of a part.

    Returns:
        How many of the shard's images could be read, also those of parts that were there.

    Raises:
        UserError: if the folder has parts of another list, run or option, or cannot be written.
    """
    folder = epath.Path(folder)
    count = max(1, math.ceil(len(paths) / rows))
    with writing(folder, "name another folder with --parts"):
        folder.mkdir(parents=True, exist_ok=True)
        _check_origin(folder / FILE, {"images": len(paths), "rows": rows, "list": _digest(paths), **origin})
        read = 0
        for part in range(shard[0], count, shard[1]):
            file = folder / f"part-{part:05}-of-{count:05}.parquet"
            if not file.exists():
                with replacing(file) as unfinished:
                    _write_part(unfinished, predict(paths[part * rows : (part + 1) * rows]), class_names)
            read += _readable(file)
    return read


def _check_origin(file: epath.Path, origin: Mapping[str, Any]) -> None:
    """Writes down what the parts are of, unless it is there, and compares."""
    if not file.exists():
        # Other shards may do the same at this moment, each by a name of its own.
        own = file.with_name(f".{file.name}.{uuid.uuid4().hex}")
        own.write_text(json.dumps(origin, indent=2) + "\n", encoding="utf-8")
        own.replace(file)
    try:
        known = parse_json(file.read_bytes())
    except ValueError:
        known = None
    different = [key for key in origin if not isinstance(known, dict) or known.get(key) != origin[key]]
    if different:
        raise UserError(
            f"{file.parent} has parts with another {different[0]!r} in its {file.name}; name another folder with "
            "--parts, or give what was given before."
        )


def _digest(paths: Sequence[str]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(os.fsencode(path) + b"\0")
    return digest.hexdigest()


def _write_part(file: epath.Path, predictions: Iterable[Prediction], class_names: Sequence[str]) -> None:
    import pyarrow
    from pyarrow import parquet

    schema = _schema()
    with file.open("wb") as opened, parquet.ParquetWriter(opened, schema) as writer:
        for some in _batches(predictions):
            rows = [_row(prediction, class_names) for prediction in some]
            writer.write_table(pyarrow.Table.from_pylist(rows, schema))


def _batches(predictions: Iterable[Prediction]) -> Iterator[list[Prediction]]:
    iterator = iter(predictions)
    while some := list(itertools.islice(iterator, _AT_A_TIME)):
        yield some


def _row(prediction: Prediction, class_names: Sequence[str]) -> dict[str, Any]:
    row = as_json(prediction, class_names)
    for each in row, *row.get("nearest", ()):
        for key in "path", "error":  # a name need not be UTF-8
            if key in each:
                each[key] = each[key].encode("utf-8", "backslashreplace").decode()
    return row


def _schema() -> "pyarrow.Schema":
    """Gives the columns: the keys of a line of `lift_jax predict --format jsonl`."""
    import pyarrow as pa

    named = [("label", pa.int32()), ("class", pa.string())]
    return pa.schema(
        [
            ("path", pa.string()),
            ("predictions", pa.list_(pa.struct([*named, ("probability", pa.float32())]))),
            ("error", pa.string()),
            ("answer", pa.struct([*named, ("expected_cost", pa.float64())])),
            ("rollup", pa.struct([("rank", pa.string()), ("name", pa.string()), ("probability", pa.float32())])),
            ("unknown", pa.bool_()),
            ("set", pa.list_(pa.struct(named))),
            ("nearest", pa.list_(pa.struct([("path", pa.string()), *named, ("similarity", pa.float32())]))),
        ]
    )


def _readable(file: epath.Path) -> int:
    from pyarrow import parquet

    with file.open("rb") as opened:
        return parquet.read_table(opened, columns=["error"]).column("error").null_count
