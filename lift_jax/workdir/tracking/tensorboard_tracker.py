"""TensorBoard's events in the folder of a run."""

import time
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog  # pyright: ignore[reportAttributeAccessIssue]

from lift_jax.workdir.metrics_file import Line


class TensorBoard:
    """Writes events into the folder `tensorboard` of a run, which is made at the first of them.

    It writes in the thread that calls: on a full disk one in the background would die, and the caller wait for it.
    """

    def __init__(self, folder: Path):
        self._folder = folder / "tensorboard"
        self._purge_step: int | None = None
        self._events: EventsWriter | None = None

    def resume(self, step: int, lines: Iterable[Line], anew: Collection[str]) -> None:
        """Lets TensorBoard drop what comes after the step in the events that are there; the rest it has already."""
        self._purge_step = step + 1

    def scalars(self, step: int, split: str, values: Mapping[str, float]) -> None:
        """Writes an event for each number."""
        for key, value in values.items():
            self._write(step=step, summary=summary.scalar(f"{split}/{key}", value))

    def images(self, step: int, images: Mapping[str, UInt8[np.ndarray, "..."]]) -> None:
        """Writes an event for each picture, or grid of pictures."""
        for name, array in images.items():
            layout = "HWC" if array.ndim == 3 else "NHWC"
            self._write(step=step, summary=summary.image(name, array, dataformats=layout))

    def flush(self) -> None:
        """Hands the events to the disk."""
        if self._events is not None:
            self._events.flush()

    def close(self, failed: bool) -> None:
        """Closes the file."""
        if self._events is not None:
            self._events.close()
            self._events = None

    def _write(self, **content: Any) -> None:
        if self._events is None:
            self._folder.mkdir(exist_ok=True)
            self._events = EventsWriter(str(self._folder / "events"))
            if self._purge_step is not None:
                self._write(step=self._purge_step, session_log=SessionLog(status=SessionLog.START))
        self._events.write_event(Event(wall_time=time.time(), **content))
