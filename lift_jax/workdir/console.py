"""Where the sentences of a run go: the console, and console.log."""

import logging
import sys
from typing import Any

from tqdm import tqdm

from lift_jax.errors import quiet, severity
from lift_jax.errors.quiet import What

RESULT = {"is_result": True}
"""The `extra` of a record that is said with --quiet, too."""


class LogFile(logging.FileHandler):
    """Leaves out a line for which there is no room: the console has it, and the metrics say what is wrong."""

    def __init__(self, file: Any):
        super().__init__(file, encoding="utf-8", errors="backslashreplace")
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname).1s %(message)s", "%Y-%m-%d %H:%M:%S"))

    def handleError(self, record: logging.LogRecord) -> None:
        """Does nothing."""


class Console(logging.Handler):
    """A handler that prints on standard output, or standard error, without tearing a progress bar.

    A warning is said once, however often it is given; what it warns of may be met on several ways.

    Args:
        to_stderr: prints on standard error.
        name: what stands before each sentence; "" for nothing.
    """

    def __init__(self, to_stderr: bool, name: str = ""):
        super().__init__()
        self._to_stderr = to_stderr
        self._name = f"{name}: " if name else ""
        self._warned: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Prints a record, if such a thing is said now (see `lift_jax.errors.quiet`)."""
        if not quiet.says(_what(record)):
            return
        try:
            message = record.getMessage()
            if record.levelno == logging.WARNING:
                if message in self._warned:
                    return
                self._warned.add(message)
            stream = sys.stderr if self._to_stderr else sys.stdout  # looked up each time: programs exchange them
            tqdm.write(_encodable(_prefix(record, stream) + self._name + message, stream), file=stream)
            stream.flush()
        except OSError:  # nobody listens any more; the file has it
            pass
        except Exception:
            self.handleError(record)


def _what(record: logging.LogRecord) -> What:
    if record.levelno >= logging.WARNING:
        return What.WARNING
    return What.RESULT if getattr(record, "is_result", False) else What.SENTENCE


def _prefix(record: logging.LogRecord, stream: Any) -> str:
    if record.levelno < logging.WARNING:
        return ""
    return severity.prefix("warning" if record.levelno == logging.WARNING else "error", stream)


def _encodable(text: str, stream: Any) -> str:
    """Escapes what a stream cannot show: most characters where a terminal is in ASCII, and names that are no UTF-8."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)
