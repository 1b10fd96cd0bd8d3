"""Where a backbone's files are: a folder, one shipped with the package, or the Hugging Face hub's cache."""

import hashlib
import logging
import re
from pathlib import Path

import huggingface_hub
from etils import epath
from huggingface_hub import errors as hub

from lift_jax.errors import UserError, first_line
from lift_jax.weights.siglip_tokenizer import SENTENCEPIECE

_log = logging.getLogger(__name__)

QUICKSTART = "quickstart"
"""The name of the small CLIP that is part of the package."""

_CONFIGS = ["config.json", "open_clip_config.json", "tokenizer.json", SENTENCEPIECE, "preprocessor_config.json"]
_CONFIGS += ["processor_config.json", "model.safetensors.index.json"]
_WEIGHTS = (["model*.safetensors"], ["open_clip_model.safetensors"], ["*.npz"], ["*pytorch_model.bin"])
"""What is fetched of a hub repository, until there are weights: no weights twice, and pickles only if nothing else."""

_REASONS = (
    (hub.GatedRepoError, "its owners ask for consent: give it at https://huggingface.co/{repo}, then `hf auth login`"),
    (hub.RevisionNotFoundError, "the repository has no revision {revision}"),
    (hub.RepositoryNotFoundError, "there is no such repository, or it is private and asks for `hf auth login`"),
    (hub.LocalEntryNotFoundError, "the hub cannot be reached, and its cache on this machine lacks the model or a part"),
)


def find(name: str) -> Path | epath.Path:
    """The folder or file of a backbone.

    Args:
        name: a folder or bucket; a .pt or .npz file; `quickstart`; or a hub id `OWNER/NAME`, with `@REVISION` to pin
            one, which is fetched into the hub's cache, with progress. With HF_HUB_OFFLINE=1 only the cache is read.

    Raises:
        UserError: if there is no such folder and the hub does not give it.
    """
    if name == QUICKSTART:
        return Path(__file__).parent.parent / "quickstart" / "glyph_clip"
    if "://" in name:
        try:
            place = epath.Path(name)
            found = (place / "backbone.json").exists()
        except Exception as error:  # an unknown kind, a package that is absent, the network, rights
            raise UserError(f"The backbone {name} cannot be opened: {first_line(error)}.") from error
        if not found:
            raise UserError(
                f"There is no backbone in {name}; in a bucket it is an orbax checkpoint, as "
                f"`python -m lift_jax.weights.convert SOURCE {name}` writes it."
            )
        return place
    place = Path(name).expanduser()
    if place.exists():
        return place
    if not re.fullmatch(r"[\w-][\w.-]*/[\w.-]+(@[\w./-]+)?", name) or place.suffix in (".pt", ".npz", ".bin", ".pth"):
        raise UserError(
            f"The backbone {name} does not exist; config.backbone names a folder, a .pt or .npz file, or a hub id."
        )
    repo, _, revision = name.partition("@")
    try:
        folder = _fetch(repo, revision or None)
    except Exception as error:  # the hub's client, the network and the disk have no common base
        known = (text.format(repo=repo, revision=revision) for kind, text in _REASONS if isinstance(error, kind))
        reason = next(known, first_line(error))
        raise UserError(
            f"The backbone {name} is neither a folder here nor to be had from the Hugging Face hub ({reason}); "
            "check the name, or give the folder of a downloaded model."
        ) from error
    _check_content(folder if folder.is_dir() else folder.parent)
    if not revision:
        _log.info("%s is revision %s of its repository; write %s@%s to pin it.", name, folder.name, name, folder.name)
    return folder


def _fetch(repo: str, revision: str | None) -> Path:
    folder = Path()
    for weights in _WEIGHTS:
        folder = Path(huggingface_hub.snapshot_download(repo, revision=revision, allow_patterns=[*_CONFIGS, *weights]))
        revision = revision or folder.name  # the later files from the same revision
        if any(any(folder.glob(pattern)) for pattern in weights):
            break
    files = [*folder.glob("*.npz")]
    return files[0] if len(files) == 1 else folder


def _check_content(folder: Path) -> None:
    """Whether the large files of a folder in the hub's cache still are what was fetched.

    Raises:
        UserError: if one is not.
    """
    for file in folder.iterdir():
        # The cache has a large file under its SHA-256, a small one under its SHA-1 as git computes it.
        stored = file.resolve()
        if re.fullmatch("[0-9a-f]{64}", stored.name):
            with stored.open("rb") as opened:
                digest = hashlib.file_digest(opened, "sha256").hexdigest()
            if digest != stored.name:
                raise UserError(
                    f"{file} in the hub's cache is not what was fetched (its SHA-256 begins with {digest[:12]} "
                    f"instead of {stored.name[:12]}); delete {stored} and start again."
                )
