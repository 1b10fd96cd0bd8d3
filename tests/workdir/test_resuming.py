"""Runs that are killed and started again end as the one that was not."""

import multiprocessing
import os
import random
import resource
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_runs import small_config

from lift_jax.cluster import preemption
from lift_jax.errors import UserError
from lift_jax.workdir import checkpoints

# The server imports JAX once; every run is a fork of it with a life of its own.
_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["lift_jax.run", "lift_jax.cluster.processes"])

STEPS = 24


def _job(backbone: str, workdir: Path, cache: Path) -> None:
    os.environ |= {"JAX_PLATFORMS": "cpu", "JAX_COMPILATION_CACHE_DIR": str(cache)}
    from lift_jax.cluster import processes
    from lift_jax.run import run

    processes.start()
    # 314 images: 8 epochs of 3 steps; a line of metrics every second step, a checkpoint every third.
    config = small_config(backbone, checkpoint_every=3)
    config.update(num_epochs=8, log_every=2, eval_batch_size=16)
    run(config, workdir)


def _job_on_a_disk_that_fills(backbone: str, workdir: Path, cache: Path) -> None:
    def fill() -> None:
        while not checkpoints.steps(workdir):
            time.sleep(0.01)
        resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))  # the system refuses longer files, as a full disk does

    threading.Thread(target=fill, daemon=True).start()
    with pytest.raises(UserError, match=r"\(File too large\); make room .*goes on from the newest checkpoint"):
        _job(backbone, workdir, cache)


class Job:
    """Starts runs in a folder."""

    def __init__(self, backbone: str, cache: Path):
        self._arguments = backbone, cache

    def start(self, workdir: Path, target: Callable = _job) -> Any:
        backbone, cache = self._arguments
        process = _SERVER.Process(target=target, args=(backbone, workdir, cache))
        process.start()
        return process

    def finish(self, workdir: Path, target: Callable = _job) -> None:
        process = self.start(workdir, target)
        process.join(600)
        assert process.exitcode == 0

    def kill(self, workdir: Path, when: Callable[[Path], bool], delay: float, how: signal.Signals) -> int | None:
        """Kills a run `delay` seconds after `when` is true of its folder; its exit code."""
        process = self.start(workdir)
        while not when(workdir) and process.is_alive():
            time.sleep(0.002)
        time.sleep(delay)
        assert process.pid is not None
        os.kill(process.pid, how)
        process.join(600)
        return process.exitcode


