"""Checkpoints of the reference implementation (checkpoint.pth.tar): its names and layout of what a run trains.

The names are those of its state dicts, after "tuner." or "head.": `tuner.adaptformer_list.2.down_proj.weight`,
`head.weight`. Linear weights are (outputs, inputs) there.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flax import traverse_util
from jaxtyping import Bool, Int

from lift_jax.errors import UserError
from lift_jax.state import HEAD, Parts, Tree
from lift_jax.state import Path as TreePath
from lift_jax.tuners.mask import INDEX, NAMES
from lift_jax.tuners.selection import block_of
from lift_jax.tuners.tuning import TUNER_PREFIX, Tuning
from lift_jax.weights import arrays, torch_files
from lift_jax.weights.arrays import Entry, Flat, Foreign

_LINEARS = {"attn_in": "attn.in_proj_", "attn_out": "attn.out_proj.", "mlp_in": "mlp.c_fc.", "mlp_out": "mlp.c_proj."}
_LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias"}
_BIASES = ("attn_in", "attn_out", "ln_1", "mlp_in", "mlp_out", "ln_2")  # PyTorch's order of a block's parameters
_NORMS = ("ln_1", "ln_2")
_MLP_LORA = {"mlp_in": "1", "mlp_out": "2"}
_MASKS = ("mask", "mask_attn", "mask_mlp")
_PROMPTS = ("vpt_shallow", "vpt_deep")


def load(file: Path, tuning: Tuning, parts: Parts) -> Parts:
    """The parameters of a run with those that the reference implementation trained.

    Args:
        file: checkpoint.pth.tar, a mapping of "tuner" and "head" to state dicts.
        tuning: of the same method.
        parts: the parameters of a run of that method.

    Raises:
        UserError: if the file cannot be read, or does not fit the method.
    """
    content = torch_files.load(file)
    if not isinstance(content, Mapping) or not {"tuner", "head"} <= content.keys():
        raise UserError(f"{file} is no checkpoint of the reference implementation, which has a tuner and a head.")
    foreign = {f"{part}.{name}": array for part in ("tuner", "head") for name, array in (content[part] or {}).items()}
    return read(foreign, tuning, parts, str(file))


def save(file: Path, tuning: Tuning, parts: Parts) -> None:
    """Writes what a run has trained as the reference implementation's checkpoint; needs torch."""
    import torch

    flat = {name: torch.from_numpy(np.array(array)) for name, array in write(tuning, parts).items()}
    dicts = {
        part: {name.removeprefix(f"{part}."): x for name, x in flat.items() if name.startswith(f"{part}.")}
        for part in ("tuner", "head")
    }
    torch.save(dicts, file)


def read(foreign: Foreign, tuning: Tuning, parts: Parts, source: str) -> Parts:
    """`parts` with the trained arrays of `foreign`, each of which must have its place, and each place its array.

    Args:
        foreign: by the reference's names.
        tuning: of the method.
        parts: what to fill. A sparse mask must be that of `foreign` (see `set_masks`).
        source: what to call `foreign` in a message.

    Raises:
        UserError: if the names or shapes differ; it lists them.
    """
    entries = table(tuning, parts)
    foreign = {name: array for name, array in foreign.items() if 0 not in array.shape}
    theirs = {name: tuple(array.shape) for name, array in foreign.items()}
    different = sorted(name for name, _ in theirs.items() ^ {(e.names[0], e.shapes[0]) for e in entries})
    if different:
        shown = ", ".join(dict.fromkeys(different[:10]))
        raise UserError(
            f"What {source} holds is not what this run trains: {shown} are absent, too many, or of another shape; "
            "set config.method, config.tuner, config.head and the classes as in the run that wrote it."
        )
    tree = arrays.read(entries, foreign, source)
    return parts._replace(tuner={"backbone": tree["backbone"]} if "backbone" in tree else {}, head={HEAD: tree[HEAD]})


def write(tuning: Tuning, parts: Parts) -> Flat:
    """The inverse of `read`."""
    empty = {f"{_masked(site)}.optimized_{leaf}": np.zeros(0, np.float32) for site in _sites(parts) for leaf in NAMES}
    return empty | arrays.write(table(tuning, parts), {**parts.tuner, **parts.head})


def table(tuning: Tuning, parts: Parts) -> list[Entry]:
    """Every trained array and the reference's name of it."""
    frozen, trained = _flat(parts.frozen), _flat({**parts.tuner, **parts.head})
    return [_entry(path, array.shape, tuning, frozen) for path, array in trained.items()]


