"""Foreign arrays to our tree and back, by a table in which every array is accounted for."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from flax import traverse_util

from lift_jax.errors import UserError

Flat = dict[str, np.ndarray]


class Entry(NamedTuple):
    """One array of ours and the foreign arrays it is made of.

    Attributes:
        path: in our tree, separated by slashes.
        names: of the foreign arrays.
        shapes: of the foreign arrays.
        read: foreign arrays to ours.
        write: ours to the foreign arrays.
    """

    path: str
    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    read: Callable[..., np.ndarray]
    write: Callable[[np.ndarray], Sequence[np.ndarray]]


def same(path: str, name: str, *shape: int) -> Entry:
    """An array that is stored as we have it."""
    return Entry(path, (name,), (shape,), lambda x: x, lambda x: (x,))


def transposed(path: str, name: str, inputs: int, outputs: int) -> Entry:
    """A linear layer's weight, foreign (outputs, inputs), ours (inputs, outputs)."""
    return Entry(path, (name,), ((outputs, inputs),), lambda x: x.T, lambda x: (x.T,))


def read(table: Sequence[Entry], foreign: Mapping[str, np.ndarray], source: str) -> dict[str, Any]:
    """The parameter tree, float32.

    Raises:
        UserError: if an array is missing, left over, or of another shape; it lists them.
    """
    wanted = {name: shape for entry in table for name, shape in zip(entry.names, entry.shapes, strict=True)}
    problems = [f"{name} is missing" for name in wanted if name not in foreign]
    problems += [f"{name} is not known" for name in foreign if name not in wanted]
    problems += [
        f"{name} is {tuple(foreign[name].shape)} instead of {shape}"
        for name, shape in wanted.items()
        if name in foreign and tuple(foreign[name].shape) != shape
    ]
    if problems:
        rest = f" and {len(problems) - 10} more" if len(problems) > 10 else ""
        raise UserError(
            f"The arrays in {source} do not fit its configuration: {'; '.join(problems[:10])}{rest}. "
            "Take both files from the same model."
        )
    flat = {
        entry.path: np.asarray(entry.read(*(np.asarray(foreign[n], np.float32) for n in entry.names)), order="C")
        for entry in table
    }
    return traverse_util.unflatten_dict(flat, sep="/")


def write(table: Sequence[Entry], params: Mapping[str, Any]) -> Flat:
    """The inverse of `read`."""
    flat = traverse_util.flatten_dict(dict(params), sep="/")
    return {
        name: np.asarray(array, order="C")
        for entry in table
        for name, array in zip(entry.names, entry.write(np.asarray(flat[entry.path])), strict=True)
    }
