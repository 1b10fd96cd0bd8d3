"""The program as a person starts it, and what it says to mistakes."""

import functools
import json
import re
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import started_commands
from PIL import Image

from lift_jax import config as lift_config
from lift_jax import sweep
from lift_jax.config.keys import nearest_key
from lift_jax.errors import UserError
from lift_jax.main import flags
from lift_jax.run import run

ROOT = Path(__file__).parent.parent


start = functools.partial(started_commands.start, "lift_jax.main")


@pytest.fixture(scope="session")
def photographs(tmp_path_factory) -> Path:
    """A folder per class: 3 classes, of 12, 6 and 3 training images and 3 test images each."""
    root = tmp_path_factory.mktemp("photographs")
    generator = np.random.default_rng(0)
    for label, (name, count) in enumerate({"cat": 12, "dog": 6, "hen": 3}.items()):
        for split, number in ("train", count), ("test", 3):
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(number):
                noise = generator.integers(0, 120, (20, 30, 3))
                noise[..., label] += 100
                Image.fromarray(noise.astype(np.uint8)).save(folder / f"{split}_{name}_{i}.png")
    return root


def photo_config(photographs: Path, tiny_folder: str, **changes):
    config = lift_config.default()
    config.data.format = "folder"
    config.data.root = str(photographs)
    config.update(
        backbone=tiny_folder, num_epochs=1, batch_size=8, eval_batch_size=8, report=False, zero_shot=False, **changes
    )
    config.tte.expand = 4
    return config


@pytest.mark.slow
def test_own_images_from_the_command_line(photographs, tiny_folder, tmp_path):
    arguments = [
        "--config=configs/folder.py",
        f"--config.data.root={photographs}",
        f"--config.backbone={tiny_folder}",
        "--config.num_epochs=1",
        "--config.batch_size=8",
        "--config.tte.expand=4",
        f"--workdir={tmp_path / 'run'}",
    ]
    done = start(*arguments)
    assert done.returncode == 0, done.stderr
    assert "mean class" in done.stdout
    files = {path.name for path in (tmp_path / "run").iterdir()}
    expected = {"config.json", "console.log", "metrics.jsonl", "tensorboard", "checkpoints", "eval.json"}
    assert files >= expected | {"predictions.npz", "run.json", "report.html", "report"}
    results = json.loads((tmp_path / "run" / "eval.json").read_text())
    assert results["tte"]["num_examples"] == 9
    assert json.loads((tmp_path / "run" / "config.json").read_text())["lr"] == 0.01
    log = (tmp_path / "run" / "console.log").read_text()
    assert "mean class" in log and "classes: 0 = " in log and "; names from " in log

    evaluated = start("--mode=eval", str(tmp_path / "run"))  # the run brings its config
    assert evaluated.returncode == 0, evaluated.stderr
    assert "zero_shot" in evaluated.stdout
    assert json.loads((tmp_path / "run" / "eval.json").read_text()) == results


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--config=configs/folder.py", "--config.learning_rate=1"], ["learning_rate", "config.lr"]),
        (["--config=configs/folder.py", "--config.data.rot=x"], ["data.rot", "config.data.root"]),
        (["--config=configs/folder.py", "--config.dtype.x=1"], ["dtype.x", "config.dtype"]),
        (["--config=configs/folder.py", "--config.lr=fast"], ["config.lr", "fast"]),
        (["--config=configs/none.py"], ["configs/none.py", "does not exist"]),
        (["--config=configs/cifar100_lt.py:30"], ["100, 50 or 10"]),
        (["--confg=configs/folder.py"], ["confg", "config"]),
        ([], ["--config"]),
        (["--config.backbone=clip-b16"], ["--config.backbone is for a config", "write --config FILE"]),
        (["--config=configs/quickstart.py", "--config.auto_minutes=5"], ["config.auto_minutes", "config.auto=True"]),
        (["--config=configs/folder.py", "--mode=eval"], ["--workdir"]),
        (["--config=configs/folder.py"], ["config.data.root"]),
        (
            ["--config=configs/quickstart.py", "--config.auto=True", "--config.sweep=lr=1,2"],
            ["config.auto", "config.sweep"],
        ),
        (["--config=configs/folder.py", "--config.auto=True", "--config.sweep="], ["config.data.root"]),
    ],
)
def test_a_mistake_is_one_sentence_and_a_failure(arguments, words, tmp_path):
    done = start(*arguments)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1, done.stderr
    for word in words:
        assert word in done.stderr


