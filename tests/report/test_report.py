"""The page of a run: what stands in it, and what happens where something is missing."""

import base64
import io
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lift_jax import config as lift_config
from lift_jax import report
from lift_jax.errors import UserError
from lift_jax.evaluation import metrics
from lift_jax.report import __main__ as command
from lift_jax.report import calibration, confusion, examples, files, page, style
from lift_jax.report import run_report as pages
from lift_jax.run import run


def photographs(root: Path) -> Path:
    """Three classes, of 12, 6 and 3 training images; the last has no test images."""
    generator = np.random.default_rng(0)
    for label, (name, count) in enumerate({"cat": 12, "dog & <b>": 6, "hen": 3}.items()):
        for split, number in ("train", count), ("test", 0 if name == "hen" else 5):
            for i in range(number):
                noise = generator.integers(0, 120, (20, 30, 3))
                noise[..., label] += 100
                (root / split / name).mkdir(parents=True, exist_ok=True)
                Image.fromarray(noise.astype(np.uint8)).save(root / split / name / f"{split}{i}.png")
    return root


def photo_config(root: Path, tiny_folder: str):
    config = lift_config.default()
    config.data.format, config.data.root, config.data.name = "folder", str(root), "photographs"
    config.update(backbone=tiny_folder, method="head_only", num_epochs=1, batch_size=8, eval_batch_size=8, log_every=1)
    config.tte.enabled = False
    return config


@pytest.fixture(scope="module")
def workdir(tiny_folder, tmp_path_factory) -> Path:
    root = photographs(tmp_path_factory.mktemp("photographs"))
    workdir = tmp_path_factory.mktemp("reported") / "run"
    run(photo_config(root, tiny_folder), workdir)
    return workdir


class Reader(HTMLParser):
    """Text, links and open elements of a page."""

    def __init__(self, text: str):
        super().__init__()
        self.text, self.links, self.open = "", [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.links += [value for name, value in attrs if name in ("src", "href", "xlink:href") and value]
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.links += [value for name, value in attrs if name in ("src", "href", "xlink:href") and value]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += " " + data


def test_a_run_ends_in_a_page_that_needs_nothing_else(workdir):
    text = (workdir / "report.html").read_text(encoding="utf-8")
    reader = Reader(text)
    assert reader.open == []
    assert all(link.startswith(("data:", "#")) for link in reader.links), reader.links
    assert "url(http" not in text and "<script" not in text
    assert {path.name for path in (workdir / "report").iterdir()} >= {"classes.png", "curves.png", "calibration.png"}
    results = json.loads((workdir / "eval.json").read_text())
    for value in results["plain"]["accuracy"], results["plain"]["mean_acc"]:
        assert f"{value:.1f}" in reader.text
    assert str(sum(row["params"] for row in json.loads((workdir / "run.json").read_text())["trainable"])) in reader.text


def test_names_are_text_and_a_class_without_test_images_is_no_zero(workdir):
    text = (workdir / "report.html").read_text(encoding="utf-8")
    assert "<b>" not in re.sub(r"<figcaption><b>", "", text)
    assert "dog &amp; &lt;b&gt;" in text
    row = re.search(r"<td>hen</td>(.*?)</tr>", text)
    assert row and "no test images" in row.group(1)
    assert "1 of them has no test images and counts in no mean: hen." in (workdir / "console.log").read_text()
    accuracy = files.read(workdir).class_accuracy()
    assert np.isnan(accuracy[2]) and not np.isnan(accuracy[:2]).any()


def test_precision_and_recall_of_each_class_are_in_the_results_and_on_the_page(workdir):
    results, run_files = json.loads((workdir / "eval.json").read_text()), files.read(workdir)
    found = results["classes"][run_files.headline]
    assert [each["class"] for each in found] == run_files.record.class_names
    recalls = [np.nan if each["recall"] is None else each["recall"] for each in found]
    np.testing.assert_allclose(recalls, run_files.class_accuracy())
    # The page draws the same numbers again from the predictions.
    again = run_files.per_class().recall_interval
    ends = np.array([each["recall_interval"] for each in found], float)
    np.testing.assert_array_equal(ends, again)
    text = (workdir / "report.html").read_text(encoding="utf-8")
    assert "precision, %" in text and f"{ends[0, 0]:.1f} to {ends[0, 1]:.1f}" in text


def test_the_classes_accuracies_are_those_of_the_evaluation(workdir):
    run_files = files.read(workdir)
    np.testing.assert_allclose(np.nanmean(run_files.class_accuracy()), run_files.results["plain"]["mean_acc"])


def test_the_page_can_be_drawn_anew_from_the_folder_alone(workdir, tmp_path):
    shutil.copytree(workdir, tmp_path / "run")
    (tmp_path / "run" / "report.html").unlink()
    assert command.main([str(tmp_path / "run")]) == 0
    assert (tmp_path / "run" / "report.html").read_text() == (workdir / "report.html").read_text()


def test_a_failure_to_draw_loses_no_numbers(tiny_folder, tmp_path):
    config = photo_config(photographs(tmp_path / "photographs"), tiny_folder)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "report").write_text("in the way")
    results = run(config, tmp_path / "run")
    assert json.loads((tmp_path / "run" / "eval.json").read_text())["plain"]["accuracy"] == results["plain"]["accuracy"]
    assert "report could not be drawn" in (tmp_path / "run" / "console.log").read_text()


