"""Runs in a bucket, for which fsspec's file system in memory stands in; and folders that cannot be written."""

import multiprocessing
import resource
from pathlib import Path
from typing import ClassVar

import fsspec
import pytest
from etils import epath
from etils.epath import backend
from fsspec.implementations.memory import MemoryFileSystem

from lift_jax import storage
from lift_jax.errors import UserError
from lift_jax.logs import Logs


class Bucket(MemoryFileSystem):
    """What epath asks for where a path begins with gs://."""

    protocol = ("gcs", "gs")
    store: ClassVar[dict] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]

    def __init__(self, finalize_on_close: bool = False, **options):
        super().__init__(**options)


@pytest.fixture
def bucket(monkeypatch) -> epath.Path:
    fsspec.register_implementation("gcs", Bucket, clobber=True)
    backend.fsspec_backend._get_filesystem.cache_clear()
    Bucket.store.clear()
    Bucket.pseudo_dirs[:] = [""]
    return epath.Path("gs://bucket/run")


def test_the_files_of_a_run_in_a_bucket_are_continued_by_the_next(bucket):
    for steps in (1, 2), (3, 4):
        with storage.opened(bucket) as folder, Logs(folder.local, push=folder.push) as logs:
            assert folder.remote
            logs.resume(steps[0] - 1)
            for step in steps:
                logs.scalars(step, {"train/loss": 1 / step})
            logs.flush()
            assert (bucket / "metrics.jsonl").read_text() == (folder.local / "metrics.jsonl").read_text()
            (folder.local / "report").mkdir(exist_ok=True)
            (folder.local / "report" / "page.html").write_text(str(steps))
    assert (bucket / "metrics.jsonl").read_text().count("\n") == 4
    assert (bucket / "report" / "page.html").read_text() == "(3, 4)"
    assert "tensorboard" in {path.name for path in bucket.iterdir()}
    assert not folder.local.exists()


def test_a_new_folder_is_taken_away_from_the_bucket_by_a_mistake(bucket):
    with pytest.raises(UserError, match="mistake"), storage.opened(bucket) as folder:
        (folder.local / "config.json").write_text("{}")
        folder.push()
        assert (bucket / "config.json").exists()
        raise UserError("a mistake")
    assert not bucket.exists()


def test_checkpoints_are_not_copied(bucket):
    (bucket / "checkpoints" / "3").mkdir(parents=True)
    (bucket / "checkpoints" / "3" / "arrays").write_text("many")
    (bucket / "eval.json").write_text("{}")
    with storage.fetched(bucket) as folder:
        assert [path.name for path in folder.local.rglob("*")] == ["eval.json"]


def test_a_folder_on_a_disk_is_used_as_it_is(tmp_path):
    with storage.opened(tmp_path / "run") as folder:
        assert folder.local == tmp_path / "run" and not folder.remote


def _open_without_room(workdir: Path) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))  # the system refuses longer files, as a full disk does
    with pytest.raises(UserError, match=r"cannot be written to \(File too large\); make room"), storage.opened(workdir):
        pass


def test_a_disk_without_room_is_found_at_the_start(tmp_path):
    process = multiprocessing.get_context("forkserver").Process(target=_open_without_room, args=(tmp_path / "run",))
    process.start()
    process.join(60)
    assert process.exitcode == 0