def _entry(path: TreePath, shape: tuple[int, ...], tuning: Tuning, frozen: Mapping[TreePath, Any]) -> Entry:
    ours, name = "/".join(path), _name(path, tuning)
    if path[-1] == "kernel":
        return arrays.transposed(ours, name, *shape)
    if (index := frozen.get((*path[:-1], path[-1] + INDEX))) is None:
        return arrays.same(ours, name, *shape)
    order = np.argsort(_their_positions(np.asarray(index), path, frozen))
    back = np.argsort(order)
    return Entry(ours, (name,), (shape,), lambda x: x[back], lambda x: (x[order],))


def _name(path: TreePath, tuning: Tuning) -> str:
    if path[0] == HEAD:
        return f"head.{_LEAVES[path[1]]}"
    block, inner, group = block_of(path[1:]), path[2:], tuning.group(path[1:])
    if group == "full_tuning":
        layer = _LINEARS.get(inner[0], f"{inner[0]}.")
        return f"tuner.block_tuned.{block}.{layer}{_LEAVES[inner[1]]}"
    if group == "bias_tuning":
        return f"tuner.bias_tuned.{len(_BIASES) * int(block or 0) + _BIASES.index(inner[0])}"
    if group == "ln_tuning":
        return f"tuner.ln_tuned.{len(_NORMS) * int(block or 0) + _NORMS.index(inner[0])}.{_LEAVES[inner[1]]}"
    tuner, rest = inner[0].removeprefix(TUNER_PREFIX), inner[1:]
    if tuner in _PROMPTS:
        tuner = "vpt"
    elif tuner in _MASKS:
        tuner, rest = "masked_linear", (rest[0], f"optimized_{rest[1]}")
    elif tuner == "lora_mlp":
        rest = (_MLP_LORA[rest[0]], rest[1])
    elif tuner in ("adapter", "adaptformer") and len(rest) == 2:
        rest = (rest[0], _LEAVES[rest[1]])
    return f"tuner.{tuner}_list.{block}.{'.'.join(rest)}"


def set_masks(parts: Parts, masks: Mapping[str, Bool[np.ndarray, "..."]]) -> Parts:
    """`parts` with other entries trained by the sparse mask; they start at the loaded values.

    Args:
        parts: of a run with a tuner `mask`.
        masks: True where an entry is trained, (outputs, inputs) or (outputs,), by names such as
            `tuner.masked_linear_list.0.attn_in.weight`; every linear layer of the tuner is there.
    """
    frozen, trained = _flat(parts.frozen), _flat(parts.tuner)
    for site in _sites(parts):
        for leaf in NAMES:
            mask = masks[f"{_masked(site)}.{leaf}"]
            for tree, name in ((frozen, leaf + INDEX), (trained, leaf)):
                tree.pop((*site, name), None)
            if mask.any():
                index = np.flatnonzero(mask.T).astype(np.int32)
                frozen[*site, leaf + INDEX] = index
                trained[*site, leaf] = np.ravel(frozen[_own(site, leaf)])[index].astype(np.float32)
    return parts._replace(frozen=traverse_util.unflatten_dict(frozen), tuner=traverse_util.unflatten_dict(trained))


def masks(parts: Parts) -> dict[str, Bool[np.ndarray, "..."]]:
    """The masks of `parts`, as `set_masks` takes them."""
    frozen, found = _flat(parts.frozen), {}
    for site in _sites(parts):
        for leaf in NAMES:
            mask = np.zeros(frozen[_own(site, leaf)].shape, bool)
            mask.reshape(-1)[np.asarray(frozen.get((*site, leaf + INDEX), []), np.int32)] = True
            found[f"{_masked(site)}.{leaf}"] = mask.T
    return found


def _sites(parts: Parts) -> list[TreePath]:
    """The masked linear layers: ("backbone", "block_0", "tuner_mask", "attn_in")."""
    return sorted({path[:-1] for path in _flat(parts.tuner) if path[2].removeprefix(TUNER_PREFIX) in _MASKS})


def _masked(site: TreePath) -> str:
    return f"tuner.masked_linear_list.{block_of(site[1:])}.{site[3]}"


def _own(site: TreePath, leaf: str) -> TreePath:
    """The backbone's own array at a masked linear layer."""
    return *site[:2], site[3], "kernel" if leaf == "weight" else leaf


def _their_positions(
    index: Int[np.ndarray, " n"], path: TreePath, frozen: Mapping[TreePath, Any]
) -> Int[np.ndarray, " n"]:
    """Flat positions in the (outputs, inputs) array of entries at flat positions in ours."""
    if path[-1] != "weight":
        return index
    inputs, outputs = frozen[*path[:2], path[3], "kernel"].shape
    row, column = np.divmod(index, outputs)
    return column * inputs + row


def _flat(tree: Tree) -> dict[TreePath, Any]:
    return traverse_util.flatten_dict(dict(tree))  # pyright: ignore[reportReturnType]
