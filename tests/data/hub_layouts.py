"""The same images in the layouts of other programs, for the tests."""

import json
import os
import tarfile
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from lift_jax.data import data_defaults

CLASSES = ("cat", "hen")
PATHS = [f"{split}/{name}/{name}{i}.jpg" for split in ("train", "test") for name in CLASSES for i in range(4)]
"""Images of a folder, by which the layouts are made."""


def data(root: os.PathLike[str], **changes: Any) -> Any:
    """The config.data of images at a place, with what a test changes of it."""
    config = data_defaults()
    config.update({"name": "own", "format": "folder", "root": os.fspath(root), **changes})
    return config


def of_split(split: str) -> list[str]:
    return [path for path in PATHS if path.startswith(f"{split}/")]


def label(path: str) -> int:
    return CLASSES.index(path.split("/")[1])


def features(**columns: Any) -> dict[bytes, bytes]:
    """What the package datasets writes into the schema of its files."""
    return {b"huggingface": json.dumps({"info": {"features": columns}}).encode()}


IMAGE = {"_type": "Image"}
CLASS_LABEL = {"names": list(CLASSES), "_type": "ClassLabel"}


def table(photos: Path, paths: Sequence[str], labels: Any = None, **columns: Any) -> pa.Table:
    """A table as the hub keeps it: structs of bytes and name, and labels with the names of their classes."""
    images = [{"bytes": (photos / path).read_bytes(), "path": Path(path).name} for path in paths]
    labels = pa.array([label(path) for path in paths], pa.int64()) if labels is None else labels
    known = features(image=IMAGE, label=CLASS_LABEL)
    made = pa.table({"image": pa.array(images), "label": labels, **columns})
    return made.replace_schema_metadata(known)


def write_parquet(photos: Path, root: Path, files: Mapping[str, Sequence[str]], **options: Any) -> Path:
    """Files of these images; in reverse, since their order must not matter."""
    for file, paths in files.items():
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        parquet.write_table(table(photos, paths[::-1]), root / file, row_group_size=3, **options)
    return root


def write_arrow(file: Path, content: pa.Table, stream: bool = True, **options: Any) -> None:
    """A file of Arrow, as `save_to_disk` writes it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    new = pa.ipc.new_stream if stream else pa.ipc.new_file
    with new(str(file), content.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(content, max_chunksize=3)


def write_tar(file: Path, members: Mapping[str, bytes]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, BytesIO(content))
