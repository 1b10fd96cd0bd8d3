"""The checkpoint that a person names, instead of the newest of a run."""

import os

from etils import epath

from lift_jax.errors import UserError, reason
from lift_jax.files import place
from lift_jax.workdir import checkpoints

_PARTS = ("run", "state")
"""The folders that every checkpoint of a run has."""

_TORCH = (b"PK\x03\x04", b"\x80")
"""How the files begin that torch.save writes: as a zip archive, or in old versions as a pickle."""


def find(given: str | os.PathLike[str]) -> epath.Path:
    """Finds the checkpoint that --checkpoint names.

    Args:
        given: a checkpoint's folder, or a file of the reference implementation.

    Raises:
        UserError: if it is not there, or something else; the sentence says what to write.
    """
    found = place(given, "--checkpoint")
    if not found.exists():
        raise UserError(
            f"The checkpoint {found} does not exist; --checkpoint names a folder such as RUN/checkpoints/150."
        )
    if found.is_dir():
        _check_folder(found)
    else:
        _check_file(found)
    return found


def _check_folder(folder: epath.Path) -> None:
    if all((folder / part).is_dir() for part in _PARTS):
        return
    run = folder.parent if folder.name == "checkpoints" else folder
    newest = checkpoints.newest(run)
    what = f"the newest one in it is {newest}" if newest is not None else "name a folder such as RUN/checkpoints/150"
    raise UserError(f"--checkpoint is {folder}, which is no checkpoint; {what}.")


def _check_file(file: epath.Path) -> None:
    try:
        with file.open("rb") as opened:
            start = opened.read(4)
    except OSError as error:
        raise UserError(f"--checkpoint is {file}, which cannot be read ({reason(error)}); get permission.") from error
    if not start.startswith(_TORCH):
        raise UserError(
            f"--checkpoint is {file}, which is no checkpoint; name a folder such as RUN/checkpoints/150, or a "
            "checkpoint.pth.tar of the reference implementation."
        )
