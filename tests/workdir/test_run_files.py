"""Files of a run that were edited or damaged: what is right is read, and what is not ends in one sentence."""

import copy
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lift_jax import config as lift_config
from lift_jax import report
from lift_jax.errors import UserError
from lift_jax.report import files
from lift_jax.workdir import config_file, metrics_file, record

CLASSES = ("cat", "dog & <b>", "hen")
TEST_COUNTS = (4, 2, 0)
CONTENTS: dict[str, Any] = {
    "config.json": lift_config.resolve(lift_config.default()).to_dict(),
    "run.json": {
        "format": 1,
        "command": "python -m lift_jax.main --config mine.py",
        "versions": {"lift_jax": "0.1.0", "jax": "0.10.2"},
        "devices": "1 x cpu",
        "backbone": {"name": "tiny", "hash": "0", "parameters": 1000},
        "trainable": [{"group": "head", "blocks": 0, "arrays": 1, "params": 20, "share": 0.02}],
        "class_names": list(CLASSES),
        "train_counts": [200, 30, 5],
        "test_counts": list(TEST_COUNTS),
        "class_groups": [0, 1, 2],
    },
    "eval.json": {
        "plain": {
            "accuracy": 50.0,
            "error_rate": 50.0,
            "macro_f1": 30.0,
            "worst_case_acc": 0.0,
            "hmean_acc": 0.002,
            "gmean_acc": 0.0,
            "mean_acc": 37.5,
            "expected_calibration_error": 20.0,
            "many_acc": 75,
            "med_acc": 0.0,
            "few_acc": None,
            "num_examples": 6,
        },
        "classes": {
            "resamples": 1000,
            "coverage": 95.0,
            "seed": 0,
            "plain": [
                {
                    "class": name,
                    "precision": 75.0,
                    "recall": None,
                    "precision_interval": [50, 100.0],
                    "recall_interval": [None, None],
                }
                for name in CLASSES
            ],
        },
    },
}
COLUMNS: dict[str, np.ndarray] = {
    "index": np.arange(6),
    "label": np.array([0, 0, 0, 0, 1, 1]),
    "prediction": np.array([0, 0, 0, 1, 0, 2]),
    "confidence": np.array([0.9, 0.5, 1.0, 0.4, 0.8, 0.6], np.float32),
}
LINES = [{"step": s, "epoch": 1, "split": "train", "loss": 1 / s, "accuracy": 10.0 * s, "lr": None} for s in (1, 2, 3)]


def write_run(folder: Path) -> Path:
    """A folder as a run leaves it."""
    folder.mkdir()
    for name, content in CONTENTS.items():
        (folder / name).write_text(json.dumps(content))
    np.savez(folder / "predictions.npz", **COLUMNS)  # pyright: ignore[reportArgumentType]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in LINES))
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    return write_run(tmp_path_factory.mktemp("whole") / "run")


@pytest.fixture
def folder(tmp_path) -> Path:
    return write_run(tmp_path / "run")


def refused(read: Callable[[], Any], *words: str) -> None:
    """Sees to it that the sentence has the words, in one line."""
    with pytest.raises(UserError) as raised:
        read()
    said = str(raised.value)
    assert "\n" not in said and "Traceback" not in said
    for word in words:
        assert word in said, said


def test_a_whole_run_gives_the_known_answer(folder):
    found = files.read(folder)
    assert found.record.class_names == list(CLASSES)
    assert found.results["plain"]["accuracy"] == 50 and np.isnan(found.results["plain"]["few_acc"])
    np.testing.assert_array_equal(found.class_accuracy(), [75, 0, np.nan])
    assert found.curve("loss") == ([1, 2, 3], [1, 1 / 2, 1 / 3]) and found.curve("lr") == ([], [])
    text = report.write(folder).read_text(encoding="utf-8")
    assert "50.0 % of 6 test images" in text and "dog &amp; &lt;b&gt;" in text


