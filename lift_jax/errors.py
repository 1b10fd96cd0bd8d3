"""The one exception that speaks to the user, and what others have to say in it."""

import os
import re


class UserError(Exception):
    """A mistake in what the user gave: one sentence that names the thing, the place and the remedy.

    The command line prints the sentence alone, without a traceback, and exits with status 1.
    """


def reason(error: Exception) -> str:
    """Why something could not be read or written: the system's words for it if the exception has them."""
    code = getattr(error, "errno", None) or next(iter(re.findall(r"os_error_code='(\d+)'", str(error))), None)
    return first_line(error) if code is None else os.strerror(int(code))


def first_line(error: Exception) -> str:
    """What a library's exception says, as far as it fits into a sentence; its type if it says nothing."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return line if len(line) <= 300 else f"{line[:300]}…"