def test_a_wrong_key_in_a_config_file_is_found_there(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "from lift_jax import config as lift_config\n\n\ndef get_config():\n"
        "    config = lift_config.default()\n    config.batchsize = 4\n    return config\n"
    )
    done = start(f"--config={file}")
    assert done.returncode == 1
    assert "batchsize" in done.stderr and "line 6" in done.stderr and "config.batch_size" in done.stderr


MISTAKES = {
    "patch size": (dict(resolution=18), "multiple of 4"),
    "accumulate": (dict(accumulate=3), "accumulate"),
    "backbone": (dict(backbone="/no/such/model"), "/no/such/model"),
    "head_init": (dict(head_init="txt"), "text"),
    "head": (dict(head="cosin"), "cosine"),
    "method": (dict(method="adaptfomer"), "adaptformer"),
    "loss": (dict(loss="la"), "LA"),
    "groups": (dict(class_groups="many"), "imbalance_100"),
    "epochs": (dict(num_epochs=0), "num_epochs"),
    "schedule": (dict(schedule="linear"), "cosine_epoch"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_wrong_value_leaves_nothing_behind(photographs, tiny_folder, tmp_path, name):
    changes, word = MISTAKES[name]
    config = photo_config(photographs, tiny_folder)
    config.update(changes)
    with pytest.raises(UserError, match=word) as raised:
        run(config, tmp_path / "run")
    assert str(raised.value).count("\n") == 0
    assert not (tmp_path / "run").exists()


def test_an_image_that_cannot_be_decoded_stops_the_run_or_is_skipped(photographs, tiny_folder, tmp_path):
    root = tmp_path / "photographs"
    shutil.copytree(photographs, root)
    bad = root / "test" / "dog" / "test_dog_1.png"
    bad.write_bytes(bad.read_bytes()[:200])
    config = photo_config(root, tiny_folder)
    with pytest.raises(UserError, match=r"test_dog_1\.png"):
        run(config, tmp_path / "run")
    config.data.skip_bad_images = True
    results = run(config, tmp_path / "run")
    assert results["plain"]["num_examples"] == 8
    assert "test_dog_1.png" in (tmp_path / "run" / "console.log").read_text()


def test_a_workdir_without_permission(photographs, tiny_folder, tmp_path):
    occupied = tmp_path / "file"
    occupied.write_text("")
    with pytest.raises(UserError, match="workdir"):
        run(photo_config(photographs, tiny_folder), occupied / "run")


@pytest.mark.parametrize("within", [".", "train", "train/run", "test/cat/run"])
def test_a_workdir_among_the_class_folders(photographs, tiny_folder, tmp_path, within):
    root = shutil.copytree(photographs, tmp_path / "photos")
    before = sorted(root.rglob("*"))
    config = photo_config(root, tiny_folder)
    if within == ".":
        root = config.data.root = str(root / "train")
        config.data.val_fraction = 0.5
    with pytest.raises(UserError, match="would be taken for one; name a folder elsewhere with --workdir"):
        run(config, Path(root) / within)
    assert sorted((tmp_path / "photos").rglob("*")) == before


def test_what_an_archive_leaves_out_is_told_as_every_warning_is(tmp_path):
    archive = tmp_path / "photos.tar"
    with tarfile.open(archive, "w") as made:
        for name in "train/cat/0.png", "train/dog/0.png", "test/cat/1.png", "../up.png":
            made.addfile(tarfile.TarInfo(name))
    done = start(str(archive), "--config.backbone=", "--print_config")
    assert done.stderr.startswith(f"warning: {archive}: left out: 1 path that leads out of the archive"), done.stderr


class TestCheckpoints:
    @pytest.fixture(scope="class")
    def trained(self, photographs, tiny_folder, tmp_path_factory):
        workdir = tmp_path_factory.mktemp("trained") / "run"
        run(photo_config(photographs, tiny_folder), workdir)
        return workdir

    def test_none(self, photographs, tiny_folder, tmp_path):
        with pytest.raises(UserError, match="no checkpoint"):
            run(photo_config(photographs, tiny_folder), tmp_path / "run", mode="eval")
        assert not (tmp_path / "run").exists()

    def test_missing(self, photographs, tiny_folder, trained):
        with pytest.raises(UserError, match="does not exist"):
            run(
                photo_config(photographs, tiny_folder),
                trained,
                mode="eval",
                checkpoint=trained / "checkpoints" / "9999",
            )

    def test_of_another_method(self, photographs, tiny_folder, trained):
        with pytest.raises(UserError, match=r"config\.method"):
            run(photo_config(photographs, tiny_folder, method="lora"), trained, mode="eval")

    def test_corrupt(self, photographs, tiny_folder, trained, tmp_path):
        damaged = tmp_path / "damaged"
        shutil.copytree(trained, damaged)
        files = [path for path in (damaged / "checkpoints").rglob("*") if path.is_file()]
        for file in files:
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        with pytest.raises(UserError, match=r"damaged or incomplete|no checkpoint"):
            run(photo_config(photographs, tiny_folder), damaged, mode="eval")


class TestSweep:
    def test_means_over_seeds(self):
        runs = [
            {"plain": {"accuracy": a, "mean_acc": a, "many_acc": a, "med_acc": a, "few_acc": None}}
            for a in (40.0, 50.0)
        ]
        lines = sweep.summary({"lift": runs}).splitlines()
        assert "45.0" in lines[1] and lines[1].split()[-1] == "-"

    def test_a_key_of_the_command_line_is_not_one_of_its_grid_too(self, tmp_path):
        config = lift_config.default()
        config.sweep = "method=zero_shot,head_only seed=0,1"
        with pytest.raises(UserError, match=r"config\.seed and config\.sweep"):
            sweep.run(config, tmp_path, by_hand=["seed", "sweep"])

    def test_a_backbone_that_is_not_there_is_told_before_the_first_run(self, photographs, tiny_folder, tmp_path):
        config = photo_config(photographs, tiny_folder)
        config.sweep = f"backbone={tiny_folder},{tmp_path / 'none'} method=head_only"
        with pytest.raises(UserError, match="none does not exist"):
            sweep.run(config, tmp_path / "runs")
        assert not (tmp_path / "runs").exists()

    def test_a_finished_run_is_not_run_again(self, photographs, tiny_folder, tmp_path, capsys):
        config = photo_config(photographs, tiny_folder)
        config.sweep = "method=zero_shot,head_only seed=0,1"
        sweep.run(config, tmp_path, by_hand=["seed"])
        folders = sorted(path.name for path in tmp_path.iterdir())
        assert folders == ["head_only", "zero_shot"]
        first = capsys.readouterr().out.splitlines()[-3:]
        times = [(tmp_path / name / "eval.json").stat().st_mtime_ns for name in folders]
        sweep.run(config, tmp_path, by_hand=["seed"])
        assert [(tmp_path / name / "eval.json").stat().st_mtime_ns for name in folders] == times
        assert capsys.readouterr().out.splitlines()[-3:] == first


def test_nearest_key_looks_at_the_last_part_too():
    keys = lift_config.flatten(lift_config.default())
    assert nearest_key("expand", keys) == "tte.expand"
    assert nearest_key("data.epochs", keys) == "num_epochs"


def test_a_config_of_the_project_is_found_from_anywhere_and_printed(tmp_path):
    for form in ["--config", "configs/cifar100_lt.py:50"], ["--config=cifar100_lt.py:50"]:
        done = start(*form, "--config.seed=3", "--print_config", cwd=tmp_path)
        printed = dict(line.split("=", 1) for line in done.stdout.splitlines())
        assert (printed["--config.data.imbalance"], printed["--config.seed"]) == ("50", "3")
        assert len(printed) == len(lift_config.flatten(lift_config.default()))


def test_help_tells_of_every_flag():
    done = start("--help")
    assert done.returncode == 0
    own = {flag.name for flag in flags.FLAGS.get_flags_for_module("lift_jax.main")}
    assert own == set(re.findall(r"^  --(\w+):", done.stdout, re.M)) and "--print_config" in done.stdout


def test_a_config_where_the_user_is_comes_first(tmp_path):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "inat.py").write_text("def get_config():\n    raise ValueError('mine')\n")
    done = start("--config", "configs/inat.py", cwd=tmp_path)
    assert done.returncode == 1 and "ValueError: mine" in done.stderr