@pytest.mark.parametrize("name", [*CONTENTS, "predictions.npz"])
@pytest.mark.parametrize("content", [b"", b"[]", b'"x"', b"5", b"null", b"{", b"[" * 100_000, b"\xff\xfe\x00", b"{}"])
def test_what_is_no_such_file(folder, name, content):
    (folder / name).write_bytes(content)
    refused(lambda: files.read(folder), name)


EDITS: dict[str, tuple[str, Callable[[Any], object], str]] = {
    "lr is a word": ("config.json", lambda c: c.update(lr="fast"), "lr"),
    "lr is null": ("config.json", lambda c: c.update(momentum=None), "momentum"),
    "lr is not finite": ("config.json", lambda c: c.update(lr=float("nan")), "lr"),
    "a switch is a number": ("config.json", lambda c: c["tte"].update(enabled=1), "tte.enabled"),
    "a number is a switch": ("config.json", lambda c: c.update(batch_size=True), "batch_size"),
    "a section is a number": ("config.json", lambda c: c.update(data=5), "data"),
    "an unknown key": ("config.json", lambda c: c["data"].update(rot=1), "data.rot"),
    "an unknown head": ("config.json", lambda c: c.update(head="cosin"), "config.head"),
    "another format": ("run.json", lambda c: c.update(format=0), "format"),
    "a missing key": ("run.json", lambda c: c.pop("class_names"), "class_names"),
    "an extra key": ("run.json", lambda c: c.update(more=1), "more"),
    "names are a text": ("run.json", lambda c: c.update(class_names="cat"), "class_names"),
    "a name is a number": ("run.json", lambda c: c["class_names"].__setitem__(1, 7), "class_names.1"),
    "a name too many": ("run.json", lambda c: c["class_names"].append("cow"), "train_counts"),
    "a negative count": ("run.json", lambda c: c["test_counts"].__setitem__(0, -1), "test_counts.0"),
    "an absurd count": ("run.json", lambda c: c["train_counts"].__setitem__(0, 10**30), "train_counts.0"),
    "an unknown group": ("run.json", lambda c: c["class_groups"].__setitem__(2, 3), "class_groups.2"),
    "a backbone without size": ("run.json", lambda c: c["backbone"].update(parameters=0), "backbone.parameters"),
    "a share is null": ("run.json", lambda c: c["trainable"][0].update(share=None), "trainable.0.share"),
    "no plain section": ("eval.json", lambda c: c.update(tte=c.pop("plain")), "plain"),
    "an accuracy of 200 %": ("eval.json", lambda c: c["plain"].update(accuracy=200.0), "plain.accuracy"),
    "a metric is a text": ("eval.json", lambda c: c["plain"].update(many_acc="75"), "plain.many_acc"),
    "without a metric": ("eval.json", lambda c: c["plain"].pop("error_rate"), "plain.error_rate"),
    "a precision of 200 %": (
        "eval.json",
        lambda c: c["classes"]["plain"][1].update(precision=200.0),
        "classes.plain.1.precision",
    ),
    "an interval with one end": (
        "eval.json",
        lambda c: c["classes"]["plain"][0]["recall_interval"].pop(),
        "classes.plain.0.recall_interval",
    ),
    "an unknown section": ("eval.json", lambda c: c.update(other={}), "other"),
}


@pytest.mark.parametrize("edit", EDITS)
def test_a_value_that_does_not_fit_is_named(folder, edit):
    name, change, key = EDITS[edit]
    content = copy.deepcopy(CONTENTS[name])
    change(content)
    (folder / name).write_text(json.dumps(content))
    refused(lambda: files.read(folder), name, key, "again")


def test_a_section_or_metric_that_is_null_is_none(folder):
    results = json.loads((folder / "eval.json").read_text())
    results["plain"] |= {"many_acc": None, "med_acc": None, "few_acc": None}
    (folder / "eval.json").write_text(json.dumps(results | {"tte": None}))
    assert "50.0 % of 6 test images" in report.write(folder).read_text(encoding="utf-8")


PREDICTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "a label without a class": ({"label": [0, 0, 0, 0, 1, 3]}, "label"),
    "a negative prediction": ({"prediction": [-1, 0, 0, 0, 0, 0]}, "prediction"),
    "an image twice": ({"index": [0, 0, 1, 2, 3, 4]}, "index"),
    "an image that is not there": ({"index": [0, 1, 2, 3, 4, 6]}, "index"),
    "columns of unequal length": ({"confidence": np.ones(5, np.float32)}, "confidence"),
    "a table": ({"label": np.zeros((6, 1), int)}, "label"),
    "labels that are floats": ({"label": np.zeros(6)}, "label"),
    "confidences that are texts": ({"confidence": ["a"] * 6}, "confidence"),
    "a confidence that is not finite": ({"confidence": [np.nan] * 6}, "confidence"),
    "a confidence above one": ({"confidence": [1.5] * 6}, "confidence"),
    "more images of a class than there are": ({"label": [1, 1, 1, 0, 0, 0]}, "test_counts"),
    "objects": ({"label": np.array([{}] * 6, object)}, "npz"),
}


@pytest.mark.parametrize("case", PREDICTIONS)
def test_columns_that_do_not_fit_are_named(folder, case):
    change, word = PREDICTIONS[case]
    np.savez(folder / "predictions.npz", **{**COLUMNS, **change})  # pyright: ignore[reportArgumentType]
    refused(lambda: files.read(folder), "predictions.npz", word, "--mode eval")


@pytest.mark.parametrize("column", COLUMNS)
def test_a_column_that_is_missing_is_named(folder, column):
    np.savez(folder / "predictions.npz", **{k: v for k, v in COLUMNS.items() if k != column})  # pyright: ignore
    refused(lambda: files.read(folder), "predictions.npz", column)


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.uint64])
def test_whole_numbers_of_any_kind_are_labels(folder, kind):
    columns: Any = {k: v if v.dtype.kind == "f" else v.astype(kind) for k, v in COLUMNS.items()}
    np.savez(folder / "predictions.npz", **columns)
    np.testing.assert_array_equal(files.read(folder).class_accuracy(), [75, 0, np.nan])


def test_lines_that_are_none_are_left_out_and_counted(folder, caplog):
    alien = ["# mine", '{"step": "1"}', "[]", '{"step": 2, "split": "train", "loss": "low"}', '{"step": 4, "spl']
    lines = (folder / "metrics.jsonl").read_text() + "\n".join(alien)
    (folder / "metrics.jsonl").write_text(lines)
    assert files.read(folder).curve("loss") == ([1, 2, 3], [1, 1 / 2, 1 / 3])
    assert "metrics.jsonl: 5 of its lines" in caplog.text


def test_a_damaged_picture_is_left_out(folder, caplog):
    (folder / "report").mkdir()
    damaged = folder / "report" / "worst_01_dog_taken_for_cat_4.png"
    damaged.write_bytes(b"\x89PNG\r\n\x1a\nno more")
    report.write(folder)
    assert damaged.name in caplog.text and not damaged.exists()


