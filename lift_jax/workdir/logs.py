"""What a run tells: sentences on the console, a progress bar, metrics.jsonl, and TensorBoard events.

A workdir gets

    console.log      the sentences that were printed, with the time, and the warnings of other libraries
    metrics.jsonl    one JSON object a line: step, epoch, split ("train", "test", …), then the values
    tensorboard/     the same scalars, and images

On several processes only the first one speaks and writes: the others are made with `enabled=False`.

Nothing here waits for a device. The caller passes Python numbers, and fetches them from the device only every
`log_every` steps: turning a `jax.Array` into a float at each step would make the host wait for the step to end
before it can enqueue the next one.
"""

import contextlib
import json
import logging
import math
import os
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, SupportsFloat

import numpy as np
from absl import flags
from absl import logging as absl_logging
from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog  # pyright: ignore[reportAttributeAccessIssue]
from tqdm import tqdm

from lift_jax.errors import UserError, reason
from lift_jax.files import replacing
from lift_jax.workdir import metrics_file
from lift_jax.workdir.progress import Progress

_LOGGER = logging.getLogger("lift_jax")

_SPEAKERS: "list[Logs]" = []
"""The logs that are open, the newest last; a sentence goes to the last one alone (see `Logs.speaking`)."""


class Logs:
    """The console and the log files of one run. Use it as a context manager, or call `close`.

    While it is open, the logger "lift_jax" and its children print on standard output, and absl (through which orbax
    and grain speak) is silent below warnings unless `--verbosity` was given on the command line.

    Args:
        workdir: the run's folder, made if it is missing; None writes no files.
        enabled: whether this process speaks; pass `jax.process_index() == 0`. Errors are printed in any case, unless
            there is no workdir either: then it changes no logger and need not be closed.
        to_stderr: prints on standard error instead, where standard output belongs to a command's result.
        push: copies the workdir to where it belongs, if that is not on a disk (see `lift_jax.workdir.storage`).
        launched: when the program was (see `process_start`), for `started`; None counts from the present.
        name: what the console says before each sentence, where several runs speak in turns.

    Raises:
        UserError: if the workdir cannot be made or written.
    """

    def __init__(
        self,
        workdir: str | os.PathLike | None,
        *,
        enabled: bool = True,
        to_stderr: bool = False,
        push: Callable[[], None] = lambda: None,
        launched: float | None = None,
        name: str = "",
    ):
        self._enabled = enabled
        self._name = name
        self._push = push
        self._stages: dict[str, float] = {}
        self._since = "start of the run" if launched is None else "launch"
        self._stage_began = self._launched = time.monotonic() if launched is None else launched
        if launched is not None:
            self.stage("imports")
        self._folder = Path(workdir) if workdir is not None and enabled else None
        self._written: set[tuple[int, str]] = set()
        self._purge_step: int | None = None
        self._tensorboard: EventsWriter | None = None
        self._handlers: list[tuple[logging.Logger, logging.Handler]] = []
        if self._folder is not None:
            self._open_file()
        # Without a run there is nothing to speak of, and the program that asked may have its own ideas about loggers.
        if enabled or workdir is not None:
            self._open_console(to_stderr)

    def info(self, sentence: str) -> None:
        """Prints a sentence (or a table) and keeps it in console.log."""
        _LOGGER.info("%s", sentence)

    def warning(self, sentence: str) -> None:
        """Prints a sentence after "warning:" and keeps it in console.log."""
        _LOGGER.warning("%s", sentence)

    @contextlib.contextmanager
    def speaking(self) -> Iterator[None]:
        """Inside of the block, what the program says is about this run, also where the logs of others are open."""
        _SPEAKERS.append(self)
        try:
            yield
        finally:
            _SPEAKERS.pop()

    def stage(self, name: str) -> None:
        """Notes that what was done since the last stage was `name`."""
        now = time.monotonic()
        self._stages[name] = now - self._stage_began
        self._stage_began = now

    def started(self) -> None:
        """Tells where the time to the end of the first step went, stage by stage: from the launch, if it is known."""
        self.stage("compilation and first step")
        parts = ", ".join(f"{name} {seconds:.1f}" for name, seconds in self._stages.items())
        self.info(
            f"The first step was done {self._stage_began - self._launched:.1f} s after the {self._since}: {parts}."
        )

    def progress(
        self, total: int, desc: str, *, initial: int = 0, unit: str = "steps", line_every: float = 30.0
    ) -> Progress:
        """Makes a progress bar, on the first process alone; the arguments are those of `Progress`."""
        return Progress(
            total, desc, initial=initial, unit=unit, line_every=line_every, enabled=self._enabled, name=self._name
        )

    def scalars(self, step: int, values: Mapping[str, SupportsFloat], *, epoch: int | None = None) -> None:
        """Writes a few numbers to metrics.jsonl and to TensorBoard.

        One split is written once a step; a second time, as after resuming at that very step, is ignored.
        JSON has no infinity and no NaN, so these become null there.

        Args:
            step: optimizer steps done so far.
            values: Python or NumPy numbers by name. What stands before the last slash is the split: "train/loss",
                "test/accuracy". Names without a slash belong to the split "run".
            epoch: written beside the step if given.
        """
        if self._folder is None:
            return
        splits: dict[str, dict[str, float]] = {}
        for name, value in values.items():
            split, _, key = name.rpartition("/")
            splits.setdefault(split or "run", {})[key] = float(value)
        for split, numbers in splits.items():
            if (step, split) in self._written:
                continue
            self._written.add((step, split))
            line = {"step": step} | ({} if epoch is None else {"epoch": epoch}) | {"split": split}
            line |= {key: value if math.isfinite(value) else None for key, value in numbers.items()}
            with (self._folder / metrics_file.FILE).open("a", encoding="utf-8") as file:
                file.write(json.dumps(line, allow_nan=False) + "\n")
            for key, value in numbers.items():
                if math.isfinite(value):  # a group without classes has no accuracy, and no point in a chart
                    self._event(step=step, summary=summary.scalar(f"{split}/{key}", value))

    def images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        """Writes pictures to TensorBoard: uint8 arrays [height, width, 3], or [n, height, width, 3] for a grid."""
        if self._folder is None:
            return
        for name, array in images.items():
            layout = "HWC" if array.ndim == 3 else "NHWC"
            self._event(step=step, summary=summary.image(name, array, dataformats=layout))

    def resume(self, step: int, without: Collection[str] = ()) -> None:
        """Drops what an earlier run in this workdir logged after `step`, so that the files tell one story.

        Call it before the first `scalars`, with the step that was restored, or 0 for a new run. Lines of `step` itself
        are kept, and writing them again is ignored: whether a run was interrupted before or after it logged the step
        of its checkpoint does not show. A line that was torn by the interruption is dropped.

        Args:
            step: the step up to which lines are kept.
            without: splits of which no line is kept, because they are about to be written anew.
        """
        if self._folder is None:
            return
        path = self._folder / metrics_file.FILE
        if self._tensorboard is not None:
            raise RuntimeError("Logs.resume must come before the first Logs.scalars.")
        self._purge_step = step + 1
        if not path.exists():
            return
        lines, left_out = metrics_file.parse(path.read_bytes())
        if left_out:
            self.warning(f"{path}: {left_out} of its lines could not be read and went out of it.")
        kept = []
        for text, entry in lines:
            key = (entry["step"], entry["split"])
            if key[0] <= step and key[1] not in without and key not in self._written:
                self._written.add(key)
                kept.append(text + "\n")
        with replacing(path) as part:
            part.write_text("".join(kept), encoding="utf-8")

    def flush(self) -> None:
        """Hands TensorBoard's events to the disk (metrics.jsonl is written line by line), and all to the bucket."""
        if self._tensorboard is not None:
            self._tensorboard.flush()
        self._push()

    def close(self) -> None:
        """Closes the files and gives the loggers back as they were."""
        if self._tensorboard is not None:
            self._tensorboard.close()
            self._tensorboard = None
        for logger, handler in self._handlers:
            logger.removeHandler(handler)
            handler.close()
        if self in _SPEAKERS:
            _SPEAKERS.remove(self)
        if self._handlers:
            _LOGGER.setLevel(self._levels_before[0])
            absl_logging.set_verbosity(self._levels_before[1])
            _LOGGER.propagate = True
        self._handlers = []
        self._push()

    def __enter__(self) -> "Logs":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def _event(self, **content: Any) -> None:
        """Tells TensorBoard, in this thread: on a full disk one in the background would die, and this one wait for it.

        Opened at the first use: the step to resume from must be known by then.
        """
        if self._tensorboard is None:
            assert self._folder is not None
            folder = self._folder / "tensorboard"
            folder.mkdir(exist_ok=True)
            self._tensorboard = EventsWriter(str(folder / "events"))
            if self._purge_step is not None:
                self._event(step=self._purge_step, session_log=SessionLog(status=SessionLog.START))
        self._tensorboard.write_event(Event(wall_time=time.time(), **content))

    def _open_console(self, to_stderr: bool) -> None:
        self._levels_before = _LOGGER.level, absl_logging.get_verbosity()
        if not (flags.FLAGS.is_parsed() and flags.FLAGS["verbosity"].present):
            absl_logging.set_verbosity(absl_logging.WARNING if self._enabled else absl_logging.ERROR)
        _LOGGER.setLevel(logging.INFO if self._enabled else logging.ERROR)
        _LOGGER.propagate = False  # absl's handler on the root logger would print every sentence again
        self._add(_LOGGER, _Console(to_stderr, self._name))
        _SPEAKERS.append(self)

    def _open_file(self) -> None:
        assert self._folder is not None
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            file = _File(self._folder / "console.log", encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            raise UserError(
                f"The workdir {self._folder} cannot be written ({reason(error)}); give another one with --workdir."
            ) from error
        file.setFormatter(logging.Formatter("%(asctime)s %(levelname).1s %(message)s", "%Y-%m-%d %H:%M:%S"))
        self._add(_LOGGER, file)
        self._add(logging.getLogger(), file)  # the warnings of other libraries

    def _add(self, logger: logging.Logger, handler: logging.Handler) -> None:
        handler.addFilter(lambda _: _SPEAKERS[-1:] == [self])
        logger.addHandler(handler)
        self._handlers.append((logger, handler))


def process_start() -> float:
    """Tells when this process was launched, by the clock of `time.monotonic`; where Linux does not tell, now."""
    now = time.monotonic()
    try:
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        uptime = float(Path("/proc/uptime").read_text().split()[0])
    except OSError:
        return now
    return now - (uptime - ticks / os.sysconf("SC_CLK_TCK"))


class _File(logging.FileHandler):
    """Leaves out a line for which there is no room: the console has it, and the metrics say what is wrong."""

    def handleError(self, record: logging.LogRecord) -> None:
        pass


class _Console(logging.Handler):
    """A handler that prints on standard output, or standard error, without tearing a progress bar."""

    def __init__(self, to_stderr: bool, name: str = ""):
        super().__init__()
        self._to_stderr = to_stderr
        self._name = f"{name}: " if name else ""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            prefix = "" if record.levelno < logging.WARNING else record.levelname.lower() + ": "
            stream = sys.stderr if self._to_stderr else sys.stdout  # looked up each time: programs exchange them
            tqdm.write(_encodable(prefix + self._name + record.getMessage(), stream), file=stream)
            stream.flush()
        except OSError:  # nobody listens any more; the file has it
            pass
        except Exception:
            self.handleError(record)


def _encodable(text: str, stream: Any) -> str:
    """Escapes what a stream cannot show: most characters where a terminal is in ASCII, and names that are no UTF-8."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)
