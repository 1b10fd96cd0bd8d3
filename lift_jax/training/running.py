"""Loss and accuracy of the last steps, of one training or of several at once."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from lift_jax.training.step import StepMetrics

Row = tuple[Any, Any, Any]
"""Loss, right answers and examples of one step: numbers, or arrays with one entry for each training."""


class RunningMetrics:
    """Collects the metrics of steps; nothing is fetched from the devices before it is asked for.

    Args:
        unread: the rows of the steps since the last reading, of a run that goes on.
    """

    def __init__(self, unread: Sequence[Sequence[float]] = ()):
        self._on_devices: list[StepMetrics] = []
        self._unread: list[Any] = [tuple(np.asarray(value, np.float64) for value in row) for row in unread]
        self._unsaved: list[Row] = []

    def add(self, metrics: StepMetrics) -> None:
        """Adds the metrics of a step."""
        self._on_devices.append(metrics)

    def read(self) -> tuple[Any, Any]:
        """Gives the mean loss over the steps since the last reading, and the accuracy over examples in percent."""
        self._fetch()
        losses, correct, examples = zip(*self._unread, strict=True)
        self._unread = []
        return sum(losses) / len(losses), 100 * sum(correct) / np.maximum(1, sum(examples))

    def save(self) -> tuple[list[list[Any]], Any]:
        """Gives the unread rows, which a run that goes on needs, and the mean loss since the last call."""
        self._fetch()
        losses = [row[0] for row in self._unsaved]
        self._unsaved = []
        return [[value.tolist() for value in row] for row in self._unread], sum(losses) / len(losses)

    def _fetch(self) -> None:
        rows: list[Row] = [
            (np.asarray(m.loss, np.float64), np.asarray(m.correct, np.float64), np.asarray(m.examples, np.float64))
            for m in jax.device_get(self._on_devices)
        ]
        self._on_devices = []
        self._unread += rows
        self._unsaved += rows
