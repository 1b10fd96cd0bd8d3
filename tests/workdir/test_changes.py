"""A refused command changes nothing in a run's folder, and what may change is written anew together."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from small_runs import small_config

import lift_jax
from lift_jax.errors import UserError
from lift_jax.run import run
from lift_jax.workdir import checkpoints, config_file


@pytest.fixture(scope="module")
def finished(tiny_folder, tmp_path_factory) -> Path:
    workdir = tmp_path_factory.mktemp("finished") / "run"
    run(small_config(tiny_folder), workdir)
    return workdir


@pytest.fixture
def workdir(finished, tmp_path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def _lines(workdir: Path) -> list[str]:
    return (workdir / "metrics.jsonl").read_text().splitlines() if (workdir / "metrics.jsonl").exists() else []


def content(folder: Path) -> dict[str, str]:
    """A digest of every file but the console's log, which tells of refused commands as well."""
    files = (file for file in folder.rglob("*") if file.is_file() and file.name != "console.log")
    return {str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


REFUSED = [
    ({"method": "lora"}, r'config\.method="lift" \(here "lora"\); leave that out, or name another folder'),
    ({"method": "zero_shot"}, r"config\.method"),
    ({"head": "linear"}, r"config\.head="),
    ({"tuner.dim": 5}, r"config\.tuner\.dim=0 \(here 5\)"),
    ({"batch_size": 64}, r"config\.batch_size=128 \(here 64\)"),
    ({"tau": 3.0}, r"config\.tau=1\.0 \(here 3\.0\)"),
    ({"lr": 0.01, "seed": 3, "loss": "CE", "tau": 2.0}, r"config\..*, config\..*, config\..* and 1 keys more"),
    ({"interpolation": "bicubic", "data.exif_rotate": True}, r"config\.(interpolation|data\.exif_rotate)="),
    ({"num_epochs": 1}, r"config\.num_epochs=2 \(here 1\)"),
]


@pytest.mark.parametrize("changes, words", REFUSED)
@pytest.mark.parametrize("mode", ["train", "eval"])
def test_what_would_be_another_run_is_refused_and_changes_nothing(tiny_folder, workdir, changes, words, mode):
    config = small_config(tiny_folder)
    config.update_from_flattened_dict(changes)
    before = content(workdir)
    with pytest.raises(UserError, match=words):
        run(config, workdir, mode)
    assert content(workdir) == before


def test_a_checkpoint_that_is_not_there_changes_nothing(tiny_folder, workdir):
    before = content(workdir)
    with pytest.raises(UserError, match=r"/nope does not exist"):
        run(small_config(tiny_folder), workdir, "eval", "/nope")
    with pytest.raises(UserError, match="only --mode eval reads one"):
        run(small_config(tiny_folder), workdir, "train", checkpoints.newest(workdir))
    assert content(workdir) == before


def test_data_with_other_classes_is_refused(tiny_folder, workdir):
    config = small_config(tiny_folder)
    text = (workdir / "run.json").read_text()
    (workdir / "run.json").write_text(text.replace('"zero"', '"nought"'))
    before = content(workdir)
    with pytest.raises(UserError, match="was made from other data: its 10 classes are others"):
        run(config, workdir, "eval")
    assert content(workdir) == before


def test_the_evaluation_may_change_with_mode_eval_alone(tiny_folder, workdir):
    config = small_config(tiny_folder)
    config.tte.mode = "tencrop"
    before = content(workdir)
    with pytest.raises(UserError, match=r'config\.tte\.mode="fivecrop" .*; add --mode eval'):
        run(config, workdir)
    assert content(workdir) == before
    run(config, workdir, "eval")
    assert config_file.read(workdir).tte.mode == "tencrop"
    after = content(workdir)
    changed = {name for name in before if before[name] != after[name] and not name.startswith("tensorboard")}
    assert changed <= {"config.json", "run.json", "eval.json", "predictions.npz", "metrics.jsonl"}
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    assert sum('"split": "tte"' in line for line in lines) == 1


def test_evaluating_twice_leaves_the_same_lines(tiny_folder, workdir):
    before = (workdir / "metrics.jsonl").read_bytes()
    for _ in range(2):
        run(small_config(tiny_folder), workdir, "eval")
        assert (workdir / "metrics.jsonl").read_bytes() == before


def test_more_epochs_go_on(tiny_folder, workdir):
    config = small_config(tiny_folder)
    config.num_epochs = 3
    run(config, workdir)
    assert checkpoints.steps(workdir)[-1] == 9


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), OSError(24, "Too many open files")])
def test_a_checkpoint_that_cannot_be_read_is_not_damaged(tiny_folder, workdir, monkeypatch, error):
    def refuse(*_, **__):
        raise error

    before = content(workdir)
    monkeypatch.setattr("orbax.checkpoint.Checkpointer.restore", refuse)
    with pytest.raises(UserError, match=f"cannot be read at the moment \\({error.strerror}\\); nothing was changed"):
        run(small_config(tiny_folder), workdir)
    monkeypatch.undo()
    assert content(workdir) == before
    images = np.zeros((1, 8, 8, 3), np.uint8)
    assert np.isfinite(lift_jax.load(workdir).predict(images)).all()


def test_a_training_that_diverges_stops_with_a_sentence(tiny_folder, tmp_path):
    config = small_config(tiny_folder)
    config.lr, config.weight_decay, config.head, config.head_init = 100.0, 100.0, "linear", "random"
    config.num_epochs = 30
    with pytest.raises(UserError, match=r"has diverged: the loss is (nan|inf) at step \d+"):
        run(config, tmp_path / "run")
    assert all(line["loss"] is not None for line in map(json.loads, _lines(tmp_path / "run")))
