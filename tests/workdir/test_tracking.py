"""The trackers of a run: that they have what metrics.jsonl has, once, however often the run was stopped."""

import importlib.util
import json
import logging
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from small_runs import small_config

from lift_jax.errors import UserError
from lift_jax.run import check
from lift_jax.workdir import tracking
from lift_jax.workdir.logs import Logs

CONFIG = {"method": "lift", "lr": 0.01, "data.root": ""}


def log(folder, tracker, steps, resume=0, evaluates=False):
    """Logs a training line a step and a validation line every other step, and at the end the evaluation."""
    with Logs(folder) as logs:
        logs.track(tracker, CONFIG, "birds")
        logs.resume(resume)
        for step in range(resume + 1, steps + 1):
            logs.scalars(step, {"train/loss": 1 / step, "train/lr": 0.1}, epoch=step // 4)
            if step % 2 == 0:
                logs.scalars(step, {"validation/mean_acc": 10.0 * step, "validation/few_acc": float("nan")})
        if evaluates:
            logs.scalars(steps, {"plain/acc": 75.0})
            logs.images(steps, {"report/worst": pictures(2), "report/curves": pictures(3)[2]})


def pictures(count):
    return np.arange(count * 4 * 6 * 3, dtype=np.uint8).reshape(count, 4, 6, 3)


def of_metrics(folder):
    """Gives the finite numbers of metrics.jsonl as {name: [(step, value), ...]}."""
    found: dict[str, list[tuple[int, float]]] = {}
    for line in map(json.loads, (folder / "metrics.jsonl").read_text().splitlines()):
        for key, value in line.items():
            if key not in ("step", "split", "epoch") and value is not None:
                found.setdefault(f"{line['split']}/{key}", []).append((line["step"], value))
    return found


@pytest.mark.parametrize("tracker", ["mlfow", "tensorboard,wadnb"])
def test_an_unknown_tracker_is_named_with_those_that_there_are(tracker):
    wrong = tracker.split(",")[-1]
    with pytest.raises(UserError, match=rf"config\.tracker has '{wrong}'; write one of tensorboard, mlflow, wandb"):
        check(small_config("quickstart", tracker=tracker))


@pytest.mark.parametrize("tracker", ["", "tensorboard", " tensorboard , tensorboard,"])
def test_what_is_always_there_is_accepted(tracker):
    check(small_config("quickstart", tracker=tracker))
    assert tracking.names(tracker) in ([], ["tensorboard"])


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_a_package_that_is_missing_comes_with_the_line_that_installs_it(name):
    if importlib.util.find_spec(name) is not None:
        tracking.check(name)
        return
    with pytest.raises(
        UserError, match=rf"tracker={name} needs the package {name}.*; pip install 'lift-jax\[{name}\]'"
    ):
        tracking.check(f"tensorboard,{name}")


def test_without_a_tracker_there_are_the_files_of_the_run_alone(tmp_path):
    log(tmp_path, "", 2, evaluates=True)
    assert {file.name for file in tmp_path.iterdir()} == {"metrics.jsonl", "console.log"}


@pytest.fixture(params=["file", pytest.param("sqlite", marks=pytest.mark.slow)])
def client(request, tmp_path, monkeypatch):
    """Points MLflow at a store of its own, and gives a client of it."""
    mlflow = pytest.importorskip("mlflow")
    uri = f"file://{tmp_path}/store" if request.param == "file" else f"sqlite:///{tmp_path}/store.db"
    for name, value in {
        "MLFLOW_TRACKING_URI": uri, "MLFLOW_ALLOW_FILE_STORE": "true", "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    monkeypatch.chdir(tmp_path)  # for the pictures of a database
    return mlflow.MlflowClient()


def only_run(client):
    (run,) = client.search_runs([client.get_experiment_by_name("lift_jax").experiment_id])
    return run


def of_mlflow(client):
    run = only_run(client)
    return {
        key: sorted((metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, key))
        for key in run.data.metrics
    }


def test_mlflow_has_the_numbers_the_pictures_and_the_config(tmp_path, client):
    log(tmp_path / "run", "tensorboard,mlflow", 4, evaluates=True)
    run = only_run(client)
    assert of_mlflow(client) == of_metrics(tmp_path / "run")
    assert (run.info.run_name, run.info.status) == ("birds", "FINISHED")
    assert run.data.params == {"method": "lift", "lr": "0.01", "data.root": ""}
    assert any("worst" in file.path for file in client.list_artifacts(run.info.run_id, "images"))
    assert list((tmp_path / "run" / "tensorboard").iterdir())


@pytest.mark.parametrize("killed_at, restored", [(0, 0), (5, 4), (7, 2), (8, 8)])
def test_mlflow_goes_on_in_the_same_run_without_a_step_twice(tmp_path, client, killed_at, restored):
    log(tmp_path / "run", "mlflow", killed_at)
    log(tmp_path / "run", "mlflow", 8, resume=restored, evaluates=True)
    assert of_mlflow(client) == of_metrics(tmp_path / "run")
    assert [step for step, _ in of_mlflow(client)["train/loss"]] == list(range(1, 9))


def test_mlflow_is_told_at_the_end_whether_the_run_failed_and_runs_again_when_it_goes_on(tmp_path, client):
    with pytest.raises(ZeroDivisionError), Logs(tmp_path / "run") as logs:
        logs.track("mlflow", CONFIG, "birds")
        raise ZeroDivisionError
    assert only_run(client).info.status == "FAILED"
    with Logs(tmp_path / "run") as logs:
        logs.track("mlflow", CONFIG, "birds")
        assert only_run(client).info.status == "RUNNING"
    assert only_run(client).info.status == "FINISHED"


def test_a_tracker_that_comes_later_is_given_what_it_lacks(tmp_path, client):
    log(tmp_path / "run", "tensorboard", 4)
    log(tmp_path / "run", "mlflow", 8, resume=4)
    assert of_mlflow(client) == of_metrics(tmp_path / "run")


def test_what_is_measured_anew_is_a_point_more_only_if_it_differs(tmp_path, client):
    log(tmp_path / "run", "mlflow", 4, evaluates=True)
    for value in 75.0, 80.0:
        with Logs(tmp_path / "run") as logs:
            logs.track("mlflow", CONFIG, "birds")
            logs.resume(4, without={"plain"})
            logs.scalars(4, {"plain/acc": value})
    assert of_mlflow(client)["plain/acc"] == [(4, 75.0), (4, 80.0)]
    assert of_metrics(tmp_path / "run")["plain/acc"] == [(4, 80.0)]


def test_a_store_that_fails_is_told_once_and_the_run_goes_on(tmp_path, client, caplog):
    with Logs(tmp_path / "run") as logs:
        logs.track("mlflow", CONFIG, "birds")
        logs.resume(0)
        logs.scalars(1, {"train/loss": 1.0})
        logs.flush()
        shutil.rmtree(tmp_path / "store", ignore_errors=True)
        (tmp_path / "store.db").write_text("") if (tmp_path / "store.db").exists() else None
        for step in 2, 3:
            logs.scalars(step, {"train/loss": 1.0})
            logs.flush()
    said = (tmp_path / "run" / "console.log").read_text()
    assert said.count("The run goes on without MLflow (") == 1
    assert [step for step, _ in of_metrics(tmp_path / "run")["train/loss"]] == [1, 2, 3]
    assert logging.getLogger("lift_jax").handlers == []


@pytest.mark.parametrize(
    "content, words",
    [
        (
            '{"run": "0123456789abcdef0123456789abcdef"}',
            r"mlflow\.json names the run '0123456789abcdef.* does not have",
        ),
        ('{"run": 7}', r"mlflow\.json is damaged .*its key run is 7.*remove it, and a new run begins in MLflow"),
        ("{", r"mlflow\.json cannot be read .*no JSON"),
    ],
)
def test_a_run_that_mlflow_does_not_have_is_a_sentence(tmp_path, client, content, words):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mlflow.json").write_text(content)
    with pytest.raises(UserError, match=words), Logs(tmp_path / "run") as logs:
        logs.track("mlflow", CONFIG, "birds")


def test_a_server_that_is_not_there_is_a_sentence_without_the_password(tmp_path, client, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:9")
    words = r"cannot use MLflow at http://127\.0\.0\.1:9 \(.*set MLFLOW_TRACKING_URI"
    with pytest.raises(UserError, match=words) as raised, Logs(tmp_path / "run") as logs:
        logs.track("mlflow", CONFIG, "birds")
    assert "secret" not in str(raised.value)


def wandb_records(file):
    """Yields the records of a .wandb file, which is a log of LevelDB: blocks of 32 KiB, with records in pieces."""
    from wandb.proto.wandb_internal_pb2 import Record  # pyright: ignore[reportMissingImports]

    data, position, whole = file.read_bytes(), 7, b""
    while position + 7 <= len(data):
        left = 32768 - position % 32768
        if left < 7:
            position += left
            continue
        length, kind = int.from_bytes(data[position + 4 : position + 6], "little"), data[position + 6]
        whole += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # the whole of it, or its last piece
            yield Record.FromString(whole)
            whole = b""


def of_wandb(folder):
    """Gives what all parts of the run have, by name; and the identifiers of their runs."""
    found: dict[str, list[tuple[int, float]]] = {}
    runs = set()
    for file in sorted((folder / "wandb").glob("offline-run-*/*.wandb")):
        for record in wandb_records(file):
            if record.WhichOneof("record_type") == "run":
                runs.add(record.run.run_id)
            row = {"/".join(item.nested_key) or item.key: item.value_json for item in record.history.item}
            for key, value in row.items():
                split = key.partition("/")[0]
                if f"{split}/step" in row and not key.endswith("/step"):
                    found.setdefault(key, []).append((int(row[f"{split}/step"]), float(value)))
    return found, runs


@pytest.mark.slow
def test_wandb_offline_goes_on_in_the_same_run_without_a_step_twice(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    log(tmp_path / "run", "wandb", 5)
    log(tmp_path / "run", "wandb", 8, resume=4, evaluates=True)
    numbers, runs = of_wandb(tmp_path / "run")
    assert {key: sorted(points) for key, points in numbers.items()} == of_metrics(tmp_path / "run")
    assert runs == {json.loads((tmp_path / "run" / "wandb.json").read_text())["run"]}
    assert len(list((tmp_path / "run" / "wandb").glob("offline-run-*/files/media/images/**/*.png"))) == 3


def test_a_damaged_note_of_wandb_is_a_sentence(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    (tmp_path / "wandb.json").write_text('{"run": "a", "last": {"train": "3"}}')
    words = r"wandb\.json is damaged .*last\.train is '3'.*a new run begins in Weights"
    with pytest.raises(UserError, match=words), Logs(tmp_path) as logs:
        logs.track("wandb", CONFIG, "birds")


@pytest.mark.slow
def test_wandb_without_a_key_is_a_sentence(tmp_path):
    pytest.importorskip("wandb")
    program = (
        "from lift_jax.workdir.logs import Logs\n"
        f"with Logs({str(tmp_path / 'run')!r}) as logs:\n"
        "    logs.track('wandb', {}, 'birds')\n"
    )
    environment = {key: value for key, value in os.environ.items() if not key.startswith("WANDB_")}
    done = subprocess.run(  # wandb reads the environment once in a process
        [sys.executable, "-c", program], env=environment | {"HOME": str(tmp_path), "PYTHONPATH": os.getcwd()},
        capture_output=True, text=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert re.search(r"tracker=wandb cannot begin a run \(.*`wandb login`, set WANDB_MODE=offline", done.stderr)
