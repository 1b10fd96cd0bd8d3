"""How long each kind of kernel ran, from JAX's profiler."""

import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
from jax.profiler import ProfileData

Spent = dict[str, tuple[float, int]]
"""Seconds and number of runs of the kernels of one kind."""


def spent(call: Callable[[], Any], times: int) -> Spent:
    """Measures the kernels of some calls, each of which waits for the device.

    Args:
        call: what is measured; what has to be compiled is compiled.
        times: how often it is called.
    """
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            for _ in range(times):
                call()
        return read(Path(folder))


def read(folder: Path) -> Spent:
    """Adds up the kernels in a folder that the profiler wrote.

    Kernels are of one kind if their names differ in a number at the end alone, such as `fusion.3` and `fusion.12`.
    """
    found: Spent = {}
    for file in folder.rglob("*.xplane.pb"):
        for event in _kernels(ProfileData.from_file(str(file))):
            kind = re.sub(r"([._]\d+)+$", "", event.name)
            seconds, count = found.get(kind, (0.0, 0))
            found[kind] = seconds + event.duration_ns / 1e9, count + 1
    return found


def _kernels(data: Any) -> Iterator[Any]:
    """Yields what ran on a GPU's streams, as operations of a TPU, or else on the threads of XLA for the CPU.

    The other lines of a device say what the kernels belong to, and would count them twice; so would what XLA for the
    CPU runs around its kernels, which is named as C++ is.
    """
    devices = [plane for plane in data.planes if re.match(r"/device:(GPU|TPU):\d+$", plane.name)]
    if devices:
        lines = (line for plane in devices for line in plane.lines if re.match(r"Stream|XLA Ops$", line.name))
        yield from (event for line in lines for event in line.events)
        return
    lines = (line for plane in data.planes for line in plane.lines if line.name.startswith("tf_XLA"))
    yield from (event for line in lines for event in line.events if "::" not in event.name)
