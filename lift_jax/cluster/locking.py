"""A folder for one program at a time."""

import contextlib
import fcntl
import os
from collections.abc import Iterator

from lift_jax.errors import UserError


class TakenError(UserError):
    """Raised if another program has the folder."""


@contextlib.contextmanager
def alone(folder: str | os.PathLike[str], taken: str) -> Iterator[None]:
    """Keeps others that ask for it out of a folder; the system lets them in when this process ends, however it does.

    Args:
        folder: on a disk, and there. On a network file system that locks no folders nobody is kept out.
        taken: the sentence for whoever comes second.

    Raises:
        TakenError: if another process has it.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TakenError(taken) from None
        except OSError:
            pass
        yield
    finally:
        os.close(handle)
