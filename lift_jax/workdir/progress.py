"""A progress bar on a terminal, a line now and then elsewhere."""

import logging
import math
import sys
import time
from collections import deque
from collections.abc import Callable

from tqdm import tqdm

from lift_jax.errors import quiet

_LOGGER = logging.getLogger(__name__)


class Progress:
    """Shows the step, the loss, the running accuracy, images a second, and the time left.

    On a terminal this is a bar, redrawn at most ten times a second; where standard error is no terminal, it is a line
    every `line_every` seconds. Either way one closing line stays, in console.log too. Use it as a context manager:

        with Progress(steps, "epoch 3/10") as bar:
            for step, batch in enumerate(batches):
                state, metrics = train_step(state, batch)
                if step % log_every == 0:
                    bar.update(1, images=len(batch), loss=float(metrics.loss), accuracy=float(metrics.accuracy))
                else:
                    bar.update(1, images=len(batch), running=True)

    Args:
        total: the number of steps.
        desc: what goes on, such as "epoch 3/10".
        initial: how many steps were done before.
        unit: what is counted, if not steps.
        line_every: seconds between lines.
        enabled: a disabled bar counts and shows nothing.
        terminal: whether to draw a bar; by default, whether standard error is a terminal and sentences are said.
        clock: seconds from any origin.
        name: what the bar says before `desc`, where there are bars of several runs.
    """

    def __init__(
        self,
        total: int,
        desc: str,
        *,
        initial: int = 0,
        unit: str = "steps",
        line_every: float = 30.0,
        enabled: bool = True,
        terminal: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
        name: str = "",
    ):
        self._total, self._desc, self._done, self._enabled = total, desc, initial, enabled
        self._initial, self._unit, self._line_every, self._clock = initial, unit, line_every, clock
        self._started = self._spoke = clock()
        self._loss: float | None = None
        self._accuracy: float | None = None
        self._images = 0
        self._marks: deque[tuple[float, int, int]] = deque()  # time, steps and images by then
        self._bar = None
        if enabled and (_shows_bars() if terminal is None else terminal):
            layout = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} " + unit + "{postfix}"
            self._bar = tqdm(
                total=total,
                desc=f"{name} {desc}".lstrip(),
                initial=initial,
                leave=False,
                dynamic_ncols=True,
                bar_format=layout,
            )

    def update(
        self,
        n: int = 1,
        *,
        images: int = 0,
        loss: float | None = None,
        accuracy: float | None = None,
        running: bool = False,
    ) -> None:
        """Counts `n` more steps.

        Args:
            n: steps done since the last call.
            images: how many images these steps took, without padding.
            loss: the mean loss, a Python number. None shows the last one again, so that it need not be fetched from
                the device at each step.
            accuracy: the running accuracy in percent, likewise.
            running: whether the devices may still be at work on these steps: then they count for the speed together
                with those after them, whose end is known.
        """
        now = self._clock()
        self._done += n
        self._images += images
        self._loss = self._loss if loss is None else float(loss)
        self._accuracy = self._accuracy if accuracy is None else float(accuracy)
        if not running:
            self._marks.append((now, self._done, self._images))
        # The speed is that of the last half minute. The first mark is the end of the first step, which compiles.
        while len(self._marks) > 2 and now - self._marks[1][0] >= 30.0:
            self._marks.popleft()
        if self._bar is not None:
            self._bar.set_postfix_str(self._numbers(), refresh=False)
            self._bar.update(n)
        elif self._enabled and now - self._spoke >= self._line_every and self._done < self._total:
            self._spoke = now
            self._say(f"{self._done}/{self._total} {self._unit}", self._numbers())

    @property
    def images_per_second(self) -> float | None:
        """The number of images a second over the last half minute; None before the end of the second step."""
        return self._rate(2)

    def close(self) -> None:
        """Removes the bar and prints the closing line."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        if self._enabled and self._done > self._initial:
            elapsed = duration(self._clock() - self._started)
            self._say(f"{self._done}/{self._total} {self._unit} in {elapsed}", self._numbers(closing=True))
        self._enabled = False

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def _rate(self, column: int) -> float | None:
        if len(self._marks) < 2:
            return None
        first, last = self._marks[0], self._marks[-1]
        seconds = last[0] - first[0]
        return (last[column] - first[column]) / seconds if seconds > 0 else None

    def _mean_rate(self) -> float | None:
        """Gives the images a second over the whole time that the closing line tells."""
        seconds = self._clock() - self._started
        return self._images / seconds if seconds > 0 else None

    def _say(self, steps: str, numbers: str) -> None:
        _LOGGER.info("%s: %s", self._desc, f"{steps}, {numbers}" if numbers else steps)

    def _numbers(self, closing: bool = False) -> str:
        parts = []
        if self._loss is not None:
            parts.append(f"loss {self._loss:.4f}")
        if self._accuracy is not None:
            parts.append(f"accuracy {self._accuracy:.1f}%")
        rate = self._mean_rate() if closing else self._rate(2)
        if self._images and rate is not None:
            parts.append(f"{rate:.0f} images/s" if rate >= 10 else f"{rate:.1f} images/s")
        if not closing and (rate := self._rate(1)):
            parts.append(f"{duration((self._total - self._done) / rate)} left")
        return ", ".join(parts)


def _shows_bars() -> bool:
    return sys.stderr.isatty() and quiet.says(quiet.What.SENTENCE)


def duration(seconds: float) -> str:
    """Writes seconds as minutes and seconds, such as 1:05, and if need be hours before them; rounded up."""
    minutes, seconds = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
