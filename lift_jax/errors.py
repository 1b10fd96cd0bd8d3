"""The one exception that speaks to the user, and what others have to say in it."""


class UserError(Exception):
    """A mistake in what the user gave: one sentence that names the thing, the place and the remedy.

    The command line prints the sentence alone, without a traceback, and exits with status 1.
    """


def first_line(error: Exception) -> str:
    """What a library's exception says, as far as it fits into a sentence; its type if it says nothing."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return line if len(line) <= 300 else f"{line[:300]}…"
