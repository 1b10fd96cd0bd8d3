"""Files of Arrow and Parquet with a column of images: which column that is, and where each image lies.

The images of an uncompressed Arrow file, such as `save_to_disk` of the package datasets writes, lie in it as they are.
A Parquet file is compressed by groups of rows, so it is unpacked once into an Arrow file of `local_copies`.
"""

import contextlib
import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from tqdm import tqdm

from lift_jax.data import local_copies, spans
from lift_jax.data.image_kinds import HEAD, kind_of
from lift_jax.data.reading import printable
from lift_jax.errors import UserError, first_line
from lift_jax.files import parse_json, replacing, writing

if TYPE_CHECKING:
    import pyarrow as pa

_LOGGER = logging.getLogger(__name__)

PARQUET, ARROW = ".parquet", ".arrow"
_ROWS = 256
"""Rows that are unpacked at a time."""


class Rows(NamedTuple):
    """The rows of a file.

    Attributes:
        file: where the images are: the file itself, or what it was unpacked into.
        spans: where each image is in it, `spans.SPANS` [rows].
        names: the name of each image's original file, "" where it has none.
        columns: the other columns that were asked for.
    """

    file: str
    spans: np.ndarray
    names: list[str]
    columns: dict[str, list[Any]]


def require(asks: str) -> None:
    """Sees to it that the package that reads and writes these files is there.

    Args:
        asks: the flag or key that needs it, for the message.

    Raises:
        UserError: if it is not.
    """
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"{asks} needs the package pyarrow, which is not installed; pip install 'lift-jax[parquet]'."
        ) from error


def read_schema(file: str) -> "pa.Schema":
    """Reads the names and types of a file's columns.

    Raises:
        UserError: if the file cannot be read or is damaged.
    """
    from pyarrow import parquet

    with _reading(file):
        return parquet.read_schema(file) if file.lower().endswith(PARQUET) else _open(_mapped(file)).schema


