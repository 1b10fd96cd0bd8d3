"""Runs on the Hugging Face hub, each a repository with the file that `lift_jax.inference.compact` writes."""

import re
from pathlib import Path

import huggingface_hub
from huggingface_hub import errors

from lift_jax.errors import UserError, hub_reason
from lift_jax.inference import compact
from lift_jax.text import printable

PREFIX = "hf://"
"""What the name of a run on the hub begins with."""

_NAME = r"[\w-][\w.-]*/[\w.-]+"


def check_repository(name: str) -> str:
    """Gives the id of a repository, OWNER/NAME, that a person has named, also with hf:// before it.

    Raises:
        UserError: if it is no such id.
    """
    plain = name.removeprefix(PREFIX)
    if not re.fullmatch(_NAME, plain):
        raise UserError(
            f"The repository is {printable(name)!r}; write OWNER/NAME, where OWNER is your name on the hub."
        )
    return plain


def fetch(name: str) -> Path:
    """Gives the file of a run on the hub, from the hub's cache on this machine if it is there.

    Args:
        name: hf://OWNER/NAME, with @REVISION to pin one.

    Raises:
        UserError: if it is no such name, or the hub does not give the file.
    """
    found = re.fullmatch(rf"({_NAME})(?:@([\w./-]+))?", name.removeprefix(PREFIX))
    if found is None:
        raise UserError(f"The run is {printable(name)}; write {PREFIX}OWNER/NAME.")
    repository, revision = found.groups()
    try:
        return Path(huggingface_hub.hf_hub_download(repository, compact.FILE, revision=revision))
    except Exception as error:  # the hub's client, the network and the disk have no common base
        absent = isinstance(error, errors.EntryNotFoundError) and not isinstance(error, errors.LocalEntryNotFoundError)
        reason = f"it has no {compact.FILE}" if absent else hub_reason(error, repository, revision)
        raise UserError(
            f"The run {printable(name)} is not to be had from the Hugging Face hub ({reason}); name a repository that "
            "`lift_jax push` has made."
        ) from error
