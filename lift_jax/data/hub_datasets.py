"""Data sets on the Hugging Face hub, by their address: hf://datasets/OWNER/NAME."""

import logging
import os
import re

from lift_jax.errors import UserError, hub_reason
from lift_jax.files import expand
from lift_jax.text import printable

_LOGGER = logging.getLogger(__name__)
_ADDRESS = re.compile(r"hf://datasets/([\w-][\w.-]*/[\w-][\w.-]*)(?:@([\w.-]+))?(?:/(.*))?", re.IGNORECASE)
_EXAMPLE = "hf://datasets/OWNER/NAME, with @REVISION to pin one, and /FOLDER for a part"
_UNREAD = ("*.bin", "*.gguf", "*.h5", "*.pt", "*.pth", "*.pkl", "*.safetensors", "*.onnx")
"""What a repository may have besides images, and is not fetched."""


def located(path: str, what: str) -> str:
    """Gives the path on the disk, or in a bucket, of data that a person names.

    Args:
        path: as it is written (see `files.expand`), or the address of a data set on the hub, whose files are then
            fetched into the hub's cache unless they are there. With HF_HUB_OFFLINE=1 only the cache is read.
        what: how the error message begins, such as "config.data.root".

    Raises:
        UserError: if it is no such path or address, or the hub does not give the data set.
    """
    return _fetch(path, what) if path.lower().startswith("hf://") else expand(path, what)


def _fetch(address: str, what: str) -> str:
    import huggingface_hub  # Slow to import, and seldom needed.

    parts = _ADDRESS.fullmatch(address)
    if parts is None or ".." in (parts[3] or "").split("/"):
        raise UserError(f"{what} is {printable(address)}, which is no data set on the hub; write {_EXAMPLE}.")
    repository, revision, inside = parts[1], parts[2], (parts[3] or "").strip("/")
    wanted = [inside, f"{inside}/**"] if inside else None
    try:
        folder = huggingface_hub.snapshot_download(
            repository, repo_type="dataset", revision=revision, allow_patterns=wanted, ignore_patterns=list(_UNREAD)
        )
    except Exception as error:  # the hub's client, the network and the disk have no common base
        why = hub_reason(error, f"datasets/{repository}", revision)
        raise UserError(
            f"{what} is {printable(address)}, which is not to be had from the Hugging Face hub ({why}); check the "
            "name, or name a folder that was downloaded."
        ) from error
    path = os.path.join(folder, inside) if inside else folder
    if not os.path.exists(path):
        raise UserError(
            f"{what} is {printable(address)}, but {repository} has no {printable(inside)}; write {_EXAMPLE}."
        )
    if not revision:
        pinned = os.path.basename(folder)
        _LOGGER.info("%s is revision %s of its repository; write %s@%s to pin it.", address, pinned, repository, pinned)
    return path
