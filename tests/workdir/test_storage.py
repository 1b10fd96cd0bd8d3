"""Runs in a bucket, for which fsspec's file system in memory stands in; and folders that cannot be written."""

import json
import multiprocessing
import resource
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import lift_jax
from lift_jax import analyze, predict, report
from lift_jax import config as lift_config
from lift_jax.errors import UserError
from lift_jax.export import __main__ as export_command
from lift_jax.run import run
from lift_jax.workdir import storage
from lift_jax.workdir.logs import Logs


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


def test_a_run_in_a_bucket_is_used_as_one_on_a_disk(bucket, tiny_folder, tmp_path, capsys):
    config = lift_config.default()
    config.update(backbone=tiny_folder, method="zero_shot", report=False)  # orbax's checkpoints need a real bucket
    config.data.imbalance, config.tte.enabled = 50, False
    run(config, bucket)
    run(config, tmp_path / "run")
    images = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    model = lift_jax.load(bucket)
    np.testing.assert_array_equal(model.predict(images), lift_jax.load(tmp_path / "run").predict(images))

    assert report.write(bucket).read_text().startswith("<!doctype html>")
    assert (bucket / "report" / "classes.png").read_bytes().startswith(b"\x89PNG")
    assert report.compare([bucket, tmp_path / "run"], tmp_path / "page.html").count("zero_shot") == 1
    assert analyze.main([f"--workdir={bucket}"]) == 0
    assert (bucket / "analysis.html").exists() and (bucket / "analysis" / "distances.png").exists()
    assert export_command.main([f"--workdir={bucket}", "--format=safetensors"]) == 1
    assert "name a folder for the export with --output" in capsys.readouterr().err
    assert export_command.main([f"--workdir={bucket}", "--format=safetensors", f"--output={tmp_path}"]) == 0
    np.testing.assert_array_equal(lift_jax.load(tmp_path / "run.safetensors").predict(images), model.predict(images))


def test_the_features_of_a_run_in_a_bucket_are_kept_with_it(bucket, tiny_folder, tmp_path, capsys, monkeypatch):
    config = lift_config.default()
    config.update(backbone=tiny_folder, method="zero_shot", report=False)
    config.data.imbalance, config.tte.enabled = 50, False
    run(config, bucket)
    monkeypatch.delenv("LIFT_JAX_CACHE")
    Image.fromarray(np.full((16, 16, 3), 90, np.uint8)).save(tmp_path / "grey.png")
    command = [f"--workdir={bucket}", "--nearest=2", "--format=jsonl", str(tmp_path / "grey.png")]
    capsys.readouterr()
    assert predict.main(command) == 0
    first = capsys.readouterr()
    kept = [file.name for store in (bucket / "features").iterdir() for file in store.iterdir()]
    assert len(json.loads(first.out)["nearest"]) == 2 and "features, training images" in first.err and kept
    assert predict.main(command) == 0
    second = capsys.readouterr()
    assert second.out == first.out and "features, training images" not in second.err
    assert [file.name for store in (bucket / "features").iterdir() for file in store.iterdir()] == kept


def test_a_folder_on_a_disk_is_used_as_it_is(tmp_path):
    with storage.opened(tmp_path / "run") as folder:
        assert folder.local == tmp_path / "run" and not folder.remote


def test_a_folder_in_which_a_run_is_is_kept_from_another(tmp_path):
    workdir = tmp_path / "run"
    with storage.opened(workdir):
        with pytest.raises(UserError, match=r"Another run .* workdir .*/run; .*--workdir"), storage.opened(workdir):
            pass
        assert workdir.exists()
    with storage.opened(workdir):
        pass


def _open_without_room(workdir: Path) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))  # the system refuses longer files, as a full disk does
    with pytest.raises(UserError, match=r"cannot be written to \(File too large\); make room"), storage.opened(workdir):
        pass


def test_a_disk_without_room_is_found_at_the_start(tmp_path):
    process = multiprocessing.get_context("forkserver").Process(target=_open_without_room, args=(tmp_path / "run",))
    process.start()
    process.join(60)
    assert process.exitcode == 0
