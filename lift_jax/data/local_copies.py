"""Where copies of data are kept on this machine, in a form in which any image can be read at once."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

VARIABLE = "LIFT_JAX_CACHE"
"""The variable of the environment that names the folder of what can be had again."""


def folder() -> Path:
    """Gives the folder of the copies: `data` in $LIFT_JAX_CACHE or, without that, in ~/.cache/lift_jax."""
    named = os.environ.get(VARIABLE) or os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "lift_jax")
    return Path(named).expanduser() / "data"


def place(file: str, ending: str, details: Sequence[str] = ()) -> Path:
    """Gives the path of the copy of a file as it is now: one that is changed has another.

    Args:
        file: on a disk.
        ending: of the copy's name.
        details: what else the copy depends on.

    Raises:
        OSError: if there is no such file.
    """
    status = os.stat(file)
    known = [os.path.abspath(file), str(status.st_size), str(status.st_mtime_ns), *details]
    digest = hashlib.sha256("\0".join(known).encode("utf-8", "surrogateescape")).hexdigest()
    return folder() / f"{digest[:24]}{ending}"
