"""Where a backbone's files are: a folder, one shipped with the package, or the Hugging Face hub's cache."""

import re
from pathlib import Path

import huggingface_hub
import huggingface_hub.errors

from lift_jax.errors import UserError

QUICKSTART = "quickstart"
"""The name of the small CLIP that is part of the package."""

_FILES = ["*.json", "*.safetensors"]


def find(name: str) -> Path:
    """The local folder of a backbone.

    Args:
        name: a folder; `quickstart`; or a hub id `OWNER/NAME`, with `@REVISION` to pin one, which is fetched into the
            hub's cache (progress is shown; with HF_HUB_OFFLINE=1 only the cache is looked at).

    Raises:
        UserError: if there is no such folder and the hub does not give it.
    """
    if name == QUICKSTART:
        return Path(__file__).parent.parent / "quickstart" / "glyph_clip"
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if not re.fullmatch(r"[\w.-]+/[\w.-]+(@[\w./-]+)?", name):
        raise UserError(f"The backbone folder {name} does not exist; config.backbone names a folder or a hub id.")
    repo, _, revision = name.partition("@")
    try:
        return Path(huggingface_hub.snapshot_download(repo, revision=revision or None, allow_patterns=_FILES))
    except Exception as error:  # offline, unknown, gated, refused: the hub's client has no common base for these
        reason = str(error).splitlines()[0]
        raise UserError(
            f"The backbone {name} is neither a folder here nor to be had from the Hugging Face hub ({reason}); "
            "give the folder of a downloaded model."
        ) from error
