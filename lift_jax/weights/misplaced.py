"""What a file or folder is that is no backbone, and what to write instead: the sentences that refuse it."""

import re
from collections.abc import Iterable
from pathlib import Path

from lift_jax.errors import UserError, first_line
from lift_jax.files import parse_json
from lift_jax.text import printable

_TAKE = "give a CLIP, a SigLIP, a DINO or an ImageNet-21K ViT of those in docs/backbones.md"

_PARTS = (
    # Parts that a model with an image tower may have and that are not known here.
    (
        r"lora_(A|B|down|up)\b|\.hada_w",
        "a LoRA adapter that is not merged into the model",
        "merge it, by peft's merge_and_unload, and give the folder of the result",
    ),
    (r"\bfc_norm\.", "a ViT that averages its tokens (global_pool is avg)", "take one with a class token"),
    (r"\battn_pool\.|\bvision_model\.head\.", "a ViT with attention pooling", "take it in the layout of transformers"),
    (
        r"\b(ls1|layer_scale1|lambda_?1)\b|\bgamma_1$",
        "a ViT with layer scales in a layout that is not known here",
        _TAKE,
    ),
    (r"\b(reg_token|register_tokens)$", "a ViT with register tokens in a layout that is not known here", _TAKE),
    (r"\b(dist_token|distillation_token)$", "a distilled DeiT, which has two class tokens", _TAKE),
    (r"\b(q_norm|k_norm)\.", "a ViT that normalises queries and keys", _TAKE),
    (r"relative_position_bias", "a ViT with relative positions, as BEiT and Swin have them", _TAKE),
    (r"\bdecoder_blocks\.", "a masked autoencoder with its decoder", "take its encoder alone"),
)
_MODELS = (
    # Models without an image tower that is known here.
    *_PARTS,
    (r"diffusion_model\.|(down|up|double|single_transformer)_blocks\.", "a diffusion model", _TAKE),
    (r"exp_avg|momentum_buffer|param_groups", "the state of an optimizer", "give the model's own weights"),
    (
        r"_list\.\d+\.",
        "what the authors' implementation of LIFT trained, without the foundation model",
        "give it as --checkpoint with --mode eval",
    ),
    (r"\blayer1\.0\.conv1\.", "a ResNet that was trained without text", _TAKE),
    (r"\blayers\.0\.blocks\.", "a Swin transformer", _TAKE),
    (r"\bstages\.0\.|\bfeatures\.\d", "a convolutional network", _TAKE),
    (r"\bconv_proj\.", "a ViT of torchvision", "give the same model of timm's or transformers'"),
    (r"embed_tokens\.|word_embeddings\.|\bwte\.", "a language model", _TAKE),
    (r"token_embedding\.|text_model\.", "the text tower of a CLIP without its image tower", "give the whole model"),
)
"""What the names of arrays show of their model: the first that is found decides."""

_TEXTS = (
    # How text begins that stands in the place of weights.
    (b"version https://git-lfs", "a pointer of Git LFS instead of the weights", "fetch them with `git lfs pull`"),
    (b"<!", "a web page instead of the weights", "download the file itself"),
    (b"<html", "a web page instead of the weights", "download the file itself"),
    (b"{", "JSON instead of weights", "name the file of the weights, or its folder"),
)
_BEGINNINGS = (
    # How other kinds of files begin.
    (b"GGUF", "a quantised language model (GGUF)", _TAKE),
    (b"\x89HDF\r\n", "weights of Keras or TensorFlow", "take the model's safetensors instead"),
    (b"\x89PNG", "an image", "set config.data.root to your images and config.backbone to a foundation model"),
    (b"\xff\xd8\xff", "an image", "set config.data.root to your images and config.backbone to a foundation model"),
    (b"\x1f\x8b", "a gzip archive", "unpack it and name what is in it"),
    (b"BZh", "a bzip2 archive", "unpack it and name what is in it"),
    (b"7z\xbc\xaf", "a 7-Zip archive", "unpack it and name what is in it"),
)

_WEIGHTS = (".pt", ".pth", ".npz", ".safetensors", ".bin")
_OTHER_WEIGHTS = (".msgpack", ".h5", ".onnx", ".ckpt", ".gguf", ".tflite", ".index")


