"""Where a backbone's files are: a folder, one shipped with the package, or the Hugging Face hub's cache."""

import hashlib
import logging
import re
from pathlib import Path
from urllib.parse import urlsplit

import huggingface_hub
from etils import epath

from lift_jax.errors import UserError, first_line, hub_reason, reason
from lift_jax.files import expand, parse_json
from lift_jax.text import printable
from lift_jax.weights import known
from lift_jax.weights.clip_tokenizer import VOCABULARY
from lift_jax.weights.siglip_tokenizer import SENTENCEPIECE

_log = logging.getLogger(__name__)

QUICKSTART = "quickstart"
"""The name of the small CLIP that is part of the package."""

_CONFIGS = ["config.json", "open_clip_config.json", "tokenizer.json", SENTENCEPIECE, *VOCABULARY]
_CONFIGS += ["preprocessor_config.json", "processor_config.json", "*.index.json"]
_TRANSFORMERS, _OPEN_CLIP = ["model*.safetensors"], ["open_clip_model.safetensors"]
_OTHERS = (["*.npz"], ["*pytorch_model*.bin"])
"""What is fetched of a hub repository, until there are weights: no weights twice, and pickles only if nothing else."""

_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+(@[\w./-]+)?")
_NOT_ON_THE_HUB = re.compile(r".*\.(pt|pth|npz|bin|safetensors)|[^/]*/\d+(@\d+(px)?)?")
"""What looks like a hub id and is none: files, and names such as `ViT-B/16`."""


def plain_name(name: str) -> str:
    """Returns a backbone's name without what other programs put around a hub id.

    `hf-hub:OWNER/NAME` (open_clip, timm), `hf://OWNER/NAME` and the address of a model's page become `OWNER/NAME`, with
    `@REVISION` where the address has one. A short name of a well-known model, such as `dinov2-b`, becomes its hub id,
    unless there is a file or folder of this name. Other names are as they were.

    Args:
        name: `config.backbone`.

    Raises:
        UserError: if it is empty, or an address that is no model's.
    """
    if not name.strip():
        raise UserError(
            "config.backbone is empty; name a folder, a .pt or .npz file, a hub id such as "
            f"openai/clip-vit-base-patch16, or {QUICKSTART}."
        )
    if prefix := re.match(r"(hf[-_]hub:(//)?|hf://)", name):
        name = name[prefix.end() :]
        if not _HUB_ID.fullmatch(name):
            raise UserError(
                f"config.backbone is {printable(prefix[0] + name)}; write a hub id, OWNER/NAME, after the colon."
            )
    elif re.match(r"https?://(www\.)?(huggingface\.co|hf\.co)(/|$)", name, re.IGNORECASE):
        page = re.fullmatch(r"/([\w.-]+/[\w.-]+)(?:/(?:tree|blob|resolve)/([\w.-]+).*)?/?", urlsplit(name).path)
        if page is None or page[1].startswith(("datasets/", "spaces/")):
            raise UserError(
                f"config.backbone is {printable(name)}, which is no model's page on the hub; write OWNER/NAME."
            )
        name = page[1] if page[2] in (None, "main") else f"{page[1]}@{page[2]}"
    short, at, revision = name.partition("@")
    if short.lower() in known.SHORT and not Path(name).exists():
        return f"{known.SHORT[short.lower()]}{at}{revision}"
    return name


def find(name: str) -> Path | epath.Path:
    """Finds the folder or file of a backbone.

    Args:
        name: a folder or bucket; a .pt or .npz file; `quickstart`; or a hub id `OWNER/NAME`, with `@REVISION` to pin
            one, which is fetched into the hub's cache, with progress. With HF_HUB_OFFLINE=1 only the cache is read.

    Raises:
        UserError: if there is no such folder and the hub does not give it.
    """
    name = plain_name(name)
    if "://" in (path := expand(name, "config.backbone")):
        return _bucket(path)
    return _from_hub(name.rstrip("/")) if (place := local(name)) is None else place


