"""The command that predicts, on files."""

import csv
import functools
import io
import json
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import small_runs
import started_commands
from PIL import Image
from sklearn.metrics.pairwise import cosine_similarity

import lift_jax
from lift_jax import config as lift_config
from lift_jax import predict
from lift_jax.bench.abuse.full_disk import full_disk
from lift_jax.data.given_images import GivenImages
from lift_jax.errors import UserError
from lift_jax.inference import nearest
from lift_jax.run import run
from lift_jax.workdir.logs import Logs

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
    config.update(
        backbone=tiny_folder,
        method="head_only",
        num_epochs=1,
        batch_size=8,
        eval_batch_size=8,
        report=False,
        zero_shot=False,
    )
    config.tte.enabled = False
    workdir = tmp_path_factory.mktemp("predicting") / "run"
    run(config, workdir)
    return workdir


@pytest.fixture(scope="module")
def model(workdir):
    return lift_jax.load(workdir)


start = functools.partial(started_commands.start, "lift_jax.predict")


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


def test_what_a_folder_has_besides_images_is_told_as_every_warning_is(photographs, workdir, tmp_path, capsys):
    shutil.copy(photographs / "test/cat/test_cat_0.png", tmp_path)
    (tmp_path / "notes.txt").write_text("no image")
    assert predict.main(["--workdir", str(workdir), str(tmp_path)]) == 0
    assert f"warning: {tmp_path}: left out: 1 .txt file such as notes.txt.\n" in capsys.readouterr().err


def test_a_mistake_is_one_sentence(photographs, workdir, tmp_path, capsys):
    for arguments, words in (
        (["--workdir", tmp_path, photographs], "config.json"),
        (["--workdir", workdir, tmp_path], "no images in it"),
        (["--workdir", workdir, "--top_k=0", photographs], "--top is 0"),
    ):
        assert predict.main([str(argument) for argument in arguments]) == 1
        said = capsys.readouterr().err
        assert said.startswith("error: ") and said.count("\n") == 1 and words in said


def test_names_that_no_terminal_in_ascii_can_show():
    path = os.fsdecode(b"gr\xfcn\n.png")
    predictions = [predict.Prediction(path, [0], [1.0])]
    text = {}
    for style in predict.FORMATS:
        file = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="backslashreplace", newline="")
        predict.write(predictions, ["Käfer"], style, file)
        file.seek(0)
        text[style] = file.read()
    assert json.loads(text["jsonl"]) == {
        "path": path,
        "predictions": [{"label": 0, "class": "Käfer", "probability": 1.0}],
    }
    assert text["table"] == "gr\\udcfcn\\n.png  K\\xe4fer 100.0 %\n"
    assert "gr\\udcfcn\n.png" in next(iter(csv.DictReader(io.StringIO(text["csv"]))))["path"]


def test_an_output_that_cannot_be_written_is_told_of_first(photographs, tmp_path, capsys):
    arguments = ["--workdir", str(tmp_path / "no run"), "--output", str(tmp_path), str(photographs)]
    assert predict.main(arguments) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"error: {tmp_path} cannot be written (a folder has this name)") and "--output" in said


def test_on_a_full_disk_the_predictions_are_on_standard_output(photographs, workdir, tmp_path, capsys):
    arguments = ["--workdir", str(workdir), "--format=jsonl", str(photographs / "test")]
    assert predict.main(arguments) == 0
    whole = capsys.readouterr().out
    output = tmp_path / "predictions.jsonl"
    output.write_text("old")
    with full_disk(100):
        status = predict.main([*arguments, "--output", str(output)])
    captured = capsys.readouterr()
    assert status == 1 and captured.out == whole
    assert "predictions.jsonl cannot be written (File too large)" in captured.err
    assert [file.name for file in tmp_path.iterdir()] == ["predictions.jsonl"] and output.read_text() == "old"
    assert predict.main([*arguments, "--output", str(output)]) == 0
    assert output.read_text() == whole


