"""Runs attempts in forked children, under limits of time and of resident memory.

JAX must not have started its backend in the parent, whose threads a fork would lose.
"""

import contextlib
import dataclasses
import json
import logging
import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from absl import logging as absl_logging
from huggingface_hub import constants

from lift_jax.bench.abuse.cases import Case, Outcome
from lift_jax.errors import UserError

_POLL = 0.01
_PAGE = os.sysconf("SC_PAGE_SIZE")
_OUTCOME, _OUTPUT, _INPUT = "outcome.json", "output.txt", "input"

Label = TypeVar("Label")


@dataclasses.dataclass(frozen=True)
class Limits:
    """The limits of what a child may take.

    Attributes:
        seconds: of time.
        memory: bytes of resident memory, beyond those of the parent.
    """

    seconds: float = 60.0
    memory: int = 2 << 30


class Child:
    """A process that makes one attempt in a folder of its own, which is removed when its outcome is read."""

    def __init__(self, case: Case, folder: Path, limits: Limits):
        self._folder, self._limits = folder, limits
        (folder / _INPUT).mkdir(parents=True)
        self._own = _resident(os.getpid())
        self._started, self._broken = time.monotonic(), ""
        sys.stdout.flush()
        sys.stderr.flush()
        self._pid = os.fork()
        if self._pid == 0:
            _attempt(case, folder)

    def outcome(self) -> Outcome | None:
        """Gives the outcome once there is one; kills the child where it has gone over a limit."""
        pid, status, usage = os.wait4(self._pid, os.WNOHANG)
        if pid == 0:
            self._enforce()
            return None
        _kill_group(self._pid)  # programs that it has started
        if usage.ru_maxrss * 1024 - self._own > self._limits.memory:
            self._broken = self._broken or "memory"
        output = _text(self._folder / _OUTPUT)
        written = _text(self._folder / _OUTCOME)
        shutil.rmtree(self._folder, ignore_errors=True)
        if self._broken == "memory":
            return Outcome("memory", f"more than {self._limits.memory >> 20} MiB", output=output)
        if self._broken:
            return Outcome("time", f"more than {self._limits.seconds:.0f} s", output=output)
        if not written:
            last = (output.strip().splitlines() or [""])[-1]
            return Outcome("died", f"status {os.waitstatus_to_exitcode(status)} {last}", output=output)
        kind, text, right = json.loads(written)
        return Outcome(kind, text, right, output)

    def _enforce(self) -> None:
        if time.monotonic() - self._started > self._limits.seconds:
            self._broken = "time"
        elif _resident(self._pid) - self._own > self._limits.memory:
            self._broken = "memory"
        if self._broken:
            os.kill(self._pid, signal.SIGKILL)


def run(
    cases: Iterable[tuple[Label, Case]], folder: Path, limits: Limits, jobs: int = 1
) -> Iterator[tuple[Label, Case, Outcome]]:
    """Makes the attempts, `jobs` at a time, and yields them with their outcomes as these come.

    Args:
        cases: what to attempt, each with what the caller knows it by.
        folder: for the children's folders.
        limits: of each child.
        jobs: number of children at a time.
    """
    waiting, active, started = iter(cases), {}, 0
    while True:
        while len(active) < jobs and (following := next(waiting, None)) is not None:
            active[following[0]] = following[1], Child(following[1], folder / str(started), limits)
            started += 1
        if not active:
            return
        time.sleep(_POLL)
        for label, (case, child) in list(active.items()):
            if (outcome := child.outcome()) is not None:
                del active[label]
                yield label, case, outcome


def apart(action: Callable[[], Any], folder: Path, limits: Limits) -> None:
    """Runs an action in a child, so that the parent need not start JAX.

    Raises:
        RuntimeError: if it fails.
    """
    ((_, _, outcome),) = run([(0, Case("preparation", lambda _: action(), (None,)))], folder, limits)
    if not (outcome.kind == "answer" and outcome.right):
        raise RuntimeError(f"{outcome.kind}: {outcome.text}\n{outcome.output}")


def _attempt(case: Case, folder: Path) -> NoReturn:
    """Makes an attempt, writes down its outcome, and ends the child."""
    try:
        os.setsid()
        file = os.open(folder / _OUTPUT, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        empty = os.open(os.devnull, os.O_RDONLY)
        for target, source in enumerate((empty, file, file)):
            os.dup2(source, target)
        sys.stdout, sys.stderr = (open(each, "w", closefd=False, errors="backslashreplace") for each in (1, 2))  # noqa: SIM115
        constants.HF_HUB_OFFLINE = True  # names of models are looked for on this machine alone
        _show_messages()
        os.chdir(folder / _INPUT)
        written = json.dumps(_outcome(case, folder / _INPUT))
        sys.stdout.flush()
        sys.stderr.flush()
        (folder / _OUTCOME).write_text(written, encoding="utf-8")
    finally:
        os._exit(0)  # threads of JAX and of orbax are not waited for


def _outcome(case: Case, place: Path) -> tuple[str, str, bool]:
    try:
        answer = case.attempt(place)
    except UserError as error:
        return "sentence", _printable(str(error)), False
    except BaseException as error:
        traceback.print_exc()
        frames = [f for f in traceback.extract_tb(error.__traceback__) if "lift_jax" in f.filename]
        where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
        return "traceback", _printable(f"{type(error).__name__}: {error}{where}")[:600], False
    return "answer", _printable(repr(answer))[:400], any(answer == each for each in case.accepted)


def _show_messages() -> None:
    """Sends what the program logs to standard error, as in a run."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr, force=True)
    absl_logging.set_verbosity(absl_logging.INFO)


def _printable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def _resident(pid: int) -> int:
    """Gives the bytes of resident memory of a process; 0 if it has ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0


def _kill_group(pid: int) -> None:
    with contextlib.suppress(OSError):
        os.killpg(pid, signal.SIGKILL)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="backslashreplace")
    except OSError:
        return ""
