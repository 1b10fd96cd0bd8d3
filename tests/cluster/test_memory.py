"""How much memory is left, and the sentence when it is full."""

from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from lift_jax.cluster import memory
from lift_jax.errors import UserError


def machine(folder: Path) -> tuple[Path, Path]:
    """The file in which a system with 8 GB left tells so, and the folder in which its container would."""
    (folder / "memory").mkdir(parents=True)
    (folder / "meminfo").write_text("MemTotal:       16000000 kB\nMemAvailable:    8000000 kB\n")
    return folder / "meminfo", folder


def test_what_is_available_is_what_the_system_or_the_container_has_left(tmp_path):
    assert memory.available(*machine(tmp_path / "a")) == 8_192_000_000
    folder = tmp_path / "b"
    meminfo, cgroup = machine(folder)
    (folder / "memory.max").write_text("5000\n")
    (folder / "memory.current").write_text("3000\n")
    assert memory.available(meminfo, cgroup) == 2000
    (folder / "memory.stat").write_text("anon 900\ninactive_file 500\nactive_file 7\n")
    assert memory.available(meminfo, cgroup) == 2500
    (folder / "memory.max").write_text("max\n")
    assert memory.available(meminfo, cgroup) == 8_192_000_000


def test_an_older_container_tells_by_other_files(tmp_path):
    meminfo, cgroup = machine(tmp_path / "a")
    for name, text in ("limit_in_bytes", "5000"), ("usage_in_bytes", "6000"):
        (cgroup / "memory" / f"memory.{name}").write_text(text)
    (cgroup / "memory" / "memory.stat").write_text("inactive_file 100\ntotal_inactive_file 1500\n")
    assert memory.available(meminfo, cgroup) == 500


def test_nobody_tells(tmp_path):
    assert memory.available(tmp_path / "none", tmp_path) is None


def test_a_cpu_has_left_what_the_machine_has():
    free = memory.free(jax.local_devices()[0])
    assert free is None or 0 < free < 1e15


def test_a_device_whose_memory_is_full_is_a_sentence():
    fill = jax.jit(lambda: jnp.zeros((10**14,)))
    with (
        pytest.raises(UserError, match=r"^A step needs more memory than \S+ has; write --members 4\.$"),
        memory.sufficing("A step", "write --members 4"),
    ):
        jax.block_until_ready(fill())


def test_other_exceptions_pass_through():
    with pytest.raises(ZeroDivisionError), memory.sufficing("A step", "write --members 4"):
        _ = 1 / 0
