"""The one exception that speaks to the user, and what others have to say in it."""

import errno
import os
import re

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What the system answers where a disk, a quota or a file is full."""


class UserError(Exception):
    """A mistake in what the user gave: one sentence that names the thing, the place and the remedy.

    The command line prints the sentence alone, without a traceback, and exits with status 1.
    """


def reason(error: Exception) -> str:
    """Why something could not be read or written, without the path: the system's words if the exception has them."""
    if isinstance(error, FileNotFoundError):  # those of a bucket say the path alone
        return os.strerror(errno.ENOENT)
    if code := re.search(r"os_error_code='(\d+)'", str(error)):  # tensorstore's
        return os.strerror(int(code[1]))
    return getattr(error, "strerror", None) or first_line(error)


def first_line(error: Exception) -> str:
    """What a library's exception says, as far as it fits into a sentence; its type if it says nothing."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return line if len(line) <= 300 else f"{line[:300]}…"