@pytest.fixture(scope="module")
def job(tiny_folder, tmp_path_factory) -> Job:
    return Job(tiny_folder, tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def whole(job, tmp_path_factory) -> Path:
    """The run that nobody killed."""
    workdir = tmp_path_factory.mktemp("resuming") / "whole"
    job.finish(workdir)
    return workdir


def arrays_of(workdir: Path) -> dict[str, bytes]:
    """The bytes of the last checkpoint's arrays, as orbax restores them without being told what to expect."""
    import orbax.checkpoint as ocp

    assert checkpoints.steps(workdir)[-1] == STEPS
    with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as reader:
        last = reader.restore(checkpoints.newest(workdir), args=ocp.args.Composite(state=ocp.args.StandardRestore()))
    import jax

    return {jax.tree_util.keystr(path): np.asarray(x).tobytes() for path, x in jax.tree.leaves_with_path(last["state"])}


def assert_same(workdir: Path, other: Path) -> None:
    """To the last bit."""
    for name in "metrics.jsonl", "eval.json":
        assert (workdir / name).read_bytes() == (other / name).read_bytes(), name
    with np.load(workdir / "predictions.npz") as one, np.load(other / "predictions.npz") as two:
        assert one.files == two.files
        assert all(np.array_equal(one[name], two[name]) for name in one.files)
    assert arrays_of(workdir) == arrays_of(other)


def training(step: int) -> Callable[[Path], bool]:
    def reached(workdir: Path) -> bool:
        file = workdir / "metrics.jsonl"
        return file.exists() and file.read_bytes().count(b"\n") >= step // 2

    return reached


def saving(workdir: Path) -> bool:
    """A checkpoint is being written, and it is not the first."""
    folder = workdir / "checkpoints"
    names = [path.name for path in folder.iterdir()] if folder.exists() else []
    return any("tmp" in name for name in names) and any(name.isdigit() for name in names)


def evaluating(workdir: Path) -> bool:
    return (workdir / "checkpoints" / str(STEPS)).exists()


def kill_and_resume(job: Job, workdir: Path, when: Callable, delay: float, how: signal.Signals) -> None:
    expected = -signal.SIGKILL if how == signal.SIGKILL else preemption.EXIT_CODE
    assert job.kill(workdir, when, delay, how) == expected
    assert not (workdir / "eval.json").exists()  # killed before the end, that is
    job.finish(workdir)


@pytest.mark.parametrize("how", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_killed_in_training_at_a_random_step(job, whole, tmp_path, how):
    chance = random.Random(int(how))
    kill_and_resume(job, tmp_path / "run", training(chance.randrange(2, STEPS - 4)), chance.uniform(0, 0.05), how)
    assert_same(tmp_path / "run", whole)


@pytest.mark.parametrize("how", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_killed_while_it_saves(job, whole, tmp_path, how):
    kill_and_resume(job, tmp_path / "run", saving, random.Random(int(how)).uniform(0, 0.02), how)
    assert_same(tmp_path / "run", whole)


@pytest.mark.parametrize("how", [pytest.param(signal.SIGKILL, marks=pytest.mark.slow), signal.SIGTERM])
def test_killed_while_it_evaluates(job, whole, tmp_path, how):
    kill_and_resume(job, tmp_path / "run", evaluating, random.Random(int(how)).uniform(0, 0.2), how)
    assert_same(tmp_path / "run", whole)


def test_on_a_disk_that_fills(job, whole, tmp_path):
    job.finish(tmp_path / "run", _job_on_a_disk_that_fills)
    assert checkpoints.steps(tmp_path / "run") and not (tmp_path / "run" / "eval.json").exists()
    job.finish(tmp_path / "run")
    assert_same(tmp_path / "run", whole)


@pytest.mark.slow
def test_killed_again_and_again(job, whole, tmp_path):
    chance = random.Random(0)
    for step in sorted(chance.sample(range(2, STEPS), 6)):
        how = chance.choice([signal.SIGKILL, signal.SIGTERM])
        job.kill(tmp_path / "run", training(step), chance.uniform(0, 0.3), how)
    job.finish(tmp_path / "run")
    assert_same(tmp_path / "run", whole)


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flip_a_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def copy_until(whole: Path, workdir: Path, step: int) -> None:
    """The run as it was when it had saved that checkpoint."""
    shutil.copytree(whole, workdir)
    for name in "eval.json", "predictions.npz":
        (workdir / name).unlink()
    for later in [s for s in checkpoints.steps(workdir) if s > step]:
        shutil.rmtree(workdir / "checkpoints" / str(later))


@pytest.mark.parametrize("damage", [Path.unlink, truncate, flip_a_bit])
def test_a_damaged_checkpoint_is_passed_over_with_a_warning(job, whole, tmp_path, damage):
    workdir = tmp_path / "run"
    copy_until(whole, workdir, STEPS)
    files = [path for path in (workdir / "checkpoints" / str(STEPS)).rglob("*") if path.is_file()]
    damage(max(files, key=lambda path: path.stat().st_size))
    job.finish(workdir)
    log = (workdir / "console.log").read_text()
    assert f"checkpoints/{STEPS} is damaged or incomplete" in log and "passed over" in log
    assert f"Going on from the checkpoint of step {STEPS - 3}" in log
    assert (workdir / "checkpoints" / f"{STEPS}.damaged").is_dir()
    assert_same(workdir, whole)
