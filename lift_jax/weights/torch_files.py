"""PyTorch's state dicts (.pt, .pth, .bin): read by torch's weights-only loader, which runs no code of the file."""

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lift_jax.errors import UserError, first_line
from lift_jax.weights.arrays import Flat


def load(file: Path) -> Any:
    """The content of a file that torch.save wrote, tensors being float32 or integer NumPy arrays.

    Raises:
        UserError: if torch is not installed, or the file is damaged or holds more than tensors and plain containers.
    """
    try:
        import torch
    except ImportError as error:
        raise UserError(
            f"Reading {file} needs PyTorch, which is not installed: write `pip install torch`, or take the model's "
            "safetensors instead."
        ) from error
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        name = re.search(r"GLOBAL (\S+)", str(error))  # torch goes on to say how it could be read none the less
        raise UserError(
            f"{file} is refused, because it holds more than tensors{f', such as {name[1]},' if name else ''} and could "
            "run code on this machine when it is read; take the model's safetensors instead."
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError) as error:
        raise UserError(
            f"{file} cannot be read ({first_line(error)}); it is damaged or incomplete, copy it again."
        ) from error
    return _to_numpy(content)


def state_dict(file: Path) -> Flat:
    """The arrays of a model's state dict, which may lie under the key `state_dict` and be named `module.…`.

    Raises:
        UserError: as `load` does, or if the file holds something else.
    """
    content = load(file)
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not all(isinstance(array, np.ndarray) for array in content.values()):
        raise UserError(f"{file} holds no state dict, a mapping from names to tensors; give a model's weights.")
    return {str(name).removeprefix("module."): array for name, array in content.items()}


def _to_numpy(content: Any) -> Any:
    import torch

    if isinstance(content, torch.Tensor):
        content = content.detach()
        # NumPy has no bfloat16 of its own, and what is computed with is float32 in any case.
        return (content.float() if content.is_floating_point() else content).numpy()
    if isinstance(content, Mapping):
        return {key: _to_numpy(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_to_numpy(value) for value in content]
    return content
