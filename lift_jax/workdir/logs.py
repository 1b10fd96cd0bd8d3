"""What a run tells: sentences on the console, a progress bar, metrics.jsonl, and its trackers, such as TensorBoard.

A workdir gets

    console.log      the sentences that were printed, with the time, and the warnings of other libraries
    metrics.jsonl    one JSON object a line: step, epoch, split ("train", "test", …), then the values
    tensorboard/     the same scalars, and images, unless config.tracker names others (see `lift_jax.workdir.tracking`)

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
import time
import types
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, SupportsFloat

import numpy as np
from absl import flags
from absl import logging as absl_logging

from lift_jax.errors import UserError, reason
from lift_jax.files import replacing
from lift_jax.workdir import metrics_file, tracking
from lift_jax.workdir.console import RESULT, Console, LogFile
from lift_jax.workdir.progress import Progress
from lift_jax.workdir.tracking import TrackedRun, Tracker

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
        self._has_logged = False
        self._trackers: list[Tracker] = []
        self._handlers: list[tuple[logging.Logger, logging.Handler]] = []
        if self._folder is not None:
            self._open_file()
            self.track("tensorboard")
        # Without a run there is nothing to speak of, and the program that asked may have its own ideas about loggers.
        if enabled or workdir is not None:
            self._open_console(to_stderr)

    def info(self, sentence: str) -> None:
        """Prints a sentence (or a table) and keeps it in console.log."""
        _LOGGER.info("%s", sentence)

    def result(self, table: str) -> None:
        """Prints what the run was for, which is said with --quiet, too."""
        _LOGGER.info("%s", table, extra=RESULT)

    def warning(self, sentence: str) -> None:
        """Prints a sentence after "warning:" and keeps it in console.log."""
        _LOGGER.warning("%s", sentence)

    @contextlib.contextmanager
    def speaking(self) -> Iterator[None]:
        """Lets what the program says inside the block be about this run, also where the logs of others are open."""
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

    def track(self, trackers: str, config: Mapping[str, Any] = types.MappingProxyType({}), name: str = "") -> None:
        """Opens the trackers that `scalars` and `images` go to, in the place of TensorBoard alone.

        Args:
            trackers: as in `config.tracker`.
            config: what they show as the config of the run.
            name: what they call it.

        Raises:
            UserError: if one of them cannot be reached, or does not know the run that it was to go on with.
        """
        if self._folder is not None:
            self._trackers = tracking.opened(trackers, TrackedRun(self._folder, name, config))

    def scalars(self, step: int, values: Mapping[str, SupportsFloat], *, epoch: int | None = None) -> None:
        """Writes a few numbers to metrics.jsonl and to the trackers.

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
            self._has_logged = True
            # A group without classes has no accuracy, and no point in a chart.
            finite = {key: value for key, value in numbers.items() if math.isfinite(value)}
            for tracker in self._trackers:
                tracker.scalars(step, split, finite)

    def images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        """Shows pictures in the trackers: uint8 arrays [height, width, 3], or [n, height, width, 3] for a grid."""
        for tracker in self._trackers:
            tracker.images(step, images)

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
        if self._has_logged:
            raise RuntimeError("Logs.resume must come before the first Logs.scalars.")
        path = self._folder / metrics_file.FILE
        kept = self._keep(path, step, without) if path.exists() else []
        for tracker in self._trackers:
            tracker.resume(step, kept, without)

    def flush(self) -> None:
        """Sees to it that the trackers keep what they have (metrics.jsonl is written line by line), and the bucket."""
        for tracker in self._trackers:
            tracker.flush()
        self._push()

    def close(self, failed: bool = False) -> None:
        """Closes the files and the trackers, which are told whether the run failed; gives the loggers back."""
        trackers, self._trackers = self._trackers, []
        for tracker in trackers:
            tracker.close(failed)
        for logger, handler in self._handlers:
            logger.removeHandler(handler)
            handler.close()
        if self in _SPEAKERS:
            _SPEAKERS.remove(self)
        if self._handlers:
            level, verbosity, _LOGGER.propagate = self._before
            _LOGGER.setLevel(level)
            absl_logging.set_verbosity(verbosity)
        self._handlers = []
        self._push()

    def __enter__(self) -> "Logs":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_) -> None:
        self.close(failed=kind is not None)

    def _keep(self, path: Path, step: int, without: Collection[str]) -> list[metrics_file.Line]:
        """Leaves the lines up to a step in metrics.jsonl, and gives them."""
        lines, left_out = metrics_file.parse(path.read_bytes())
        if left_out:
            self.warning(f"{path}: {left_out} of its lines could not be read and went out of it.")
        kept: dict[str, metrics_file.Line] = {}
        for text, entry in lines:
            key = (entry["step"], entry["split"])
            if key[0] <= step and key[1] not in without and key not in self._written:
                self._written.add(key)
                kept[text] = entry
        with replacing(path) as part:
            part.write_text("".join(f"{text}\n" for text in kept), encoding="utf-8")
        return list(kept.values())

    def _open_console(self, to_stderr: bool) -> None:
        self._before = _LOGGER.level, absl_logging.get_verbosity(), _LOGGER.propagate
        if not (flags.FLAGS.is_parsed() and flags.FLAGS["verbosity"].present):
            absl_logging.set_verbosity(absl_logging.WARNING if self._enabled else absl_logging.ERROR)
        _LOGGER.setLevel(logging.INFO if self._enabled else logging.ERROR)
        _LOGGER.propagate = False  # absl's handler on the root logger would print every sentence again
        self._add(_LOGGER, Console(to_stderr, self._name))
        _SPEAKERS.append(self)

    def _open_file(self) -> None:
        assert self._folder is not None
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            file = LogFile(self._folder / "console.log")
        except OSError as error:
            raise UserError(
                f"The workdir {self._folder} cannot be written ({reason(error)}); give another one with --workdir."
            ) from error
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
