"""safetensors files and sharded sets of them, read one array at a time and without torch."""

import functools
import json
from pathlib import Path

import ml_dtypes  # noqa: F401  (makes NumPy know bfloat16, which such files often hold)
import numpy as np
import safetensors

from lift_jax.errors import UserError
from lift_jax.weights.arrays import Stored

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"


def find(folder: Path) -> list[Path]:
    """The files that hold the arrays of a folder in the Hugging Face layout; empty if it has none.

    Raises:
        UserError: if the index of a sharded model cannot be read or names a file that is not there.
    """
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    index = folder / INDEX
    if not index.is_file():
        return []
    try:
        shards = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, AttributeError) as error:
        raise UserError(f"{index} is not the index of a sharded model ({error!r}); copy the folder again.") from error
    for shard in shards:
        if not (folder / shard).is_file():
            raise UserError(f"{index} names {shard}, which is not in the folder; copy the folder again.")
    return [folder / shard for shard in shards]


def arrays(*files: Path) -> dict[str, Stored]:
    """The arrays of the files, by name.

    Raises:
        UserError: if a file is damaged, or two hold an array of the same name.
    """
    found: dict[str, Stored] = {}
    for file in files:
        try:
            with safetensors.safe_open(file, framework="np") as archive:
                for name in archive.keys():  # noqa: SIM118
                    if name in found:
                        raise UserError(f"The array {name} is in {file} and in another file of {file.parent}.")
                    shape = tuple(archive.get_slice(name).get_shape())
                    found[name] = Stored(shape, functools.partial(_load, file, name))
        except (safetensors.SafetensorError, OSError) as error:
            raise UserError(f"{file} cannot be read ({error}); it is damaged or incomplete, copy it again.") from error
    return found


def _load(file: Path, name: str) -> np.ndarray:
    # The file is opened anew for each array: what has been read of a mapped file counts as the process's memory until
    # it is closed, and a model would be in memory twice.
    with safetensors.safe_open(file, framework="np") as archive:
        return archive.get_tensor(name)
