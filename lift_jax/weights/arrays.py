"""Foreign arrays to our tree and back, by a table in which every array is accounted for."""

import dataclasses
import itertools
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jaxtyping import Float, Int
from tqdm import tqdm

from lift_jax.errors import UserError
from lift_jax.text import printable
from lift_jax.weights import misplaced
from lift_jax.weights.names import without_head

Flat = dict[str, np.ndarray]

_BLOCK = 128
DEEPEST = 1000
"""No transformer has more blocks."""

_LARGEST = 1e15
"""No weight is larger; what is has lost a bit of its exponent, and its square would leave float32."""


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
        path: the place in our tree, its parts separated by slashes; empty for an array that is left out (see `unused`).
        names: the names of the foreign arrays.
        shapes: their shapes.
        read: makes our array of the foreign ones.
        write: makes the foreign arrays of ours.
    """

    path: str
    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    read: Callable[..., np.ndarray]
    write: Callable[[np.ndarray], Sequence[np.ndarray]]


def same(path: str, name: str, *shape: int) -> Entry:
    """Describes an array that is stored as we have it.

    Args:
        path: its place in our tree.
        name: its name in the file.
        shape: its shape.
    """
    return Entry(path, (name,), (shape,), lambda x: x, lambda x: (x,))


def reshaped(path: str, name: str, shape: tuple[int, ...], ours: tuple[int, ...]) -> Entry:
    """Describes an array of the same content in another shape.

    Args:
        path: its place in our tree.
        name: its name in the file.
        shape: its shape in the file.
        ours: its shape in our tree.
    """
    return Entry(path, (name,), (shape,), lambda x: x.reshape(ours), lambda x: (x.reshape(shape),))


def transposed(path: str, name: str, inputs: int, outputs: int) -> Entry:
    """Describes a linear layer's weight, which is (outputs, inputs) in the file and (inputs, outputs) in our tree."""
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
    """Describes a convolution: (outputs, inputs, side, side) in the file, (side, side, inputs, outputs) here."""
    return Entry(
        path,
        (name,),
        ((outputs, inputs, side, side),),
        lambda x: x.transpose(2, 3, 1, 0),
        lambda x: (x.transpose(3, 2, 0, 1),),
    )


def unused(name: str, *shape: int) -> Entry:
    """Describes an array that may be in the file and that we knowingly leave out, such as a pre-trained head."""
    return Entry("", (name,), (shape,), lambda x: x, lambda x: (x,))


def linear(path: str, name: str, inputs: int, outputs: int) -> list[Entry]:
    """Describes the weight and the bias of a linear layer."""
    return [
        transposed(f"{path}/kernel", f"{name}.weight", inputs, outputs),
        same(f"{path}/bias", f"{name}.bias", outputs),
    ]


def norm(path: str, name: str, width: int, rms: bool = False) -> list[Entry]:
    """Describes the scale and the bias of a layer norm; of an RMSNorm the scale alone."""
    scale = same(f"{path}/scale", f"{name}.weight", width)
    return [scale] if rms else [scale, same(f"{path}/bias", f"{name}.bias", width)]


def reordered(entry: Entry, order: Int[np.ndarray, " n"]) -> Entry:
    """Returns an entry whose last axis has another order in our tree.

    Args:
        entry: the entry.
        order: for each of our places, the place in the file.
    """
    back = np.argsort(order)
    return entry._replace(read=lambda *parts: entry.read(*parts)[..., order], write=lambda x: entry.write(x[..., back]))


def joined(path: str, names: Sequence[str], inputs: int, outputs: int, unbiased: Collection[str] = ()) -> list[Entry]:
    """Describes linear layers of equal size, stored apart, that are side by side in ours: queries, keys, values.

    Args:
        path: the place of the one layer in our tree.
        names: what stands before `weight` and `bias` in the names of each, with the separator.
        inputs: the width of the input.
        outputs: the width of each layer's output.
        unbiased: those of `names` that have no bias in the file; in our tree it is zero.
    """
    n = len(names)
    biased = [name not in unbiased for name in names]

    def read_bias(*stored: np.ndarray) -> np.ndarray:
        parts = iter(stored)
        return np.concatenate([next(parts) if has else np.zeros(outputs, np.float32) for has in biased])

    kernel = Entry(
        f"{path}/kernel",
        tuple(f"{name}weight" for name in names),
        ((outputs, inputs),) * n,
        _transpose,
        lambda x: np.split(x.T, n),
    )
    bias = Entry(
        f"{path}/bias",
        tuple(f"{name}bias" for name in itertools.compress(names, biased)),
        ((outputs,),) * sum(biased),
        read_bias,
        lambda x: list(itertools.compress(np.split(x, n), biased)),
    )
    return [kernel, bias]


