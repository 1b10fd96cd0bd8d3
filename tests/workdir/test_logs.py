"""A run's logs: what is on disk after a run, and after an interrupted one; what the console shows."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorboardX.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]

from lift_jax.errors import UserError
from lift_jax.workdir.logs import Logs


def read_metrics(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def read_events(folder):
    """TensorBoard's events: records of length (8 bytes), checksum (4), an Event, checksum (4)."""
    events = []
    for path in sorted((folder / "tensorboard").iterdir()):
        data = path.read_bytes()
        while data:
            length = int.from_bytes(data[:8], "little")
            events.append(Event.FromString(data[12 : 12 + length]))
            data = data[16 + length :]
    return events


def run(folder, steps, resume=0):
    """Logs a training line a step and a test line every other step, as a job would."""
    with Logs(folder) as logs:
        logs.resume(resume)
        for step in range(resume + 1, steps + 1):
            logs.scalars(step, {"train/loss": 1 / step, "train/lr": 0.1}, epoch=step // 4)
            if step % 2 == 0:
                logs.scalars(step, {"test/accuracy": 10.0 * step})


def test_scalars_are_lines_by_split(tmp_path):
    with Logs(tmp_path) as logs:
        logs.scalars(3, {"train/loss": np.float32(0.5), "test/accuracy": 75, "seconds": 2.0}, epoch=1)
    assert read_metrics(tmp_path) == [
        {"step": 3, "epoch": 1, "split": "train", "loss": 0.5},
        {"step": 3, "epoch": 1, "split": "test", "accuracy": 75.0},
        {"step": 3, "epoch": 1, "split": "run", "seconds": 2.0},
    ]


def test_a_loss_that_is_no_number_leaves_valid_json(tmp_path):
    with Logs(tmp_path) as logs:
        logs.scalars(1, {"train/loss": float("nan"), "train/lr": 0.1})
    text = (tmp_path / "metrics.jsonl").read_text()
    assert json.loads(text, parse_constant=pytest.fail) == {"step": 1, "split": "train", "loss": None, "lr": 0.1}


@settings(deadline=None)  # it writes files
@given(killed_at=st.integers(0, 9), restored=st.integers(0, 9), torn=st.booleans())
def test_a_resumed_run_leaves_the_file_of_an_uninterrupted_one(tmp_path_factory, killed_at, restored, torn):
    restored = min(restored, killed_at)  # the newest checkpoint is no newer than the last step
    whole, parted = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("parted")
    run(whole, 9)
    run(parted, killed_at)
    if torn:
        with (parted / "metrics.jsonl").open("a") as file:
            file.write('{"step": 1, "split": "tr')
    run(parted, 9, resume=restored)
    assert (parted / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()


def test_a_line_of_the_restored_step_is_not_doubled(tmp_path):
    run(tmp_path, 4)
    with Logs(tmp_path) as logs:
        logs.resume(4)
        logs.scalars(4, {"test/accuracy": 40.0})
    assert [line["step"] for line in read_metrics(tmp_path) if line["split"] == "test"] == [2, 4]


def test_tensorboard_has_scalars_images_and_the_step_to_purge_from(tmp_path):
    image = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    with Logs(tmp_path) as logs:
        logs.resume(7)
        logs.scalars(8, {"train/loss": 0.25})
        logs.images(8, {"tail": image, "grid": np.stack([image, image])})
    events = read_events(tmp_path)
    values = {value.tag: (event.step, value) for event in events for value in event.summary.value}
    assert values["train/loss"][0] == 8 and values["train/loss"][1].simple_value == 0.25
    assert (values["tail"][1].image.height, values["tail"][1].image.width) == (4, 6)
    assert values["grid"][1].image.width * values["grid"][1].image.height >= 2 * 4 * 6
    assert [event.step for event in events if event.HasField("session_log")] == [8]


def test_sentences_go_to_the_console_and_its_file(tmp_path, capsys):
    with Logs(tmp_path) as logs:
        logs.info("The backbone has 12 blocks.")
        logs.warning("One image was skipped.")
        logging.getLogger("lift_jax.data").info("100% of the images are there.")
        logging.getLogger("another.library").warning("something is deprecated")
    assert capsys.readouterr().out.splitlines() == [
        "The backbone has 12 blocks.",
        "warning: One image was skipped.",
        "100% of the images are there.",
    ]
    kept = (tmp_path / "console.log").read_text()
    assert "W One image was skipped." in kept and "something is deprecated" in kept


def test_other_libraries_chatter_is_silenced_but_not_their_warnings(tmp_path):
    job = tmp_path / "job.py"
    job.write_text(
        "from absl import app, logging\n"
        "from lift_jax.workdir.logs import Logs\n"
        "def main(_):\n"
        "    with Logs(None) as logs:\n"
        "        logging.info('handler registered')\n"
        "        logging.warning('disk is slow')\n"
        "        logs.info('Trained.')\n"
        "    logging.info('restored verbosity')\n"
        "app.run(main)\n"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, job], cwd=root, env=os.environ | {"PYTHONPATH": str(root)}, capture_output=True
    )
    assert done.stdout.decode().splitlines() == ["Trained."]
    errors = done.stderr.decode()
    assert "handler registered" not in errors and "disk is slow" in errors and "restored verbosity" in errors


def test_other_processes_are_silent_and_write_nothing(tmp_path, capsys):
    with Logs(tmp_path / "run", enabled=False) as logs:
        logs.resume(0)
        logs.info("Hello.")
        logs.scalars(1, {"train/loss": 1.0})
        logs.images(1, {"tail": np.zeros((2, 2, 3), np.uint8)})
        with logs.progress(2, "epoch 1/1", line_every=0) as bar:
            bar.update(images=8, loss=1.0)
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""
    assert not (tmp_path / "run").exists()


def test_a_workdir_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/run cannot be written .*--workdir"):
        Logs(tmp_path / "file" / "run")


def test_a_log_that_closes_gives_the_word_back_to_the_one_before(capsys):
    logger = logging.getLogger("lift_jax")
    with Logs(None, to_stderr=True):
        with Logs(None) as inner:
            inner.info("of the inner")
        assert not logger.propagate  # absl's handler would say it again
        logger.warning("of the outer")
    assert logger.propagate
    assert capsys.readouterr() == ("of the inner\n", "warning: of the outer\n")


def test_of_several_open_logs_one_speaks(tmp_path, capsys):
    with Logs(tmp_path / "a", name="a") as first, Logs(tmp_path / "b", name="b") as second:
        second.info("of the newest")
        with first.speaking():
            first.info("of the first")
        logging.getLogger("lift_jax.data").warning("of the newest again")
    said = {name: (tmp_path / name / "console.log").read_text().splitlines() for name in "ab"}
    assert [line[20:] for line in said["a"]] == ["I of the first"]
    assert [line[20:] for line in said["b"]] == ["I of the newest", "W of the newest again"]
    assert capsys.readouterr().out.splitlines() == [
        "b: of the newest", "a: of the first", "warning: b: of the newest again"
    ]  # fmt: skip
