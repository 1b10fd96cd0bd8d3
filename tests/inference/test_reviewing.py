"""What a review finds in a run's data, and that its decisions mend the data."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lift_jax import config as lift_config
from lift_jax import data, review
from lift_jax.errors import UserError
from lift_jax.inference import reviewing
from lift_jax.run import run

COUNTS = {"blue": 20, "green": 14, "red": 8}
WRONG = {"train/green/red_0.png": "red", "train/blue/green_0.png": "green"}
"""Images in the wrong folder, and what they show."""


def write_image(file: Path, color: str, generator: np.random.Generator) -> None:
    pixels = generator.integers(0, 120, (6, 6, 3))
    pixels[..., ("red", "green", "blue").index(color)] += 130
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).resize((24, 24)).save(file)


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("colours")
    generator = np.random.default_rng(0)
    for color, count in COUNTS.items():
        for split, images in ("train", count), ("test", 3):
            for i in range(images):
                write_image(root / split / color / f"{color}_{split}_{i}.png", color, generator)
    for path, color in WRONG.items():
        write_image(root / path, color, generator)
    with Image.open(root / "train" / "blue" / "blue_train_3.png") as image:
        image.resize((40, 40)).save(root / "test" / "blue" / "copy.jpg", quality=95)
    return root


@pytest.fixture(scope="module")
def workdir(root, tiny_folder, tmp_path_factory) -> Path:
    config = lift_config.default()
    config.update(backbone=tiny_folder, method="zero_shot", report=False)
    config.data.update(format="folder", root=str(root), name="colours")
    config.tte.enabled = False
    workdir = tmp_path_factory.mktemp("reviewed") / "run"
    run(config, workdir)
    return workdir


def test_the_command_finds_them_and_the_next_training_does_without(workdir, root, tmp_path, capsys):
    (tmp_path / "new").mkdir()
    shutil.copy(root / "train" / "red" / "red_train_1.png", tmp_path / "new")
    (tmp_path / "new" / "broken.png").write_bytes(b"no image")
    words = ["--workdir", str(workdir), "--output", str(tmp_path / "out"), "--images", str(tmp_path / "new")]
    assert review.main(words) == 0
    assert str(tmp_path / "out" / "review.html") in capsys.readouterr().out
    rows = [line.split(",") for line in (tmp_path / "out" / "review.csv").read_text().splitlines()[1:]]
    found = {image: suggested for kind, image, _, suggested, *_ in rows if kind == "label"}
    assert WRONG.items() <= found.items() and len(found) <= 4
    copies = [row for row in rows if row[0] == "copy"]
    assert [(row[1], row[5], row[6]) for row in copies] == [
        ("train/blue/blue_train_3.png", "test/blue/copy.jpg", "test")
    ]
    assert [row[1] for row in rows if row[0] == "uncertain"] == [str(tmp_path / "new" / "red_train_1.png")]
    page = (tmp_path / "out" / "review.html").read_text(encoding="utf-8")
    assert "Gaussian discriminant analysis" in page and "whose training has seen these labels" in page
    decisions = [f'"{image}","{color}"' for image, color in WRONG.items()] + ['"train/blue/blue_train_3.png",""']
    (tmp_path / "corrections.csv").write_text("\r\n".join(["image,label", *decisions]) + "\r\n")
    config = lift_config.default()
    config.data.update(format="folder", root=str(root), name="colours", corrections=str(tmp_path / "corrections.csv"))
    train, _ = data.load(config.data)
    assert train.class_counts.tolist() == [COUNTS["blue"] - 1, COUNTS["green"] + 1, COUNTS["red"] + 1]


def test_data_of_other_classes_are_refused(workdir, root, tmp_path):
    other = shutil.copytree(root, tmp_path / "other")
    for split in "train", "test":
        (other / split / "red").rename(other / split / "yellow")
    changed = shutil.copytree(workdir, tmp_path / "run")
    text = (changed / "config.json").read_text()
    (changed / "config.json").write_text(text.replace(str(root), str(other)))
    with pytest.raises(UserError, match=r"other classes than the run .*restore the one that it was trained on"):
        reviewing.review(changed)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--workdir", "/none"], r"/none"),
        (["--images", "/none/a.png"], r"/none/a\.png"),
    ],
)
def test_mistakes_are_one_sentence(workdir, capsys, words, said):
    assert review.main(["--workdir", str(workdir), *words]) == 1
    error = capsys.readouterr().err
    assert re.search(said, error) and "Traceback" not in error


def test_top_is_a_number_of_images(workdir, capsys):
    with pytest.raises(SystemExit):
        review.main(["--workdir", str(workdir), "--top", "0"])
    assert "--top is 0; write a whole number from 1 on" in capsys.readouterr().err