def arrays(names: Iterable[str], source: str) -> UserError:
    """Returns the refusal of a file whose arrays have no image tower that is known here.

    Args:
        names: the names of the arrays in the file.
        source: what to call the file.
    """
    names = sorted(names)
    if not names:
        return UserError(f"{source} holds no arrays; {_TAKE}.")
    if found := _first(_MODELS, names):
        return UserError(f"{source} holds {found}.")
    some = ", ".join(map(printable, names[:4])) + (", …" if len(names) > 4 else "")
    return UserError(f"{source} holds no image tower that is known here (its arrays are {some}); {_TAKE}.")


def check_parts(unknown: Iterable[str], source: str) -> None:
    """Checks arrays that a format does not have for those that show another kind of model.

    Args:
        unknown: the names of these arrays.
        source: what to call the file.

    Raises:
        UserError: if there are some; it says what they are of.
    """
    if found := _first(_PARTS, unknown):
        raise UserError(f"{source} holds {found}.")


def _first(table: Iterable[tuple[str, str, str]], names: Iterable[str]) -> str | None:
    names = list(names)
    for pattern, what, remedy in table:
        if example := next((name for name in names if re.search(pattern, name)), None):
            return f"{what} ({printable(example)}); {remedy}"
    return None


def missing(error: Exception) -> str:
    """Returns what is wrong where an array was looked for by its name, or a shape was taken apart."""
    return f"the array {error.args[0]} is missing" if isinstance(error, KeyError) else str(error)


def damaged(file: Path, error: Exception) -> UserError:
    """Returns the refusal of a file of weights that a library could not read.

    Args:
        file: the file.
        error: what the library says.
    """
    try:
        with file.open("rb") as opened:
            beginning = opened.read(64)
    except OSError:
        beginning = b"?"
    if not beginning:
        return UserError(f"{file} cannot be read, because it is empty; copy it again.")
    # A safetensors file begins with the length of its header, whose first bytes may be those of text, but not all.
    for first, what, remedy in _BEGINNINGS if b"\0" in beginning else (*_TEXTS, *_BEGINNINGS):
        if beginning.lstrip().startswith(first):
            return UserError(f"{file} is {what}; {remedy}.")
    return UserError(f"{file} cannot be read ({first_line(error)}); it is damaged or incomplete, copy it again.")


def folder(place: Path) -> str:
    """Returns what a folder without a model's files is, and what to write instead: the end of a sentence."""
    if found := other_folder(place):
        return found
    names = _children(place)
    files = [name for name in names if name.endswith(_WEIGHTS)]
    if files and "config.json" not in names:
        return f"has weights without a config.json; add it, or name the file, as config.backbone={place / files[0]}"
    others = [name for name in names if name.endswith(_OTHER_WEIGHTS)]
    if others:
        return f"has its weights in {others[0]}, which is not read here; take the model's safetensors"
    inner = [name for name in names if (place / name / "config.json").is_file()]
    if inner:
        return f"has its model in a folder of its own; write config.backbone={place / inner[0]}"
    if "config.json" in names:
        return "has a config.json, but no weights; add model.safetensors from the model's source"
    if {"tokenizer.json", "vocab.json", "spiece.model"} & set(names):
        return "holds a tokenizer alone; add the model's config.json and model.safetensors"
    if not names:
        return "is empty; give the folder of a foundation model"
    return f"holds {', '.join(names[:4])}{' and others' if len(names) > 4 else ''}, but no model; {_TAKE}"


def other_folder(place: Path) -> str | None:
    """Returns the end of a sentence on what a folder is for, if not for a model; None if it has no such purpose."""
    names = _children(place)
    if "adapter_config.json" in names:
        return f"holds an adapter of peft without the model that it changes{_base(place)}; {_PARTS[0][2]}"
    if "run.json" in names or "checkpoints" in names:
        return (
            "is the folder of a run; give the backbone that its config.json names, or what `python -m lift_jax.export "
            f"--workdir {place} --format merged` writes"
        )
    if "model_index.json" in names:
        return f"holds a diffusion pipeline; {_TAKE}"
    if "snapshots" in names:
        found = sorted(str(child) for child in (place / "snapshots").iterdir())
        return f"is a repository in the hub's cache; give {' or '.join(found[:3]) or 'the folder of a snapshot'}"
    return None


def _children(place: Path) -> list[str]:
    return sorted(printable(child.name) for child in place.iterdir())


def _base(place: Path) -> str:
    """Returns the base model that an adapter's configuration names, in brackets."""
    try:
        content = parse_json((place / "adapter_config.json").read_bytes())
        return f" ({content['base_model_name_or_path']})"
    except (OSError, ValueError, LookupError, TypeError):
        return ""
