"""A model's folder: its JSON files and its arrays, whatever kind of file they are in."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lift_jax.errors import UserError
from lift_jax.weights import safetensors_files, torch_files
from lift_jax.weights.arrays import Foreign

TRANSFORMERS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")
"""The files that hold the arrays in the layout of transformers and of timm, the preferred first."""


def read_json(folder: Path, name: str) -> dict[str, Any]:
    """A JSON file of a folder.

    Raises:
        UserError: if it is missing or damaged.
    """
    file = folder / name
    if not file.is_file():
        what = "is not a folder" if not folder.is_dir() else f"has no {name}"
        raise UserError(
            f"The backbone {folder} {what}; config.backbone names a folder with config.json, model.safetensors and "
            "tokenizer.json, as transformers' save_pretrained writes it."
        )
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{file} is not valid JSON ({error}); take it from the model's source again.") from error
    if not isinstance(content, dict):
        raise UserError(f"{file} holds no JSON object; take it from the model's source again.")
    return content


def has_arrays(folder: Path) -> bool:
    """Whether the folder holds arrays in the layout of transformers or of timm."""
    return any((folder / name).is_file() for name in TRANSFORMERS)


def stored_arrays(folder: Path, names: Sequence[str] = TRANSFORMERS) -> tuple[Foreign, str]:
    """The arrays of the first of the files `names` that is there, and the place to name in a message.

    Raises:
        UserError: if none is there, or it cannot be read.
    """
    for name in names:
        file = folder / name
        if not file.is_file():
            continue
        if name.endswith(".index.json"):
            return safetensors_files.arrays(*safetensors_files.shards(file)), str(folder)
        if name.endswith(".safetensors"):
            return safetensors_files.arrays(file), str(file)
        return torch_files.state_dict(file), str(file)
    raise UserError(
        f"The backbone {folder} has no {names[0]}; config.backbone names a folder with a model's configuration and its "
        "weights."
    )
