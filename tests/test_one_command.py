"""The one command with sub-commands, and what a person may write in short."""

import functools
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import started_commands

import lift_jax.__main__ as top
import lift_jax.bench.__main__ as bench
from lift_jax import config as lift_config
from lift_jax.config import short_forms
from lift_jax.errors import UserError
from lift_jax.version import __version__
from lift_jax.workdir.as_config import get_config as run_config

ROOT = Path(__file__).parents[1]


start = functools.partial(started_commands.start, "lift_jax")


def folders(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).mkdir(parents=True)
    return root


@pytest.mark.parametrize("words", [["--help"], ["backbones"]])
def test_a_reader_that_has_gone_is_no_mistake(words):
    process = subprocess.Popen(
        [sys.executable, "-m", "lift_jax", *words], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert (process.wait(timeout=120), process.stderr.read()) == (0, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no full device")
@pytest.mark.parametrize("words", [["--help"], ["backbones"]])
def test_a_full_disk_under_the_output_is_a_sentence(words):
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-m", "lift_jax", *words], cwd=ROOT, stdout=full, stderr=subprocess.PIPE)
    said = "error: Standard output cannot be written (No space left on device); make room, or name another file.\n"
    assert (done.returncode, done.stderr.decode()) == (1, said)


def test_the_help_fits_a_screen_and_imports_nothing_large():
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "lift_jax", "--help"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) <= 40 and max(map(len, done.stdout.splitlines())) <= 120
    assert set(re.findall(r"^  (\w+)  +\w", done.stdout, re.M)) == set(top.COMMANDS)
    loaded = set(re.findall(r"\| +(\w+)$", done.stderr, re.M))
    assert "runpy" in loaded and not loaded & {"jax", "numpy", "absl", "ml_collections", "matplotlib"}


@pytest.mark.parametrize("name", ["report", "compare", "predict", "serve", "push", "calibrate", "export", "doctor"])
def test_the_help_of_a_command_waits_for_nothing_large_and_has_no_colours(name):
    module, _, first = top.COMMANDS[name]
    code = (
        "import runpy, sys\ntry: runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)\n"
        "finally: print({'jax', 'flax', 'grain', 'matplotlib', 'tensorflow'} & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, module, *first, "--help"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "set()\n")
    assert "usage: " in done.stdout and "\x1b" not in done.stdout


def test_import_lift_jax_imports_nothing_large():
    code = "import sys, lift_jax; print({'jax', 'numpy', 'absl', 'flax'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True).stdout == "set()\n"


@pytest.mark.parametrize("commands", [top.COMMANDS, bench.COMMANDS], ids=["lift_jax", "lift_jax bench"])
def test_every_command_is_a_module_that_can_be_run(commands):
    for command in commands.values():
        place = ROOT / command.module.replace(".", "/")
        assert place.with_suffix(".py").is_file() or (place / "__main__.py").is_file(), command


def test_an_unknown_command_names_the_nearest():
    done = start("predcit")
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"error: lift_jax has no command 'predcit'; the nearest is predict, .*\n", done.stderr)


def test_a_command_is_the_module_with_the_words_after_it():
    assert "no command 'steps'; the nearest is step" in start("bench", "steps").stderr
    table = start("backbones", "--markdown").stdout
    assert table.startswith("| name |") and "`clip-b16`" in table
    known = json.loads(start("backbones", "--json").stdout)
    assert all(f"`{each['name']}`" in table and f"`{each['hub_id']}`" in table for each in known)
    assert len(known) == len(table.splitlines()) - 2


def test_words_that_a_command_does_not_know_are_one_sentence():
    done = start("backbones", "--nosuch")
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"error: Unrecognized arguments: --nosuch; see .* --help\.\n", done.stderr)


def test_the_version():
    assert start("--version").stdout == f"lift_jax {__version__}\n"


def test_a_sweep_begins_with_its_grid(tmp_path):
    root = str(folders(tmp_path, "cat", "dog"))
    words, said = short_forms.expand(["--sweep", "seed=0,1", root, "--config.backbone=clip-b32"])
    assert words[1] == f"--config.data.root={root}" and words[-1] == "--config.sweep=seed=0,1"
    assert said.startswith(f"{root} is trained on")
    assert short_forms.expand(["--sweep", "lr=1", "--config", "mine.py"]).words[:2] == ["--config", "mine.py"]
    for words in ["--sweep"], ["--sweep", root], ["--sweep", "--config=mine.py"]:
        with pytest.raises(UserError, match="A sweep begins with its grid"):
            short_forms.expand(words)


def test_flags_alone_are_those_of_train(tmp_path):
    done = start("--config", "inat.py", "--config.seed=3", "--print_config", cwd=tmp_path)
    assert "--config.seed=3\n" in done.stdout and "--config.data.level='species'" in done.stdout


