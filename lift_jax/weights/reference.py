"""Checkpoints of the reference implementation (checkpoint.pth.tar): its names and layout of what a run trains.

The names are those of its state dicts, after "tuner." or "head.": `tuner.adaptformer_list.2.down_proj.weight`,
`head.weight`. Linear weights are (outputs, inputs) there. Which entries a sparse mask trains, its state dicts do not
say: a file may have a third mapping `mask` of boolean arrays, named as `masked_linear_list.0.attn_in.weight`.
"""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flax import traverse_util
from jaxtyping import Bool, Int

from lift_jax.errors import UserError
from lift_jax.files import replacing
from lift_jax.models.partition import BACKBONE, HEAD, Parts, Tree
from lift_jax.models.partition import Path as TreePath
from lift_jax.tuners.mask import INDEX, NAMES
from lift_jax.tuners.selection import block_of
from lift_jax.tuners.specs import TUNERS
from lift_jax.tuners.tuning import TUNER_PREFIX, Tuning
from lift_jax.weights import arrays, torch_files
from lift_jax.weights.arrays import Entry, Flat, Foreign

_DICTS = ("tuner", "head")
_LINEARS = {"attn_in": "attn.in_proj_", "attn_out": "attn.out_proj.", "mlp_in": "mlp.c_fc.", "mlp_out": "mlp.c_proj."}
_LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias"}
_BIASES = ("attn_in", "attn_out", "ln_1", "mlp_in", "mlp_out", "ln_2")  # PyTorch's order of a block's parameters
_NORMS = ("ln_1", "ln_2")
_MLP_LORA = {"mlp_in": "1", "mlp_out": "2"}
_REFERENCE = {spec.name: spec.reference for spec in TUNERS}
_MASKS = {spec.name for spec in TUNERS if spec.family == "mask"}


def load(file: Path, tuning: Tuning, parts: Parts) -> Parts:
    """Loads the parameters of a run with those that the reference implementation trained.

    Args:
        file: checkpoint.pth.tar, a mapping of "tuner" and "head" to state dicts.
        tuning: of the same method.
        parts: the parameters of a run of that method.

    Raises:
        UserError: if the file cannot be read, or does not fit the method; for a sparse mask, if it has no masks.
    """
    content = torch_files.load(file)
    dicts = [content.get(part) or {} for part in _DICTS] if isinstance(content, Mapping) else [None]
    if not any(dicts) or not all(
        isinstance(own, Mapping) and all(isinstance(array, np.ndarray) for array in own.values()) for own in dicts
    ):
        raise UserError(
            f"{file} is no checkpoint of the reference implementation, a mapping of tuner and head to state dicts."
        )
    if _sites(parts):
        parts = set_masks(parts, _masks_of(content.get("mask"), masks(parts), file))
    foreign = {f"{part}.{name}": array for part, own in zip(_DICTS, dicts, strict=True) for name, array in own.items()}
    return read(foreign, tuning, parts, str(file))


def save(file: Path, tuning: Tuning, parts: Parts) -> None:
    """Writes what a run has trained as the reference implementation's checkpoint.

    Raises:
        UserError: if torch is not installed, or the reference has no name for what was trained.
        OSError: if the file cannot be written; it is then as it was.
    """
    try:
        import torch
    except ImportError as error:
        raise UserError(f"Writing {file} needs PyTorch, which is not installed: write `pip install torch`.") from error
    flat = {name: torch.from_numpy(np.array(array)) for name, array in write(tuning, parts).items()}
    dicts = {
        part: {name.removeprefix(f"{part}."): x for name, x in flat.items() if name.startswith(f"{part}.")}
        for part in _DICTS
    }
    if chosen := masks(parts):
        dicts["mask"] = {
            name.removeprefix("tuner."): torch.from_numpy(np.ascontiguousarray(mask)) for name, mask in chosen.items()
        }
    content = io.BytesIO()  # for the errors of the disk, which torch itself does not pass on
    torch.save(dicts, content)
    with replacing(file) as part:
        part.write_bytes(content.getvalue())


def _masks_of(
    given: Any, own: Mapping[str, Bool[np.ndarray, "..."]], file: Path
) -> Mapping[str, Bool[np.ndarray, "..."]]:
    """Returns the masks of a file, with the names and shapes of `own`."""
    found = {f"tuner.{name}": np.asarray(mask, bool) for name, mask in (given or {}).items()}
    for name, mask in own.items():
        if name not in found or found[name].shape != mask.shape:
            raise UserError(
                f"{file} does not say which entries its sparse mask trains, because the reference implementation does "
                f"not save it: add a mapping `mask` with a boolean tensor {name.removeprefix('tuner.')} of shape "
                f"{list(mask.shape)}, and one for each masked layer's weight and bias."
            )
    return {name: found[name] for name in own}