def test_what_is_no_checkpoint(photographs, workdir, tmp_path, capsys):
    picture = next((photographs / "test" / "cat").iterdir())
    newest = max((workdir / "checkpoints").iterdir())
    for given, words in (
        (tmp_path, "is no checkpoint; name a folder such as RUN/checkpoints/150"),
        (workdir, f"is no checkpoint; the newest one in it is {newest}"),
        (workdir / "checkpoints", f"the newest one in it is {newest}"),
        (picture, "is no checkpoint; name a folder such as RUN/checkpoints/150, or a checkpoint.pth.tar"),
        (tmp_path / "none", "does not exist"),
    ):
        assert predict.main(["--workdir", str(workdir), "--checkpoint", str(given), str(picture)]) == 1
        said = capsys.readouterr().err
        assert words in said and str(given) in said and said.count("\n") == 1
    assert predict.main(["--workdir", str(workdir), "--checkpoint", str(newest), str(picture)]) == 0
    assert picture.name in capsys.readouterr().out


def test_a_backbone_that_is_not_where_it_was(photographs, workdir, tiny_folder, tmp_path, capsys):
    shutil.copytree(workdir, tmp_path / "run")
    config = json.loads((workdir / "config.json").read_text())
    (tmp_path / "run" / "config.json").write_text(json.dumps(config | {"backbone": "./models/tiny"}))
    arguments = ["--workdir", str(tmp_path / "run"), str(photographs / "test" / "cat")]
    assert predict.main(arguments) == 1
    said = capsys.readouterr().err
    assert "./models/tiny" in said and "--backbone" in said and said.count("\n") == 1
    assert predict.main([*arguments, "--backbone", tiny_folder]) == 0