def local(name: str) -> Path | None:
    """Finds a backbone on this machine, without a look into the network; None if it is elsewhere.

    Args:
        name: see `find`.

    Raises:
        UserError: if it is not there, and is no address of a bucket or the hub either.
    """
    name = plain_name(name)
    if name == QUICKSTART:
        return Path(__file__).parent.parent / "quickstart" / "glyph_clip"
    path = expand(name, "config.backbone")
    if "://" in path:
        return None
    place = Path(path)
    try:
        if place.exists():
            return place
    except OSError as error:
        raise UserError(
            f"The backbone {printable(name)} cannot be opened ({reason(error)}); check its path."
        ) from error
    name = name.rstrip("/")
    if not _looks_like_hub_id(name):
        raise UserError(
            f"The backbone {printable(name)} does not exist; config.backbone names a folder, a .pt or .npz file, or a "
            f"hub id{known.hint(name)}."
        )
    return None


def _looks_like_hub_id(name: str) -> bool:
    return bool(_HUB_ID.fullmatch(name)) and not _NOT_ON_THE_HUB.fullmatch(name)


def is_hub_id(name: str) -> bool:
    """Tells whether a backbone's plain name is its id on the hub, and not a file or folder here."""
    return _looks_like_hub_id(name) and not Path(expand(name, "config.backbone")).exists()


def _bucket(path: str) -> epath.Path:
    try:
        place = epath.Path(path)
        found = (place / "backbone.json").exists()
    except Exception as error:  # a package that is absent, the network, rights
        raise UserError(f"The backbone {path} cannot be opened: {first_line(error)}.") from error
    if not found:
        raise UserError(
            f"There is no backbone in {path}; in a bucket it is an orbax checkpoint, as "
            f"`python -m lift_jax.weights.convert SOURCE {path}` writes it."
        )
    return place


def _from_hub(name: str) -> Path:
    repo, _, revision = name.partition("@")
    try:
        folder = _fetch(repo, revision or None)
    except Exception as error:  # the hub's client, the network and the disk have no common base
        remedy = f"check the name, give the folder of a downloaded model, or another hub id{known.hint(name)}"
        if repo in known.MODELS:  # nothing is wrong with the name
            remedy = "try again, or give the folder of a downloaded model"
        raise UserError(
            f"The backbone {name} is neither a folder here nor to be had from the Hugging Face hub "
            f"({hub_reason(error, repo, revision)}); {remedy}."
        ) from error
    _check_content(folder if folder.is_dir() else folder.parent)
    if not revision:
        _log.info("%s is revision %s of its repository; write %s@%s to pin it.", name, folder.name, name, folder.name)
    return folder


def _fetch(repo: str, revision: str | None) -> Path:
    """Fetches a model's configuration, and its weights in the layout that the configuration is of."""
    folder = Path(huggingface_hub.snapshot_download(repo, revision=revision, allow_patterns=_CONFIGS))
    # timm's repositories of CLIPs have the image tower in timm's layout, and the whole model in open_clip's.
    first = [_OPEN_CLIP, _TRANSFORMERS] if _is_open_clip(folder) else [_TRANSFORMERS, _OPEN_CLIP]
    for weights in *first, *_OTHERS:
        # The files of one revision, that of the configuration.
        patterns = [*_CONFIGS, *weights]
        folder = Path(huggingface_hub.snapshot_download(repo, revision=folder.name, allow_patterns=patterns))
        if any(any(folder.glob(pattern)) for pattern in weights):
            break
    files = [*folder.glob("*.npz")]
    return files[0] if len(files) == 1 else folder


def _is_open_clip(folder: Path) -> bool:
    """Tells whether a repository has the whole model in open_clip's layout alone."""
    try:
        config = parse_json((folder / "config.json").read_bytes())
    except (OSError, ValueError):
        config = {}
    return (folder / "open_clip_config.json").is_file() and "model_type" not in config


def _check_content(folder: Path) -> None:
    """Checks that the large files of a folder in the hub's cache still are what was fetched.

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