def _spoilt_json(content: Any, draw: random.Random) -> Any:
    """The content with one of its values replaced, removed or doubled."""
    content = copy.deepcopy(content)
    place = content
    while True:
        key = draw.choice(list(place)) if isinstance(place, dict) else draw.randrange(len(place))
        if isinstance(place[key], dict | list) and place[key] and draw.random() < 0.8:
            place = place[key]
            continue
        wrong = [None, True, -1, 10**40, 1e308, float("nan"), "", "x\0\n", [], {}, [[]], {"a": None}, -0.5, "\ud800"]
        if draw.random() < 0.2:
            del place[key]
        else:
            place[key] = draw.choice(wrong)
        return content


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32), name=st.sampled_from([*CONTENTS]))
def test_any_value_is_read_or_refused(whole, tmp_path_factory, seed, name):
    spoilt = tmp_path_factory.mktemp("spoilt") / "run"
    shutil.copytree(whole, spoilt)
    (spoilt / name).write_text(json.dumps(_spoilt_json(CONTENTS[name], random.Random(seed))))
    try:
        found = files.read(spoilt)
    except UserError as error:
        assert name in str(error) or "predictions.npz" in str(error)
        assert "\n" not in str(error)
    else:
        assert len(found.class_accuracy()) == len(found.record.class_names) == len(found.group_names())


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32), name=st.sampled_from([*CONTENTS, "predictions.npz", "metrics.jsonl"]))
def test_any_bytes_are_read_or_refused(whole, tmp_path_factory, seed, name):
    draw = random.Random(seed)
    spoilt = tmp_path_factory.mktemp("bytes") / "run"
    shutil.copytree(whole, spoilt)
    content = bytearray((spoilt / name).read_bytes())
    for _ in range(draw.randrange(1, 20)):
        content[draw.randrange(len(content))] = draw.randrange(256)
    (spoilt / name).write_bytes(content[: draw.randrange(len(content) + 1)] if draw.random() < 0.5 else content)
    try:
        files.read(spoilt)
    except UserError as error:
        assert "run.json" in str(error) or name in str(error) or "predictions.npz" in str(error)
        assert "\n" not in str(error)


def test_differences_are_those_to_a_whole_config(tmp_path):
    config = lift_config.resolve(lift_config.default())
    refused(lambda: config_file.differences(tmp_path, config), "config.json", "no run")
    content = config.to_dict() | {"seed": 7}
    (tmp_path / "config.json").write_text(json.dumps(content))
    assert config_file.differences(tmp_path, config) == {"seed": (7, 0)}
    for spoilt in "[]", json.dumps(content | {"key_of_another_version": 1}):
        (tmp_path / "config.json").write_text(spoilt)
        refused(lambda: config_file.differences(tmp_path, config), "config.json")


def test_a_record_is_what_was_written():
    known = record.parse(CONTENTS["run.json"], "run.json")
    assert record.content(known) == CONTENTS["run.json"] and known.trainable_parameters == 20


def test_lines_are_those_of_the_file():
    text = json.dumps(LINES[0])
    assert metrics_file.parse(f"{text}\n\n{text}\r\nno\n".encode()) == ([(text, LINES[0])] * 2, 1)


@pytest.mark.parametrize("classes", [3, 40])
def test_names_that_are_hard_to_draw(folder, classes):
    names = ["$\\frac{$", "a\nb\x00\x1b", "\udcfc", "x" * 100_000, "<script>", "", "猫" * 100][: max(classes, 7)]
    names += [f"class {i}" for i in range(classes)]
    count = len(names)
    known = CONTENTS["run.json"] | {"class_names": names, "train_counts": list(range(count, 0, -1))}
    known |= {"test_counts": [1] * count, "class_groups": [2] * count}
    (folder / "run.json").write_text(json.dumps(known))
    label = np.arange(count)
    rows: Any = {"index": label, "label": label, "prediction": label[::-1], "confidence": np.full(count, 0.5)}
    np.savez(folder / "predictions.npz", **rows)
    (folder / "report").mkdir()
    for index in label:
        Image.new("RGB", (160, 160)).save(folder / "report" / f"worst_x_{index}.png")
    text = report.write(folder).read_text(encoding="utf-8")
    assert len(text) < 1_000_000 and "<script>" not in text
    for shown in "$\\frac{$", "a\\nb\\x00\\x1b", "\\udcfc", "x" * 199 + "…":
        assert shown in text
    assert {file.name for file in (folder / "report").iterdir()} >= {"classes.png", "confusion.png"}
    assert list((folder / "report").glob("worst_01_*"))


def test_a_run_without_classes_in_its_results_is_read_as_before(folder):
    content = copy.deepcopy(CONTENTS["eval.json"])
    whole = files.read(folder).results
    assert set(whole) == {"plain"}
    del content["classes"]
    (folder / "eval.json").write_text(json.dumps(content))
    assert str(files.read(folder).results) == str(whole)
