"""The command that predicts, on files."""

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import lift_jax
from lift_jax import config as lift_config
from lift_jax import predict
from lift_jax.errors import UserError
from lift_jax.run import run

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def photographs(tmp_path_factory) -> Path:
    """Two classes, of 6 and 3 training and 3 test images."""
    root = tmp_path_factory.mktemp("photographs")
    generator = np.random.default_rng(0)
    for label, (name, count) in enumerate({"cat": 6, "dog": 3}.items()):
        for split, number in ("train", count), ("test", 3):
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(number):
                noise = generator.integers(0, 120, (20, 30, 3))
                noise[..., label] += 100
                Image.fromarray(noise.astype(np.uint8)).save(folder / f"{split}_{name}_{i}.png")
    return root


@pytest.fixture(scope="module")
def workdir(photographs, tiny_folder, tmp_path_factory) -> Path:
    config = lift_config.default()
    config.data.format, config.data.root = "folder", str(photographs)
    config.update(backbone=tiny_folder, method="head_only", num_epochs=1, batch_size=8, eval_batch_size=8, report=False)
    config.tte.enabled = False
    workdir = tmp_path_factory.mktemp("predicting") / "run"
    run(config, workdir)
    return workdir


@pytest.fixture(scope="module")
def model(workdir):
    return lift_jax.load(workdir)


def start(*arguments: object, given: str = "") -> subprocess.CompletedProcess:
    """`python -m lift_jax.predict` with these arguments."""
    return subprocess.run(
        [sys.executable, "-m", "lift_jax.predict", *map(str, arguments)],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"},
        input=given, capture_output=True, text=True, timeout=300,
    )  # fmt: skip


class TestPaths:
    def test_files_folders_patterns_and_a_list(self, photographs):
        cat, dogs = str(photographs / "test/cat/test_cat_1.png"), photographs / "test" / "dog"
        expected = [str(dogs / f"test_dog_{i}.png") for i in range(3)]
        assert predict.find_images([str(dogs)]) == expected
        assert predict.find_images([cat, str(dogs / "*.png")]) == [cat, *expected]
        assert len(predict.find_images([str(photographs / "test" / "**" / "*.png")])) == 6
        listed = io.StringIO("".join(f"{path}\n" for path in expected) + "\n")
        assert predict.find_images([cat, "-"], listed) == [cat, *expected]

    def test_a_file_whose_name_looks_like_a_pattern(self, tmp_path):
        (tmp_path / "a[1].png").touch()
        assert predict.find_images([str(tmp_path / "a[1].png")]) == [str(tmp_path / "a[1].png")]

    def test_nothing(self, tmp_path):
        for paths, words in (
            ([str(tmp_path)], "no images in it"),
            ([str(tmp_path / "*.png")], "matches"),
            ([], "no image"),
        ):
            with pytest.raises(UserError, match=words):
                predict.find_images(paths)


def test_the_classes_are_those_of_the_evaluation_in_descending_order(photographs, workdir, model):
    paths = predict.find_images([str(photographs / "test")])
    predictions = predict.predict_files(model, paths, top_k=5)
    with np.load(workdir / "predictions.npz") as saved:
        assert [p.labels[0] for p in predictions] == saved["prediction"].tolist()
        assert [np.float32(p.probabilities[0]) for p in predictions] == saved["confidence"].tolist()
    assert [p.path for p in predictions] == paths
    for prediction in predictions:
        assert sorted(prediction.labels) == [0, 1]
        assert prediction.probabilities == sorted(prediction.probabilities, reverse=True)
        np.testing.assert_allclose(sum(prediction.probabilities), 1, rtol=1e-5)


def test_unreadable_files_are_left_out_with_their_reason(photographs, model, tmp_path):
    (tmp_path / "text.png").write_text("no image")
    good = str(photographs / "test/cat/test_cat_0.png")
    paths = [str(tmp_path / "text.png"), good, str(tmp_path / "missing.png")]
    bad, fine, missing = predict.predict_files(model, paths, top_k=1)
    assert "text.png" in str(bad.problem) and "missing.png" in str(missing.problem)
    assert (bad.labels, missing.labels) == ([], []) and len(fine.labels) == 1 and fine.problem is None


def test_the_three_forms_say_the_same():
    predictions = [
        predict.Prediction("a.png", [1, 0], [0.75, 0.25]),
        predict.Prediction("b.png", [], [], "b.png is an empty file."),
        predict.Prediction("c,d.png", [0, 1], [0.9, 0.1]),
    ]
    text = {}
    for style in predict.FORMATS:
        file = io.StringIO()
        predict.write(predictions, ["cat", "big dog"], style, file)
        text[style] = file.getvalue()
    assert text["table"].splitlines() == [
        "a.png    big dog 75.0 %  cat 25.0 %",
        "c,d.png  cat 90.0 %      big dog 10.0 %",
    ]
    rows = list(csv.DictReader(io.StringIO(text["csv"])))
    assert [(r["path"], r["rank"], r["class"]) for r in rows[1:3]] == [("a.png", "2", "cat"), ("c,d.png", "1", "cat")]
    lines = [json.loads(line) for line in text["jsonl"].splitlines()]
    assert lines[0]["predictions"][0] == {"label": 1, "class": "big dog", "probability": 0.75}
    assert lines[1] == {"path": "b.png", "error": "b.png is an empty file."}


def test_from_the_command_line(photographs, workdir, tmp_path):
    (tmp_path / "text.png").write_text("no image")
    listed = f"{photographs / 'test/dog/test_dog_2.png'}\n{tmp_path / 'text.png'}\n"
    output = tmp_path / "predictions.jsonl"
    done = start("--workdir", workdir, "--format=jsonl", "--top_k=1", "--output", output, "-", given=listed)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "text.png is no image" in done.stderr
    first, second = (json.loads(line) for line in output.read_text().splitlines())
    assert len(first["predictions"]) == 1 and "error" in second


def test_a_mistake_is_one_sentence(photographs, workdir, tmp_path, capsys):
    for arguments, words in (
        (["--workdir", tmp_path, photographs], "config.json"),
        (["--workdir", workdir, tmp_path], "no images in it"),
        (["--workdir", workdir, "--top_k=0", photographs], "top_k"),
    ):
        assert predict.main([str(argument) for argument in arguments]) == 1
        said = capsys.readouterr().err
        assert said.startswith("error: ") and said.count("\n") == 1 and words in said
