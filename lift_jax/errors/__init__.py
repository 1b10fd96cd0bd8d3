"""The one exception that speaks to the user, and what others have to say in it."""

import errno
import io
import os
import re
import sys
from collections.abc import Callable
from logging import LogRecord

from lift_jax.errors import severity

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What the system answers where a disk, a quota or a file is full."""


class UserError(Exception):
    """A mistake in what the user gave: one sentence that names the thing, the place and the remedy.

    The command line prints the sentence alone, without a traceback, and exits with status 1.
    """


class DivergedError(UserError):
    """Raised by a training whose loss is no longer a number; other trainings may go on."""


def exit_status(command: Callable[[], int | None]) -> int:
    """Runs a command and gives its exit status; a `UserError` is printed on standard error and gives 1.

    A command whose reader has gone, as in `| head`, ends without a word and gives 0; one that Ctrl-C stops gives 130. A
    full disk under standard output is an error, too: what is written elsewhere names its own file.

    Args:
        command: the command, which gives its status, or None for success.
    """
    show_everything()
    try:
        status = command() or 0
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        _forget_output()
        return 0
    except OSError as error:
        if error.errno not in NO_ROOM or error.filename is not None:
            raise
        _forget_output()
        print_error(UserError(f"Standard output cannot be written ({reason(error)}); make room, or name another file."))
        return 1
    except UserError as error:
        print_error(error)
        return 1
    except KeyboardInterrupt:
        return interrupted()


def _forget_output() -> None:
    """Lets what is still to be written on standard output go nowhere, so that the program's end does not try it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def interrupted() -> int:
    """Says on standard error that Ctrl-C has stopped the command, and gives the exit status for it."""
    print("Stopped by Ctrl-C.", file=sys.stderr, flush=True)
    return 130


def show_everything() -> None:
    """Lets the standard streams escape what they cannot show: names that are no UTF-8, or any on an ASCII terminal."""
    for stream in sys.stdout, sys.stderr:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def print_error(error: UserError) -> None:
    """Prints the sentence of an error on standard error."""
    print(f"{severity.prefix('error', sys.stderr)}{error}", file=sys.stderr, flush=True)


def reason(error: Exception) -> str:
    """Says why something could not be read or written, without the path: in the system's words if there are any."""
    if isinstance(error, FileNotFoundError):  # those of a bucket say the path alone
        return os.strerror(errno.ENOENT)
    if code := re.search(r"os_error_code='(\d+)'", str(error)):  # tensorstore's
        return os.strerror(int(code[1]))
    if isinstance(error, ImportError) and (package := re.search(r"[Ii]nstall (\w+)", str(error))):  # fsspec's
        return f"a package is missing: pip install {package[1]}"
    return getattr(error, "strerror", None) or first_line(error)


def hub_reason(error: Exception, repo: str, revision: str | None) -> str:
    """Says why the client of the Hugging Face hub has failed.

    Args:
        error: what it raised; the client, the network and the disk have no common base.
        repo: the repository, OWNER/NAME.
        revision: its revision, None for the newest.
    """
    from huggingface_hub import errors as hub  # Slow to import, and seldom needed.

    reasons = (
        (hub.GatedRepoError, "its owners ask for consent: give it at {page}, then `hf auth login`"),
        (hub.RevisionNotFoundError, "the repository has no revision {revision}"),
        (hub.RepositoryNotFoundError, "there is no such repository, or it is private and asks for `hf auth login`"),
        (hub.LocalEntryNotFoundError, "the hub cannot be reached, and its cache on this machine lacks it or a part"),
    )
    page = f"https://huggingface.co/{repo}"
    found = (text.format(page=page, revision=revision) for kind, text in reasons if isinstance(error, kind))
    return next(found, first_line(error))


def first_line(error: Exception) -> str:
    """Gives what a library's exception says, as far as it fits into a sentence; its type if it says nothing."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return line if len(line) <= 300 else f"{line[:300]}…"


def is_news(record: LogRecord) -> bool:
    """Leaves out of a log the exceptions of orbax's threads, which it logs at length and raises as well."""
    return not (record.exc_info and "orbax" in record.pathname)
