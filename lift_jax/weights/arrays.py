"""Foreign arrays to our tree and back, by a table in which every array is accounted for."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from flax import traverse_util
from tqdm import tqdm

from lift_jax.errors import UserError

Flat = dict[str, np.ndarray]

_BLOCK = 128
_DEEPEST = 1000


@dataclasses.dataclass(frozen=True)
class Stored:
    """An array in a file: its shape is known, its content is read when it is made a NumPy array."""

    shape: tuple[int, ...]
    load: Callable[[], np.ndarray]

    def __array__(self, dtype: np.typing.DTypeLike | None = None, copy: bool | None = None) -> np.ndarray:
        array = self.load()
        return array if dtype is None else array.astype(dtype, copy=False)


Foreign = Mapping[str, np.ndarray | Stored]


class Entry(NamedTuple):
    """One array of ours and the foreign arrays it is made of.

    Attributes:
        path: in our tree, separated by slashes; empty for what is left out (see `unused`).
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


def reshaped(path: str, name: str, shape: tuple[int, ...], ours: tuple[int, ...]) -> Entry:
    """An array of the same content in another shape: `shape` is the foreign one."""
    return Entry(path, (name,), (shape,), lambda x: x.reshape(ours), lambda x: (x.reshape(shape),))


def transposed(path: str, name: str, inputs: int, outputs: int) -> Entry:
    """A linear layer's weight, foreign (outputs, inputs), ours (inputs, outputs)."""
    return Entry(path, (name,), ((outputs, inputs),), _transpose, lambda x: (x.T,))


def _transpose(*parts: np.ndarray) -> np.ndarray:
    """Matrices (outputs, inputs) to one (inputs, all outputs)."""
    whole = np.empty((parts[0].shape[1], sum(len(part) for part in parts)), parts[0].dtype)
    start = 0
    for part in parts:
        rows, columns = part.shape
        # Block by block: NumPy's own copy of a transposed matrix misses the cache at every step.
        for i in range(0, rows, _BLOCK):
            for j in range(0, columns, _BLOCK):
                block = part[i : i + _BLOCK, j : j + _BLOCK]
                whole[j : j + _BLOCK, start + i : start + i + len(block)] = block.T
        start += rows
    return whole


def convolution(path: str, name: str, side: int, inputs: int, outputs: int) -> Entry:
    """A convolution's weight, foreign (outputs, inputs, side, side), ours (side, side, inputs, outputs)."""
    return Entry(
        path,
        (name,),
        ((outputs, inputs, side, side),),
        lambda x: x.transpose(2, 3, 1, 0),
        lambda x: (x.transpose(3, 2, 0, 1),),
    )


def unused(name: str, *shape: int) -> Entry:
    """A foreign array that may be there and that we knowingly leave out, such as a pre-trained classification head."""
    return Entry("", (name,), (shape,), lambda x: x, lambda x: (x,))


def linear(path: str, name: str, inputs: int, outputs: int) -> list[Entry]:
    """A linear layer with bias."""
    return [
        transposed(f"{path}/kernel", f"{name}.weight", inputs, outputs),
        same(f"{path}/bias", f"{name}.bias", outputs),
    ]


def norm(path: str, name: str, width: int) -> list[Entry]:
    """Scale and bias of a layer norm."""
    return [same(f"{path}/scale", f"{name}.weight", width), same(f"{path}/bias", f"{name}.bias", width)]


def joined(path: str, names: Sequence[str], inputs: int, outputs: int) -> list[Entry]:
    """Linear layers of equal size, stored apart, that are side by side in ours: queries, keys, values.

    `names` are what stands before `weight` and `bias`, with the separator.
    """
    n = len(names)
    kernel = Entry(
        f"{path}/kernel",
        tuple(f"{name}weight" for name in names),
        ((outputs, inputs),) * n,
        _transpose,
        lambda x: np.split(x.T, n),
    )
    bias = Entry(
        f"{path}/bias",
        tuple(f"{name}bias" for name in names),
        ((outputs,),) * n,
        lambda *parts: np.concatenate(parts),
        lambda x: np.split(x, n),
    )
    return [kernel, bias]


