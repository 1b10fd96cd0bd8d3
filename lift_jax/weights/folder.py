"""A model's folder: its JSON files and its arrays, whatever kind of file they are in."""

from collections.abc import Sequence
from pathlib import Path

from lift_jax.errors import UserError
from lift_jax.files import parse_json
from lift_jax.weights import misplaced, safetensors_files, torch_files
from lift_jax.weights.arrays import Foreign
from lift_jax.weights.settings import Settings

TRANSFORMERS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
"""The files that hold the arrays in the layout of transformers and of timm, the preferred first."""


def read_json(folder: Path, name: str) -> Settings:
    """Reads a JSON file of a folder.

    Raises:
        UserError: if it is missing or damaged.
    """
    file = folder / name
    if not folder.is_dir():
        raise UserError(
            f"The backbone {folder} is not a folder; config.backbone names a folder with config.json, "
            "model.safetensors and tokenizer.json, as transformers' save_pretrained writes it."
        )
    if not file.is_file():
        raise UserError(f"The backbone {folder} has no {name}; it {misplaced.folder(folder)}.")
    try:
        content = parse_json(file.read_bytes())
    except ValueError as error:
        raise UserError(f"{file} is not valid JSON ({error}); take it from the model's source again.") from error
    if not isinstance(content, dict):
        raise UserError(f"{file} holds no JSON object; take it from the model's source again.")
    return Settings(content, str(file))


def has_arrays(folder: Path, names: Sequence[str] = TRANSFORMERS) -> bool:
    """Tells whether the folder holds arrays in one of the files `names`."""
    return any((folder / name).is_file() for name in names)


def stored_arrays(folder: Path, names: Sequence[str] = TRANSFORMERS) -> tuple[Foreign, str]:
    """Returns the arrays of the first of the files `names` that is there, and the place to name in a message.

    Raises:
        UserError: if none is there, or it cannot be read.
    """
    for name in names:
        file = folder / name
        if not file.is_file():
            continue
        files = safetensors_files.shards(file) if name.endswith(".index.json") else [file]
        return file_arrays(*files), str(file if len(files) == 1 else folder)
    raise UserError(f"The backbone {folder} has no {names[0]}; it {misplaced.folder(folder)}.")


def file_arrays(*files: Path) -> Foreign:
    """Returns the arrays of files, all of one kind: safetensors, or what torch.save wrote.

    Raises:
        UserError: if one cannot be read.
    """
    if all(file.suffix == ".safetensors" for file in files):
        return safetensors_files.arrays(*files)
    return {name: array for file in files for name, array in torch_files.state_dict(file).items()}
