"""safetensors files and sharded sets of them, read one array at a time and without torch."""

import functools
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

import ml_dtypes  # noqa: F401  (makes NumPy know bfloat16, which such files often hold)
import numpy as np
import safetensors
import safetensors.numpy

from lift_jax.errors import UserError, first_line
from lift_jax.files import parse_json
from lift_jax.weights import misplaced
from lift_jax.weights.arrays import Stored


def shards(index: Path) -> list[Path]:
    """Returns the files of a sharded model.

    Args:
        index: its model.safetensors.index.json, or pytorch_model.bin.index.json.

    Raises:
        UserError: if the index cannot be read or names a file that is not there.
    """
    try:
        names = sorted(set(parse_json(index.read_bytes())["weight_map"].values()))
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise UserError(
            f"{index} is not the index of a sharded model ({first_line(error)}); copy the folder again."
        ) from error
    for name in names:
        # A shard is a file beside its index: a name that leads elsewhere is not one.
        if not isinstance(name, str) or Path(name).name != name or not (index.parent / name).is_file():
            raise UserError(f"{index} names {name}, which is not in the folder; copy the folder again.")
    return [index.parent / name for name in names]


def arrays(*files: Path) -> dict[str, Stored]:
    """Returns the arrays of the files, by name.

    Raises:
        UserError: if a file is damaged, or two hold an array of the same name.
    """
    found: dict[str, Stored] = {}
    for file in files:
        for name, shape in _shapes(file).items():
            if name in found:
                raise UserError(f"The array {name} is in {file} and in another file of {file.parent}.")
            found[name] = Stored(shape, functools.partial(_load, file, name))
    return found


def _shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """Reads the names and shapes of the arrays in a file."""
    try:
        with safetensors.safe_open(file, framework="np") as archive:
            return {name: tuple(archive.get_slice(name).get_shape()) for name in archive.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError) as error:
        raise misplaced.damaged(file, error) from error


def write(file: Path, named: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Writes arrays by name, with the metadata that go into the file's header; what is equal gives equal files.

    Raises:
        OSError: if the file cannot be written.
    """
    try:
        safetensors.numpy.save_file(dict(named), file, metadata=dict(metadata))
    except safetensors.SafetensorError as error:  # which has the system's error in its text alone
        code = re.search(r"\(os error (\d+)\)", str(error))
        if code is None:
            raise
        raise OSError(int(code[1]), os.strerror(int(code[1]))) from error
    _sort_metadata(file)


def _sort_metadata(file: Path) -> None:
    """Puts the metadata of a file's header in order, which the library leaves to chance."""
    with file.open("r+b") as opened:
        size = int.from_bytes(opened.read(8), "little")
        header = json.loads(opened.read(size))
        header["__metadata__"] = dict(sorted(header.get("__metadata__", {}).items()))
        text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
        if len(text) <= size:
            opened.seek(8)
            opened.write(text.ljust(size))


def _load(file: Path, name: str) -> np.ndarray:
    # The file is opened anew for each array: what has been read of a mapped file counts as the process's memory until
    # it is closed, and a model would be in memory twice.
    try:
        with safetensors.safe_open(file, framework="np") as archive:
            return archive.get_tensor(name)
    except Exception as error:  # of the library, and of NumPy, which does not know all types
        why = "NumPy has no such type" if isinstance(error, AttributeError | TypeError) else first_line(error)
        raise UserError(
            f"{name} in {file} cannot be read ({why}); take a file of the model that was not quantised."
        ) from error