class BlockNames(NamedTuple):
    """What a foreign format calls the parts of a transformer block.

    `qkv` are the prefixes of the projections, three where they are apart and one where they are fused.
    """

    ln_1: str
    qkv: tuple[str, ...]
    attn_out: str
    ln_2: str
    mlp_in: str
    mlp_out: str


def block_numbers(depth: int) -> range:
    """0 to `depth` - 1.

    Raises:
        ValueError: if no model is so deep; the table of one that a damaged configuration claims would fill the memory.
    """
    if depth not in range(1, _DEEPEST + 1):
        raise ValueError(f"it has {depth} blocks")
    return range(depth)


def blocks(path: str, theirs: str, names: BlockNames, depth: int, width: int, mlp_dim: int) -> list[Entry]:
    """The blocks of a transformer: `path/block_0` is their `theirs.0`."""
    entries = []
    for i in block_numbers(depth):
        ours, prefix = f"{path}/block_{i}", f"{theirs}.{i}"
        fused = 3 // len(names.qkv)
        entries += [
            *norm(f"{ours}/ln_1", f"{prefix}.{names.ln_1}", width),
            *joined(f"{ours}/attn_in", [f"{prefix}.{name}" for name in names.qkv], width, fused * width),
            *linear(f"{ours}/attn_out", f"{prefix}.{names.attn_out}", width, width),
            *norm(f"{ours}/ln_2", f"{prefix}.{names.ln_2}", width),
            *linear(f"{ours}/mlp_in", f"{prefix}.{names.mlp_in}", width, mlp_dim),
            *linear(f"{ours}/mlp_out", f"{prefix}.{names.mlp_out}", mlp_dim, width),
        ]
    return entries


def read(table: Sequence[Entry], foreign: Foreign, source: str) -> dict[str, Any]:
    """The parameter tree, float32. Arrays are read one after the other, so that only one is in memory twice.

    Raises:
        UserError: if an array is missing, left over, or of another shape; it lists them. Or if one is not finite.
    """
    known = {name: shape for entry in table for name, shape in zip(entry.names, entry.shapes, strict=True)}
    problems = [f"{name} is missing" for entry in table if entry.path for name in entry.names if name not in foreign]
    problems += [f"{name} is not known" for name in foreign if name not in known]
    problems += [
        f"{name} is {tuple(foreign[name].shape)} instead of {shape}"
        for name, shape in known.items()
        if name in foreign and tuple(foreign[name].shape) != shape
    ]
    if problems:
        rest = f" and {len(problems) - 10} more" if len(problems) > 10 else ""
        raise UserError(
            f"The arrays in {source} do not fit its configuration: {'; '.join(problems[:10])}{rest}. "
            "Take both files from the same model."
        )
    flat = {}
    bar = tqdm([entry for entry in table if entry.path], desc="weights", unit=" arrays", delay=2, disable=None)
    for entry in bar:
        parts = (np.asarray(foreign[name], np.float32) for name in entry.names)
        array = flat[entry.path] = np.asarray(entry.read(*parts), order="C")
        if not np.isfinite(array).all():
            raise UserError(
                f"{' and '.join(entry.names)} in {source} holds numbers that are not finite; the file is damaged, "
                "take it from the model's source again."
            )
    return traverse_util.unflatten_dict(flat, sep="/")


def write(table: Sequence[Entry], params: Mapping[str, Any]) -> Flat:
    """The inverse of `read`.

    Raises:
        UserError: if the tree has an array that the table does not, or lacks one; it lists them.
    """
    flat = traverse_util.flatten_dict(dict(params), sep="/")
    paths = {entry.path for entry in table if entry.path}
    if paths != flat.keys():
        different = sorted(paths ^ flat.keys())
        raise UserError(
            f"The parameters do not fit the format to be written: {', '.join(different[:10])} "
            f"({len(different)} arrays) are on one side only."
        )
    return {
        name: np.asarray(array, order="C")
        for entry in table
        if entry.path
        for name, array in zip(entry.names, entry.write(np.asarray(flat[entry.path])), strict=True)
    }