class TestDecisions:
    """The tables that change the answer."""

    def test_all_of_them_from_the_command_line(self, photographs, workdir, tmp_path, capsys):
        (tmp_path / "prior.csv").write_text("class,weight\ncat,3\ndog,1\n")
        (tmp_path / "costs.csv").write_text("cat,dog,1000\n")
        (tmp_path / "taxonomy.csv").write_text("species,kind\ncat,animal\ndog,animal\n")
        arguments = ["--workdir", str(workdir), str(photographs / "test"), "--format"]
        assert predict.main([*arguments, "jsonl"]) == 0
        before = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        options = ["--prior", str(tmp_path / "prior.csv"), "--costs", str(tmp_path / "costs.csv")]
        options += ["--rollup", str(tmp_path / "taxonomy.csv"), "--threshold", "1"]
        assert predict.main([*arguments, "jsonl", *options]) == 0
        after = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        for old, new in zip(before, after, strict=True):
            uniform, weighted = ({each["class"]: each["probability"] for each in x["predictions"]} for x in (old, new))
            expected = 3 * uniform["cat"] / (3 * uniform["cat"] + uniform["dog"])
            assert weighted["cat"] == pytest.approx(expected, rel=1e-4)
            assert new["answer"]["class"] == "cat"
            assert new["answer"]["expected_cost"] == pytest.approx(weighted["dog"], rel=1e-4)
            assert new["rollup"]["rank"] == "kind" and new["rollup"]["name"] == "animal"
        assert predict.main([*arguments, "csv", *options]) == 0
        rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
        assert len(rows) == 12 and rows[0]["answer"] == "cat" and rows[0]["rollup_rank"] == "kind"
        assert predict.main([*arguments, "table", *options]) == 0
        first = capsys.readouterr().out.splitlines()[0]
        assert "answer: cat (expected cost" in first and first.endswith("kind: animal 100.0 %")

    def test_only_one_class(self, photographs, workdir, tmp_path, capsys):
        (tmp_path / "only.txt").write_text("Dog\n")
        assert predict.main(["--workdir", str(workdir), "--only", str(tmp_path / "only.txt"), str(photographs)]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == 15 and all(line.endswith("dog 100.0 %") and "cat " not in line for line in lines)

    def test_an_estimated_prior_is_told(self, photographs, workdir, capsys):
        assert predict.main(["--workdir", str(workdir), "--prior", "estimate", "--top", "1", str(photographs)]) == 0
        told = capsys.readouterr()
        assert "The prior estimated in" in told.err and "cat" in told.err and len(told.out.splitlines()) == 15
        assert "warning" not in told.err
        one = str(next((photographs / "test").rglob("*.png")))
        assert predict.main(["--workdir", str(workdir), "--prior", "estimate", one]) == 0
        assert "warning: The prior is estimated from 1 image for 2 classes" in capsys.readouterr().err

    def test_mistakes(self, photographs, workdir, tmp_path, capsys):
        (tmp_path / "only.txt").write_text("dgo\n")
        for options, words in (
            (["--prior", "flat"], "--prior is flat, which is no file; write uniform, training, estimate"),
            (["--only", str(tmp_path / "only.txt")], "'dgo' (the nearest is 'dog')"),
            (["--only", str(tmp_path / "none.txt")], "none.txt"),
            (["--threshold", "0.5"], "--threshold is 0.5, but it belongs to --rollup"),
            (["--rollup", "taxonomy.csv", "--threshold", "80"], "--threshold is 80.0; it is a probability"),
        ):
            assert predict.main(["--workdir", str(workdir), *options, str(photographs)]) == 1
            said = capsys.readouterr().err
            assert said.startswith("error: ") and said.count("\n") == 1 and words in said


class TestNearest:
    """The training images that stand beside an answer."""

    def test_they_are_added_and_the_answers_stay(self, photographs, workdir, model, capsys):
        files = sorted(map(str, (photographs / "test").rglob("*.png")))
        arguments = ["--workdir", str(workdir), *files, "--format", "jsonl"]
        assert predict.main(arguments) == 0
        before = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert predict.main([*arguments, "--nearest", "4"]) == 0
        after = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        for old, new, found in zip(before, after, nearest.load(model).nearest(files, k=4), strict=True):
            assert [each.path for each in found] == [each["path"] for each in new["nearest"]]
            for one, line in zip(found, new.pop("nearest"), strict=True):
                assert line == {
                    "path": one.path,
                    "label": one.label,
                    "class": Path(one.path).parent.name,
                    "similarity": pytest.approx(one.similarity, abs=1e-5),
                }
            for each in old["predictions"]:
                each["probability"] = pytest.approx(each["probability"], abs=1e-6)
            assert new == old

    def test_csv_has_columns_and_the_table_a_cell(self, photographs, workdir, capsys):
        image = str(photographs / "train/dog/train_dog_1.png")  # which is nearest to itself
        assert predict.main(["--workdir", str(workdir), image, "--format", "csv", "--nearest", "50"]) == 0
        first, second = csv.DictReader(io.StringIO(capsys.readouterr().out))
        assert (first["rank"], second["rank"]) == ("1", "2") and len(first) == 5 + 9 * 4
        for row in first, second:
            assert row["nearest1_path"] == "train/dog/train_dog_1.png"
            assert (row["nearest1_label"], row["nearest1_class"]) == ("1", "dog")
            assert float(row["nearest1_similarity"]) == pytest.approx(1, abs=1e-5)
            assert float(row["nearest9_similarity"]) < 1
        assert predict.main(["--workdir", str(workdir), image, "--nearest", "1"]) == 0
        assert capsys.readouterr().out.endswith("  nearest: train/dog/train_dog_1.png (dog, 1.00)\n")

    def test_of_several_views_the_mean_of_the_features_is_compared(self, photographs, model):
        files = sorted(map(str, (photographs / "test").rglob("*.png")))
        images = nearest.load(model)
        found = predict.predict_files(model, files, tte=True, nearest=images.search(9))
        loader = model.loader(model.dataset(GivenImages(files), "images"), tte=True)
        features = model.extractor(model.params, loader, Logs(None, enabled=False), "features").rows
        cosines = cosine_similarity(features, images.features.rows)
        for each, row in zip(found, cosines, strict=True):
            np.testing.assert_allclose([x.similarity for x in each.nearest or ()], -np.sort(-row), atol=1e-5)

    def test_they_go_with_an_estimated_prior_and_a_file_that_is_none(self, photographs, workdir, tmp_path, capsys):
        (tmp_path / "a.png").write_text("no image")
        words = [str(tmp_path / "a.png"), str(photographs / "test" / "cat"), "--prior", "estimate", "--nearest", "2"]
        assert predict.main(["--workdir", str(workdir), "--format", "jsonl", *words]) == 0
        broken, *lines = (json.loads(line) for line in capsys.readouterr().out.splitlines())
        assert "error" in broken and [len(line["nearest"]) for line in lines] == [2, 2, 2]

    def test_parts_have_them_and_are_of_the_same_training_images(self, photographs, tiny_folder, tmp_path, capsys):
        parquet = pytest.importorskip("pyarrow.parquet")
        archive = shutil.make_archive(str(tmp_path / "photographs"), "zip", photographs)
        run_of = small_runs.zero_shot_run(tiny_folder, tmp_path / "run", format="folder", root=archive)
        arguments = ["--workdir", str(run_of), str(photographs / "test"), "--nearest", "3"]
        assert predict.main([*arguments, "--format", "jsonl", "--output", str(tmp_path / "all.jsonl")]) == 0
        lines = [json.loads(line)["nearest"] for line in (tmp_path / "all.jsonl").read_text().splitlines()]
        assert {str(Path(each["path"]).parent) for line in lines for each in line} <= {"train/cat", "train/dog"}
        parts = [*arguments, "--parts", str(tmp_path / "parts"), "--part_rows", "2"]
        assert predict.main([*parts, "--shard", "1/2"]) == 0
        capsys.readouterr()
        assert predict.main([*parts, "--shard", "0/2"]) == 0
        assert "features, training images" not in capsys.readouterr().err  # which the run's folder has by now
        files = sorted((tmp_path / "parts").glob("*.parquet"))
        found = [row["nearest"] for file in files for row in parquet.read_table(file).to_pylist()]
        for row, line in zip(found, lines, strict=True):
            assert [each | {"similarity": 0} for each in row] == [each | {"similarity": 0} for each in line]
        with zipfile.ZipFile(archive, "a") as opened:
            opened.write(photographs / "test/cat/test_cat_0.png", "train/cat/more.png")
        assert predict.main(parts) == 1
        said = capsys.readouterr().err
        assert "there were 9, and there are 10 now" in said and "has parts with another 'training_images'" in said

    @pytest.mark.parametrize("count", ["0", "51", "-1"])
    def test_a_number_that_cannot_be_is_told(self, count, capsys):
        assert predict.main(["--workdir", "run", f"--nearest={count}", "a.png"]) == 1
        assert f"--nearest is {count}; it is a whole number from 1 to 50" in capsys.readouterr().err

    def test_images_that_are_gone_are_told(self, photographs, workdir, tmp_path, capsys):
        shutil.copytree(workdir, tmp_path / "run")
        config = json.loads((workdir / "config.json").read_text())
        config["data"]["root"] = str(tmp_path / "gone")
        (tmp_path / "run" / "config.json").write_text(json.dumps(config))
        arguments = ["--workdir", str(tmp_path / "run"), str(photographs / "test")]
        assert predict.main([*arguments, "--nearest", "1"]) == 1
        said = capsys.readouterr().err
        assert said.startswith("error: --nearest takes the run's training images, which cannot be had: ")
        assert str(tmp_path / "gone") in said and said.count("\n") == 1
        assert predict.main(arguments) == 0


class TestParts:
    def test_parts_of_two_shards_have_what_json_lines_have(self, photographs, workdir, tmp_path):
        parquet = pytest.importorskip("pyarrow.parquet")
        (tmp_path / "text.png").write_text("no image")
        words = ["--workdir", str(workdir), "--top", "1", str(photographs / "test"), str(tmp_path / "text.png")]
        assert predict.main([*words, "--format", "jsonl", "--output", str(tmp_path / "all.jsonl")]) == 0
        for shard in "1/2", "0/2":
            assert predict.main([*words, "--parts", str(tmp_path / "parts"), "--part_rows", "2", "--shard", shard]) == 0
        files = sorted((tmp_path / "parts").glob("*.parquet"))
        found = [row for file in files for row in parquet.read_table(file).to_pylist()]
        lines = [json.loads(line) for line in (tmp_path / "all.jsonl").read_text().splitlines()]
        assert [row["path"] for row in found] == [line["path"] for line in lines] and len(files) == 4
        for row, line in zip(found, lines, strict=True):
            assert row["error"] == line.get("error")
            assert [each["class"] for each in row["predictions"] or []] == [
                each["class"] for each in line.get("predictions", [])
            ]

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["--shard", "0/2"], "--shard is 0/2, but it belongs to --parts"),
            (["--part_rows", "3"], "--part_rows is 3, but it belongs to --parts"),
            (["--parts", "a", "--output", "b"], "--parts is a, and --output is b; leave one of them out"),
            (["--parts", "a", "--prior", "estimate"], "--prior is estimate, which takes all images at once"),
            (["--parts", "a", "--part_rows", "0"], "--part_rows is 0; it is a whole number of at least 1"),
            (["--parts", "a", "--shard", "2/2"], "--shard is '2/2'; write I/N"),
        ],
    )
    def test_what_does_not_go_together(self, words, said, capsys):
        assert predict.main(["--workdir", "run", *words, "a.png"]) == 1
        assert said in capsys.readouterr().err
