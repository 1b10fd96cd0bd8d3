"""A tracker on some server, whose failure ends no run."""

import logging
from collections.abc import Callable, Collection, Iterable, Mapping

import numpy as np
from jaxtyping import UInt8

from lift_jax.errors import first_line
from lift_jax.workdir.metrics_file import Line
from lift_jax.workdir.tracking import Tracker

_LOGGER = logging.getLogger(__name__)


class Guarded:
    """Passes everything on until something goes wrong; this is said once, and the run goes on without the tracker.

    Args:
        tracker: what may fail.
        name: what the sentence calls it.
    """

    def __init__(self, tracker: Tracker, name: str):
        self._tracker, self._name, self._failed = tracker, name, False

    def resume(self, step: int, lines: Iterable[Line], anew: Collection[str]) -> None:
        """See `Tracker`."""
        self._try(lambda: self._tracker.resume(step, lines, anew))

    def scalars(self, step: int, split: str, values: Mapping[str, float]) -> None:
        """See `Tracker`."""
        self._try(lambda: self._tracker.scalars(step, split, values))

    def images(self, step: int, images: Mapping[str, UInt8[np.ndarray, "..."]]) -> None:
        """See `Tracker`."""
        self._try(lambda: self._tracker.images(step, images))

    def flush(self) -> None:
        """See `Tracker`."""
        self._try(self._tracker.flush)

    def close(self, failed: bool) -> None:
        """See `Tracker`."""
        self._try(lambda: self._tracker.close(failed))

    def _try(self, action: Callable[[], None]) -> None:
        if self._failed:
            return
        try:
            action()
        except Exception as error:  # those of the trackers have no common base
            self._failed = True
            _LOGGER.warning(
                "The run goes on without %s (%s); metrics.jsonl has all numbers, and the run gives %s what is missing "
                "there when it is started again.",
                self._name,
                first_line(error).rstrip("."),
                self._name,
            )
