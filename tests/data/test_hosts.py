"""Simulated hosts and killed runs, as real processes."""

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import host
import numpy as np
import pytest
from pictures import write_images

STEPS = 12  # ceil(29 / 8) batches an epoch, three epochs


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """29 training images of three classes and a test image."""
    folder = tmp_path_factory.mktemp("images")
    write_images(folder, [f"train/{label}/{i}.jpg" for label, n in [("a", 16), ("b", 9), ("c", 4)] for i in range(n)])
    write_images(folder, ["test/a/0.jpg"])
    return folder


def start(folder: Path, root: Path, *numbers: int) -> subprocess.Popen:
    folder.mkdir(exist_ok=True)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, host.__file__, str(folder), str(root), *map(str, numbers)]
    return subprocess.Popen(command, env=environment)


def read(folder: Path, step: int) -> dict[str, np.ndarray]:
    with np.load(folder / f"{step}.npz") as saved:
        return dict(saved)


def running(process: int) -> bool:
    """Whether a process is there and has not ended, be it that nobody asked for its exit status yet."""
    try:
        os.kill(process, 0)
        stat = Path(f"/proc/{process}/stat")
        return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def kill_at(process: subprocess.Popen, folder: Path, stop: int) -> dict:
    """Kills the process at a step; leaves what it had written up to its last state, which is returned."""
    while process.poll() is None and not (folder / f"{stop}.npz").exists():
        time.sleep(0.001)
    process.kill()
    process.wait()
    state = json.loads((folder / "state.json").read_text())
    for file in folder.glob("*.npz"):  # What was written after the state may be cut off, and is made again.
        if int(file.stem) >= state["step"]:
            file.unlink()
    return state


@pytest.mark.parametrize("hosts", [2, 4, pytest.param(8, marks=pytest.mark.slow)])
def test_the_union_of_the_hosts_batches_is_the_single_hosts_though_one_is_killed(root, tmp_path, hosts):
    processes = [start(tmp_path / str(each), root, each, hosts) for each in range(hosts)]
    chance = random.Random(hosts)
    killed = chance.randrange(hosts)
    kill_at(processes[killed], tmp_path / str(killed), chance.randrange(1, STEPS - 1))
    processes[killed] = start(tmp_path / str(killed), root, killed, hosts)
    assert [process.wait(120) for process in processes] == [0] * hosts
    expected = list(host.loader(str(root)))
    assert len(expected) == STEPS
    for step, batch in enumerate(expected):
        parts = [read(tmp_path / str(each), step) for each in range(hosts)]
        for key, value in batch.items():
            np.testing.assert_array_equal(np.concatenate([part[key] for part in parts]), value)


@pytest.mark.parametrize("workers", [0, 1])
def test_after_a_kill_at_a_random_step_the_stream_goes_on_identically(root, tmp_path, workers):
    state = kill_at(start(tmp_path, root, 0, 1, workers), tmp_path, random.Random(workers).randrange(1, STEPS - 1))
    assert len(state["workers"]) == workers
    for _ in range(1000):  # The workers end with their parent.
        if not any(map(running, state["workers"])):
            break
        time.sleep(0.02)
    else:
        pytest.fail("a worker outlives its parent")
    assert start(tmp_path, root, 0, 1, workers).wait(120) == 0
    for step, batch in enumerate(host.loader(str(root))):
        continued = read(tmp_path, step)
        for key, value in batch.items():
            np.testing.assert_array_equal(continued[key], value)