@pytest.mark.parametrize("name", ["config.json", "run.json", "eval.json", "predictions.npz"])
def test_an_incomplete_folder(workdir, tmp_path, name):
    shutil.copytree(workdir, tmp_path / "run")
    (tmp_path / "run" / name).unlink()
    with pytest.raises(UserError, match=name) as raised:
        report.write(tmp_path / "run")
    assert "\n" not in str(raised.value)


def test_an_older_version(workdir, tmp_path):
    shutil.copytree(workdir, tmp_path / "run")
    known = json.loads((tmp_path / "run" / "run.json").read_text())
    (tmp_path / "run" / "run.json").write_text(json.dumps(known | {"format": 0}))
    with pytest.raises(UserError, match="version"):
        report.write(tmp_path / "run")


def many_classes(workdir: Path, folder: Path, classes: int) -> files.RunFiles:
    """A run's files with so many classes, of which two have no test images."""
    generator = np.random.default_rng(0)
    shutil.copytree(workdir, folder)
    known = json.loads((folder / "run.json").read_text())
    train = np.maximum(2, 1000 * 0.002 ** (np.arange(classes) / classes)).astype(int)
    test = np.where(np.isin(np.arange(classes), [3, classes - 2]), 0, 4)
    names = [f"a rather long name of the species {i}" for i in range(classes)]
    known |= dict(class_names=names, train_counts=train.tolist(), test_counts=test.tolist())
    known |= dict(class_groups=metrics.groups(train).tolist())
    (folder / "run.json").write_text(json.dumps(known))
    label = np.repeat(np.arange(classes), test)
    prediction = np.where(generator.random(len(label)) < 0.7, label, (label + 1) % classes)
    confidence = generator.random(len(label)).astype(np.float32)
    columns: Any = dict(index=np.arange(len(label)), label=label, prediction=prediction, confidence=confidence)
    np.savez(folder / "predictions.npz", **columns)
    return files.read(folder)


@pytest.mark.parametrize("classes", [60, 2000])
def test_many_classes(workdir, tmp_path, classes):
    many_classes(workdir, tmp_path / "run", classes)
    file = report.write(tmp_path / "run")
    text = file.read_text(encoding="utf-8")
    assert "no test images: 2" in text and "2 classes have no test images" in text
    assert len(file.read_bytes()) < 2e6


def test_the_most_confused_pairs():
    label = np.array([0, 0, 0, 1, 1, 2, 2, 2])
    prediction = np.array([1, 1, 0, 0, 1, 1, 1, 1])
    assert confusion.pairs(label, prediction, top=2) == [
        confusion.Pair(2, 1, 3, 1.0),
        confusion.Pair(0, 1, 2, 2 / 3),
    ]
    assert confusion.pairs(label, label) == []


def test_the_bins_give_the_calibration_error_of_the_metrics():
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 2, (500, 7)).astype(np.float32)
    labels = generator.integers(0, 7, 500)
    probabilities = np.exp(logits.astype(np.float64)) / np.exp(logits.astype(np.float64)).sum(axis=1, keepdims=True)
    total, accuracy, confidence = calibration.bins(probabilities.max(axis=1), probabilities.argmax(axis=1) == labels)
    error = np.nansum(total * np.abs(accuracy - confidence)) / total.sum()
    expected = metrics.summarize(metrics.count(logits, labels))["expected_calibration_error"]
    np.testing.assert_allclose(error, expected, rtol=1e-4)


def test_the_worst_images_are_confident_mistakes_of_the_tail(workdir, tmp_path):
    run_files = many_classes(workdir, tmp_path / "run", 60)
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (len(run_files.right), 30, 50, 3), dtype=np.uint8)

    from lift_jax.data.dataset import ArraySource, Dataset

    labels = run_files.predictions["label"].astype(np.int32)
    test = Dataset("test", ArraySource(images), labels, tuple(run_files.record.class_names))
    found = examples.worst(run_files, test, top=8)
    assert len(found) == 8
    tail = [row for row in np.flatnonzero(~run_files.right) if run_files.record.class_groups[labels[row]] == 2]
    most = max(tail, key=lambda row: run_files.predictions["confidence"][row])
    assert found[0].index == most and found[0].picture.shape == (160, 160, 3)
    examples.save(found, run_files)
    again = examples.worst(run_files, None, top=8)  # without the data
    for one, two in zip(found, again, strict=True):
        assert one[:4] == two[:4]
        np.testing.assert_array_equal(one.picture, two.picture)
    confidences = [example.confidence for example in found]
    assert confidences == sorted(confidences, reverse=True)
    for example in found:
        assert example.prediction != example.label and run_files.record.class_groups[example.label] == 2

    text = pages.write(tmp_path / "run", test).read_text(encoding="utf-8")
    uris = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', text)
    assert len(uris) == min(12, len(tail))
    assert Image.open(io.BytesIO(base64.b64decode(uris[0]))).size == (160, 160)
    assert len(list((tmp_path / "run" / "report").glob("worst_*.png"))) == len(uris)


def test_the_command_can_be_pasted():
    import shlex

    command = "python -m lift_jax.main --config configs/folder.py '--config.data.root=my photos' --workdir run"
    shown = Reader(page.command(command)).text
    assert shlex.split(shown.replace("\\\n", " ")) == shlex.split(command)


def test_long_names_keep_both_ends():
    assert style.shorten("short") == "short"
    short = style.shorten("a rather long name of the species 12", 20)
    assert len(short) <= 20 and short.startswith("a rather") and short.endswith("12")