def features(schema: "pa.Schema") -> Mapping[str, Mapping[str, Any]]:
    """Gives what the package datasets has written about the columns, such as {"label": {"names": ["cat", "dog"]}}."""
    try:
        found = parse_json((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {name: each for name, each in found.items() if isinstance(each, dict)}
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}


def read_rows(file: str, image: str, others: Sequence[str]) -> Rows:
    """Reads where the images of a file are, and the other columns; a Parquet file is unpacked first.

    Args:
        file: on a disk.
        image: the column of the images.
        others: columns that are read.

    Raises:
        UserError: if the file cannot be read or is damaged, has no images, or cannot be unpacked.
    """
    unpacked = file
    if file.lower().endswith(PARQUET) or not _lies_open(file, image):
        unpacked = _unpack(file, [image, *others])
    where, names, columns = [np.zeros(0, spans.SPANS)], [], {each: [] for each in others}
    with _reading(unpacked):
        content = _mapped(unpacked)
        for batch in _each(_open(content)):
            bytes_, paths = _parts(batch.column(image))
            where.append(_spans(bytes_, content))
            names += [os.path.basename(path or "") for path in paths]
            for each, values in columns.items():
                values += batch.column(each).to_pylist()
    found = np.concatenate(where)
    if len(found) and not found["size"].any():
        raise UserError(
            f"{printable(file)} has the paths of images, but not the images themselves, in its column {image}; save "
            "the data set with the images in it, or read them with config.data.format=folder."
        )
    return Rows(unpacked, found, names, columns)


def _parts(images: "pa.Array") -> tuple["pa.Array", list[str | None]]:
    """Gives the bytes of images, and the paths of their original files where there are any."""
    import pyarrow as pa

    if not pa.types.is_struct(images.type):
        return images, [None] * len(images)
    has_paths = images.type.get_field_index("path") >= 0
    return images.field("bytes"), images.field("path").to_pylist() if has_paths else [None] * len(images)


def _spans(images: "pa.Array", content: "pa.Buffer") -> np.ndarray:
    """Finds the bytes of each image in the file whose content is mapped; of one that is null, there are none."""
    import pyarrow as pa

    _, offsets, data = images.buffers()
    dtype = np.int64 if pa.types.is_large_binary(images.type) else np.int32
    found = np.zeros(len(images), spans.SPANS)
    if data is None or offsets is None or not len(images):
        return found
    limits = np.frombuffer(offsets, dtype)[images.offset : images.offset + len(images) + 1].astype(np.int64)
    found["start"] = data.address - content.address + limits[:-1]
    sizes = np.where(images.is_null().to_numpy(zero_copy_only=False), 0, np.diff(limits))
    found["stored"] = found["size"] = sizes
    return found


def _lies_open(file: str, image: str) -> bool:
    """Tells whether the images of an Arrow file lie in it as they are, because it is not compressed."""
    with _reading(file):
        content = _mapped(file)
        for batch in _each(_open(content)):
            data = _parts(batch.column(image))[0].buffers()[2]
            if data is not None and data.size:
                return content.address <= data.address < content.address + content.size
    return True


def _unpack(file: str, columns: Sequence[str]) -> str:
    """Writes columns of a file into an uncompressed Arrow file, unless this was done before; gives its path."""
    import pyarrow as pa

    target = local_copies.place(file, ARROW, columns)
    if target.exists():
        return str(target)
    start, count = time.perf_counter(), 0
    with writing(target, f"name another folder with {local_copies.VARIABLE}"):
        target.parent.mkdir(parents=True, exist_ok=True)
        # Another process may do the same at this moment, by a name of its own.
        own = target.with_name(f"{os.getpid()}-{target.name}")
        with replacing(own) as part, contextlib.ExitStack() as stack:
            progress = stack.enter_context(tqdm(desc=os.path.basename(file), unit="image", disable=None, leave=False))
            sink = stack.enter_context(pa.OSFile(str(part), "wb"))
            writer = None
            for batch in _batches(file, columns):
                writer = writer or stack.enter_context(pa.ipc.new_stream(sink, batch.schema))
                writer.write_batch(batch)
                count += len(batch)
                progress.update(len(batch))
            if writer is None:
                raise UserError(f"{printable(file)} has no rows; name files that have images.")
        own.replace(target)
    taken = time.perf_counter() - start
    _LOGGER.info(
        "%s was unpacked into %s: %d images, %.0f a second.", printable(file), target.parent, count, count / taken
    )
    return str(target)


def _batches(file: str, columns: Sequence[str]) -> Iterator["pa.RecordBatch"]:
    from pyarrow import parquet

    with _reading(file):
        if file.lower().endswith(PARQUET):
            yield from parquet.ParquetFile(file).iter_batches(_ROWS, columns=list(columns))
        else:
            yield from (batch.select(list(columns)) for batch in _each(_open(_mapped(file))))


def _mapped(file: str) -> "pa.Buffer":
    import pyarrow as pa

    return pa.memory_map(file).read_buffer()


def _open(content: "pa.Buffer") -> "pa.RecordBatchReader | pa.ipc.RecordBatchFileReader":
    """Opens what was written as a stream or as a file of Arrow."""
    import pyarrow as pa

    reader = pa.BufferReader(content)
    return pa.ipc.open_file(reader) if bytes(content[:6]) == b"ARROW1" else pa.ipc.open_stream(reader)


def _each(reader: Any) -> Iterator["pa.RecordBatch"]:
    if hasattr(reader, "num_record_batches"):
        yield from map(reader.get_batch, range(reader.num_record_batches))
    else:
        yield from reader


@contextlib.contextmanager
def _reading(file: str) -> Iterator[None]:
    """Turns what the library says of a file into a sentence."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, EOFError) as error:
        raise UserError(_trouble(file, error)) from error


def _trouble(file: str, error: Exception) -> str:
    try:
        with open(file, "rb") as opened:
            head = opened.read(HEAD)
    except OSError:
        head = b""
    kind = kind_of(head)
    if kind is not None and kind.hint:
        return f"{printable(file)} is {kind.name}; {kind.hint}."
    return f"{printable(file)} is damaged or cut off ({first_line(error)}); fetch or make it again."