def test_a_folder_takes_the_config_for_folders_and_says_what_was_chosen(tmp_path):
    folders(tmp_path, "photos/cat", "photos/dog")
    done = start("train", "photos", "--config.lr=0.5", "--print_config", cwd=tmp_path)
    printed = dict(line.split("=", 1) for line in done.stdout.splitlines())
    assert printed["--config.data.root"] == "'photos'" and printed["--config.data.format"] == "'folder'"
    assert printed["--config.data.val_fraction"] == "0.2" and printed["--config.lr"] == "0.5"
    assert done.stderr.count("\n") == 1 and "photos" in done.stderr and "a fifth" in done.stderr


def test_a_folder_with_splits_keeps_them(tmp_path):
    root = str(folders(tmp_path, "train/cat", "train/dog", "val/cat", "val/dog"))
    words, said = short_forms.expand([root, "--config.backbone=clip-b32"])
    assert words == ["--config=configs/folder.py", f"--config.data.root={root}", "--config.backbone=clip-b32"]
    assert re.search("train is the training set, val the test set", said) and "backbone" not in said


def test_an_archive_or_files_of_the_hub_do_as_well(tmp_path):
    root = folders(tmp_path / "photos", "train/cat", "train/dog", "val/cat", "val/dog")
    for folder in root.glob("*/*"):
        (folder / "0.jpg").touch()
    archive = shutil.make_archive(str(tmp_path / "photos"), "zip", tmp_path, "photos")
    (tmp_path / "hub" / "data").mkdir(parents=True)
    for split in "train", "validation":
        (tmp_path / "hub" / "data" / f"{split}-00000-of-00001.parquet").touch()
    for each, test in (root, "val"), (archive, "val"), (tmp_path / "hub", "validation"):
        words, said = short_forms.expand([str(each)])
        assert words == ["--config=configs/folder.py", f"--config.data.root={each}"]
        assert f"train is the training set, {test} the test set" in said
    with pytest.raises(
        UserError, match=r"notes\.csv is a file, not a folder .*format=csv --config\.data\.train_list=\S*csv\."
    ):
        (tmp_path / "notes.csv").touch()
        short_forms.expand([str(tmp_path / "notes.csv")])


def test_what_is_given_with_a_folder_stays(tmp_path):
    root = str(folders(tmp_path, "cat", "dog"))
    given = ["--config.data.val_fraction=0.5"]
    words, _ = short_forms.expand([root, *given])
    assert words == ["--config=configs/folder.py", f"--config.data.root={root}", *given]
    assert short_forms.expand([root, "--config", "mine.py"]).words == ["--config", "mine.py", words[1]]


def test_a_run_that_is_evaluated_brings_its_config():
    config = f"--config={ROOT / 'lift_jax/workdir/as_config.py'}:runs/a"
    evaluated = [config, "--mode=eval", "--workdir=runs/a", "--config.tte.enabled=false"]
    assert short_forms.expand(["--mode=eval", "runs/a", "--config.tte.enabled=false"]).words == evaluated
    separate = ["--workdir", "runs/a", "--mode", "eval"]
    assert short_forms.expand(separate).words[0] == config
    own = ["--config=mine.py", "--mode=eval", "--workdir=runs/a"]
    assert sorted(short_forms.expand(own).words) == sorted(own)


@pytest.mark.parametrize("words", [[], ["--config=x"], ["configs/inat.py"], ["--workdir", "runs/a"], ["--mode=eval"]])
def test_other_words_stay_as_they_are(words):
    assert short_forms.expand(words) == (words, "")


def test_a_folder_that_is_not_there_is_named():
    with pytest.raises(UserError, match=r"no folder 'phtos'.*--config FILE"):
        short_forms.expand(["phtos"])


def test_eval_of_a_folder_that_is_no_run_says_so(tmp_path):
    done = start("eval", ".", cwd=tmp_path)
    assert done.returncode == 1
    assert re.fullmatch(r"error: \. is no run of lift_jax: it has no config\.json\.\n", done.stderr)


def test_the_config_of_a_run_can_be_had_and_changed(tmp_path):
    config = lift_config.default()
    config.update(lr=0.5, num_epochs=7)
    (tmp_path / "config.json").write_text(json.dumps(lift_config.resolve(config).to_dict()))
    again = run_config(str(tmp_path))
    assert (again.lr, again.num_epochs, again.tau) == (0.5, 7, 1.0)
    again.lr = 0.25
    with pytest.raises(AttributeError):
        again.learning_rate = 1
    with pytest.raises(UserError, match="FILE:RUN"):
        run_config()
