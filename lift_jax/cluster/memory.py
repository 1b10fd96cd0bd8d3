"""The memory of the devices: how much is left, and what is said when it is full."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

from lift_jax.errors import UserError

_FULL = "RESOURCE_EXHAUSTED"
_CGROUP = Path("/sys/fs/cgroup")
"""Where Linux tells a container what it may have."""


def free(device: Any) -> int | None:
    """Gives the bytes of memory that a device can still have.

    The CPUs that XLA shows as several devices share what the machine has left.

    Returns:
        None if neither the device nor the system tells.
    """
    stats = device.memory_stats() or {}
    if "bytes_limit" in stats:
        return stats["bytes_limit"] - stats["bytes_in_use"]
    left = available() if device.platform == "cpu" else None
    return left // jax.local_device_count() if left is not None else None


def available(meminfo: Path = Path("/proc/meminfo"), cgroup: Path = _CGROUP) -> int | None:
    """Gives the bytes that programs on this host can still have: what the system has left, or its container.

    Returns:
        None where the system does not tell.
    """
    lines = _lines(meminfo)
    of_system = [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    v2 = _left(cgroup / "memory.max", cgroup / "memory.current", cgroup / "memory.stat")
    older = cgroup / "memory"
    v1 = _left(older / "memory.limit_in_bytes", older / "memory.usage_in_bytes", older / "memory.stat")
    return min([*of_system, *v2, *v1], default=None)


def _left(limit: Path, usage: Path, stat: Path) -> list[int]:
    """Gives what a container has left, if it has a limit; files that are merely cached make room when asked."""
    sizes = [line for file in (limit, usage) for line in _lines(file)]
    if len(sizes) != 2 or not all(size.isdigit() for size in sizes):  # the limit may be "max"
        return []
    cached = [
        int(line.split()[1]) for line in _lines(stat) if line.startswith(("inactive_file ", "total_inactive_file "))
    ]
    return [max(0, int(sizes[0]) - int(sizes[1]) + max(cached, default=0))]


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="ascii").splitlines()
    except OSError:
        return []


def is_full(error: Exception) -> bool:
    """Tells whether an exception of JAX says that a device's memory does not suffice."""
    return isinstance(error, jax.errors.JaxRuntimeError) and _FULL in str(error)


@contextlib.contextmanager
def sufficing(what: str, remedy: str) -> Iterator[None]:
    """Lets a device whose memory is full in the block end it with a sentence.

    Args:
        what: what needs the memory, such as "A training step of 8 members".
        remedy: what to write instead.

    Raises:
        UserError: in the place of JAX's exception.
    """
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if not is_full(error):
            raise
        raise UserError(f"{what} needs more memory than {jax.local_devices()[0]} has; {remedy}.") from error