def side_by_side(path: str, parts: Sequence[tuple[str, int]], inputs: int) -> list[Entry]:
    """Describes linear layers of any widths, stored apart, that are side by side in ours.

    Args:
        path: the place of the one layer in our tree.
        parts: what stands before `weight` and `bias` in the names of each, with the separator, and its output's width.
        inputs: the width of the input.
    """
    names, widths = zip(*parts, strict=True)
    cuts = np.cumsum(widths)[:-1]
    kernel = Entry(
        f"{path}/kernel",
        tuple(f"{name}weight" for name in names),
        tuple((width, inputs) for width in widths),
        _transpose,
        lambda x: np.split(x.T, cuts),
    )
    bias = Entry(
        f"{path}/bias",
        tuple(f"{name}bias" for name in names),
        tuple((width,) for width in widths),
        lambda *parts: np.concatenate(parts),
        lambda x: np.split(x, cuts),
    )
    return [kernel, bias]


class BlockNames(NamedTuple):
    """What a foreign format calls the parts of a transformer block.

    Attributes:
        ln_1, ln_2: the layer norms.
        qkv: the prefixes of the projections to queries, keys and values, one if they are fused and three if not.
        attn_out: the projection after the attention.
        mlp_in, mlp_out: the two layers of the MLP.
        mlp_up: the second input projection of a gated MLP where it is not fused with the first, which is the gate's.
        layer_scales: the scales of both branches, if there are any.
        unbiased: the linear layers, by the names above, that have no bias; in our tree it is zero.
        ln_attn, ln_mlp: the norms inside the two branches, if there are any.
    """

    ln_1: str
    qkv: tuple[str, ...]
    attn_out: str
    ln_2: str
    mlp_in: str
    mlp_out: str
    mlp_up: str = ""
    layer_scales: tuple[str, ...] = ()
    unbiased: tuple[str, ...] = ()
    ln_attn: str = ""
    ln_mlp: str = ""


def block_numbers(depth: int) -> range:
    """Returns the numbers of the blocks, from 0 to `depth` - 1.

    Raises:
        ValueError: if no model is so deep; the table of one that a damaged file claims would fill the memory.
    """
    if depth not in range(1, DEEPEST + 1):
        raise ValueError(f"it has {depth} blocks")
    return range(depth)