def read(foreign: Foreign, tuning: Tuning, parts: Parts, source: str) -> Parts:
    """Returns `parts` with the trained arrays of `foreign`; each must have its place, and each place its array.

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
    """Writes what `read` reads."""
    empty = {f"{_masked(site)}.optimized_{leaf}": np.zeros(0, np.float32) for site in _sites(parts) for leaf in NAMES}
    return empty | arrays.write(table(tuning, parts), {**parts.tuner, **parts.head})


def table(tuning: Tuning, parts: Parts) -> list[Entry]:
    """Lists every trained array and the reference's name of it.

    Raises:
        UserError: if the reference has no name for one.
    """
    frozen, trained = _flat(parts.frozen), _flat({**parts.tuner, **parts.head})
    for path in trained:
        own = path[1] in _LEAVES if path[0] == HEAD else path[0] == BACKBONE and block_of(path[1:]) is not None
        if not own:
            raise UserError(
                f"The run trains {'/'.join(path)}, which checkpoints of the reference implementation have no name for; "
                "they hold the tuners of a ViT's blocks and a head of class vectors."
            )
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
    block, inner, group = block_of(path[1:]), path[2:], tuning.group(path[1:]) or ""
    if inner[0].startswith(TUNER_PREFIX):
        return f"tuner.{_REFERENCE[group]}.{block}.{'.'.join(_inside(group, inner[1:]))}"
    own, leaf = f"tuner.{_REFERENCE[group]}", _LEAVES[inner[1]]
    if group == "full_tuning":
        return f"{own}.{block}.{_LINEARS.get(inner[0], f'{inner[0]}.')}{leaf}"
    if group == "bias_tuning":
        return f"{own}.{len(_BIASES) * int(block or 0) + _BIASES.index(inner[0])}"
    return f"{own}.{len(_NORMS) * int(block or 0) + _NORMS.index(inner[0])}.{leaf}"


def _inside(tuner: str, path: TreePath) -> TreePath:
    """Turns the path of an array inside of a tuner's module into the reference's."""
    if tuner in _MASKS:
        return path[0], f"optimized_{path[1]}"
    if tuner == "lora_mlp":
        return _MLP_LORA[path[0]], path[1]
    if tuner in ("adapter", "adaptformer") and len(path) == 2:
        return path[0], _LEAVES[path[1]]
    return path


def set_masks(parts: Parts, masks: Mapping[str, Bool[np.ndarray, "..."]]) -> Parts:
    """Returns `parts` with other entries trained by the sparse mask; they start at the loaded values.

    Args:
        parts: of a run with a tuner `mask`.
        masks: True where an entry is trained, (outputs, inputs) or (outputs,), by names such as
            `tuner.masked_linear_list.0.attn_in.weight`; every linear layer of the tuner is there.
    """
    frozen, trained = _flat(parts.frozen), _flat(parts.tuner)
    own = {**frozen, **trained}  # a layer's bias may be trained itself
    for site in _sites(parts):
        for leaf in NAMES:
            mask = masks[f"{_masked(site)}.{leaf}"]
            for tree, name in ((frozen, leaf + INDEX), (trained, leaf)):
                tree.pop((*site, name), None)
            if mask.any():
                index = np.flatnonzero(mask.T).astype(np.int32)
                frozen[*site, leaf + INDEX] = index
                trained[*site, leaf] = np.ravel(own[_own(site, leaf)])[index].astype(np.float32)
    return parts._replace(frozen=traverse_util.unflatten_dict(frozen), tuner=traverse_util.unflatten_dict(trained))


def masks(parts: Parts) -> dict[str, Bool[np.ndarray, "..."]]:
    """Returns the masks of `parts`, as `set_masks` takes them."""
    frozen, found = _flat(parts.frozen), {}
    own = {**frozen, **_flat(parts.tuner)}  # a layer's bias may be trained itself
    for site in _sites(parts):
        for leaf in NAMES:
            mask = np.zeros(own[_own(site, leaf)].shape, bool)
            mask.reshape(-1)[np.asarray(frozen.get((*site, leaf + INDEX), []), np.int32)] = True
            found[f"{_masked(site)}.{leaf}"] = mask.T
    return found


def _sites(parts: Parts) -> list[TreePath]:
    """Lists the masked linear layers, as in ("backbone", "block_0", "tuner_mask", "attn_in")."""
    paths = [path for path in _flat(parts.tuner) if len(path) > 3]
    return sorted({path[:-1] for path in paths if path[2].removeprefix(TUNER_PREFIX) in _MASKS})


def _masked(site: TreePath) -> str:
    return f"tuner.masked_linear_list.{block_of(site[1:])}.{site[3]}"


def _own(site: TreePath, leaf: str) -> TreePath:
    """Returns the backbone's own array at a masked linear layer."""
    return *site[:2], site[3], "kernel" if leaf == "weight" else leaf


def _their_positions(
    index: Int[np.ndarray, " n"], path: TreePath, frozen: Mapping[TreePath, Any]
) -> Int[np.ndarray, " n"]:
    """Converts flat positions in our array to those in the (outputs, inputs) array."""
    if path[-1] != "weight":
        return index
    inputs, outputs = frozen[*path[:2], path[3], "kernel"].shape
    row, column = np.divmod(index, outputs)
    return column * inputs + row


def _flat(tree: Tree) -> dict[TreePath, Any]:
    return traverse_util.flatten_dict(dict(tree))  # pyright: ignore[reportReturnType]
