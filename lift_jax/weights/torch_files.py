"""PyTorch's state dicts (.pt, .pth, .bin): read by torch's weights-only loader, which runs no code of the file."""

import pickle
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lift_jax.errors import UserError
from lift_jax.weights import misplaced, names
from lift_jax.weights.arrays import Flat

_IMAGE_TOWER = re.compile(r"(^|\.)(conv1|patch_embed\.proj|patch_embedding|patch_embeddings\.projection)\.weight")
"""The first weight of every image tower that is known here."""


def load(file: Path) -> Any:
    """Reads a file that torch.save wrote. Tensors become NumPy arrays of float32 or of whole numbers.

    Raises:
        UserError: if torch is not installed, or the file is damaged or holds more than tensors and plain containers.
    """
    try:
        return _to_numpy(_load(file), file)
    except RecursionError as error:
        raise misplaced.damaged(file, error) from error


def _load(file: Path) -> Any:
    try:
        import torch
    except ImportError as error:
        raise UserError(
            f"Reading {file} needs PyTorch, which is not installed: write `pip install torch`, or take the model's "
            "safetensors instead."
        ) from error
    try:
        with warnings.catch_warnings(action="ignore"):  # torch guesses at what is odd in a damaged file
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        name = re.search(r"GLOBAL (\S+)", str(error))  # torch goes on to say how it could be read none the less
        if name is None:
            raise misplaced.damaged(file, error) from error
        raise UserError(
            f"{file} is refused, because it holds more than tensors, such as {name[1]}, and could run code on this "
            "machine when it is read; take the model's safetensors instead, or save its tensors alone, by "
            "torch.save(model.state_dict(), FILE)."
        ) from error
    except Exception as error:  # damaged bytes make torch, zipfile and pickle raise anything
        raise misplaced.damaged(file, error) from error


def state_dict(file: Path) -> Flat:
    """Finds the arrays of a model, wherever in the file its state dict lies: under `state_dict`, `model`, or deeper.

    What a training program keeps beside it, such as the state of its optimizer, is left out. Of several models the
    averaged one is taken (see `lift_jax.weights.names.choose`).

    Raises:
        UserError: as `load` does, or if the file holds no state dict, or several.
    """
    content = _load(file)
    try:
        found = dict(_state_dicts(content, ""))
    except RecursionError as error:
        raise misplaced.damaged(file, error) from error
    found = {key: own for key, own in found.items() if any(map(_IMAGE_TOWER.search, own))} or found
    if not found:
        keys = ", ".join(map(str, list(content)[:4])) if isinstance(content, Mapping) else type(content).__name__
        raise UserError(
            f"{file} holds no state dict, a mapping from names to tensors, but {keys[:200] or 'nothing'}; give a "
            "model's weights."
        )
    return _to_numpy(found[names.choose(list(found), str(file))], file)


def _state_dicts(content: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields every mapping from names to tensors in a checkpoint, with the keys that lead to it."""
    import torch

    if not isinstance(content, Mapping):
        return
    tensors = {k: x for k, x in content.items() if isinstance(k, str) and isinstance(x, torch.Tensor)}
    if tensors:
        yield path.removesuffix("."), tensors
    for key, value in content.items():
        yield from _state_dicts(value, f"{path}{key}.")


def _to_numpy(content: Any, file: Path) -> Any:
    import torch

    if isinstance(content, torch.Tensor):
        content = content.detach()
        try:
            # NumPy has no bfloat16 of its own, and what is computed with is float32 in any case.
            return (content.float() if content.is_floating_point() else content).numpy()
        except (RuntimeError, TypeError) as error:  # of quantised and sparse tensors
            raise UserError(
                f"{file} holds a tensor of the type {content.dtype} and the layout {content.layout}, which is not read "
                "here; take a file of the model that was not quantised."
            ) from error
    if isinstance(content, Mapping):
        return {key: _to_numpy(value, file) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_to_numpy(value, file) for value in content]
    return content