def blocks(
    path: str,
    theirs: str,
    names: BlockNames,
    depth: int,
    width: int,
    mlp_dim: int,
    gated: bool = False,
    rms: bool = False,
) -> list[Entry]:
    """Describes the blocks of a transformer.

    Args:
        path: the transformer's place in our tree, where its blocks are `block_0` and so on.
        theirs: what stands before a block's number in the names of its arrays.
        names: what the parts of a block are called.
        depth: the number of blocks.
        width: the width of the tokens.
        mlp_dim: the hidden width of a block's MLP.
        gated: whether the MLP is gated.
        rms: whether the norms are RMSNorms.
    """
    inner_norms = [("ln_attn", names.ln_attn, width), ("ln_mlp", names.ln_mlp, mlp_dim)]
    mlp_in = [f"{name}." for name in (names.mlp_in, names.mlp_up) if name]
    inner = mlp_dim * (2 if gated else 1) // len(mlp_in)
    entries = []
    for i in block_numbers(depth):
        ours, prefix = f"{path}/block_{i}", f"{theirs}.{i}"
        unbiased = [f"{prefix}.{name}" for name in names.unbiased]

        def layer(name: str, parts: Sequence[str], inputs: int, outputs: int) -> list[Entry]:
            return joined(f"{ours}/{name}", [f"{prefix}.{part}" for part in parts], inputs, outputs, unbiased)  # noqa: B023

        entries += [
            *norm(f"{ours}/ln_1", f"{prefix}.{names.ln_1}", width, rms),
            *layer("attn_in", names.qkv, width, 3 * width // len(names.qkv)),
            *layer("attn_out", [f"{names.attn_out}."], width, width),
            *norm(f"{ours}/ln_2", f"{prefix}.{names.ln_2}", width, rms),
            *layer("mlp_in", mlp_in, width, inner),
            *layer("mlp_out", [f"{names.mlp_out}."], mlp_dim, width),
            *(same(f"{ours}/layer_scale_{n}", f"{prefix}.{s}", width) for n, s in enumerate(names.layer_scales, 1)),
        ]
        for name, part, size in inner_norms:
            entries += norm(f"{ours}/{name}", f"{prefix}.{part}", size, rms) if part else []
    return entries


def check(table: Sequence[Entry], foreign: Foreign, source: str, configuration: str = "one another") -> None:
    """Checks that a file has every array of a table, each of its shape, and no others but a classification head.

    Args:
        table: every array of the format.
        foreign: the arrays of a file by the names of the format.
        source: what to call the file in a message.
        configuration: what to call in a message what the arrays have to fit: the file that the table was made by.

    Raises:
        UserError: if an array is missing, left over, or of another shape; they are listed.
    """
    known = {name: shape for entry in table for name, shape in zip(entry.names, entry.shapes, strict=True)}
    foreign = without_head(foreign, known, source)
    forms = set(map(_form, known))  # of one of these are the arrays of a block too many
    misplaced.check_parts([name for name in foreign if name not in known and _form(name) not in forms], source)
    problems = [f"{name} is missing" for entry in table if entry.path for name in entry.names if name not in foreign]
    problems += [f"{printable(name)} is not known" for name in foreign if name not in known]
    problems += [
        f"{name} is {tuple(foreign[name].shape)} instead of {shape}"
        for name, shape in known.items()
        if name in foreign and tuple(foreign[name].shape) != shape
    ]
    if problems:
        rest = f" and {len(problems) - 10} more" if len(problems) > 10 else ""
        raise UserError(
            f"The arrays in {source} do not fit {configuration}, because {', '.join(problems[:10])}{rest}; take all "
            "files from one model."
        )


def _form(name: str) -> str:
    return re.sub(r"\d+", "0", name)


def read(table: Sequence[Entry], foreign: Foreign, source: str, configuration: str = "one another") -> dict[str, Any]:
    """Reads the parameter tree in float32.

    Arrays are read one after the other, so that only one is in memory twice.

    Args:
        table, foreign, source, configuration: as of `check`. A classification head is left out.

    Raises:
        UserError: as `check` does, or if an array holds something else than finite floating-point numbers.
    """
    check(table, foreign, source, configuration)
    flat = {}
    bar = tqdm([entry for entry in table if entry.path], desc="weights", unit=" arrays", delay=2, disable=None)
    for entry in bar:
        parts = (_float32(name, foreign[name], source) for name in entry.names)
        flat[entry.path] = np.asarray(entry.read(*parts), order="C")
    return traverse_util.unflatten_dict(flat, sep="/")


def _float32(name: str, stored: np.ndarray | Stored, source: str) -> Float[np.ndarray, "..."]:
    """Converts a foreign array to float32.

    Raises:
        UserError: if it holds something else than finite floating-point numbers.
    """
    array = np.asarray(stored)
    if not jnp.issubdtype(array.dtype, np.floating):
        raise UserError(
            f"{name} in {source} is of the type {array.dtype}, but weights are floating-point numbers; take a file of "
            "the model that was not quantised."
        )
    with np.errstate(over="ignore"):  # what is too large for float32 becomes infinite, which is said below
        array = array.astype(np.float32, copy=False)
    # NaN is not within the bounds either. The comparison of extremes needs no memory, that of all numbers would.
    if array.size and not (array.min() >= -_LARGEST and array.max() <= _LARGEST):
        raise UserError(
            f"{name} in {source} holds numbers that are not finite, or beyond all bounds; the file is damaged, take it "
            "from the model's source again."
        )
    return array


def write(table: Sequence[Entry], params: Mapping[str, Any]) -> Flat:
    """Returns the arrays of a file, from the parameter tree: the inverse of `read`.

    Args:
        table: every array of the format.
        params: the parameter tree.

    Raises:
        UserError: if the tree has an array that the table does not, or lacks one; they are listed.
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
