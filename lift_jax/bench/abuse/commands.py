"""Commands on a finished run that must be refused, and must change nothing then; and disks that are full."""

import contextlib
import hashlib
import io
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

from lift_jax import main as program
from lift_jax.bench.abuse.cases import Case, Grammar, Setting
from lift_jax.bench.abuse.config_values import parse
from lift_jax.bench.abuse.full_disk import full_disk
from lift_jax.bench.abuse.setting import STEPS
from lift_jax.errors import UserError
from lift_jax.export.__main__ import main as export
from lift_jax.predict import main as predict
from lift_jax.report.__main__ import main as report

Snapshot = dict[str, str]

_LAST = f"checkpoints/{STEPS}/_CHECKPOINT_METADATA"
_LOGS = ("console.log", "tensorboard")
"""What a command may add to, whatever comes of it."""


class SpoiltError(Exception):
    """Raised if a refused command has changed a run."""


def snapshot(folder: Path) -> Snapshot:
    """Hashes every file of a folder but for its logs."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.relative_to(folder).parts[0] not in _LOGS
    }


@contextlib.contextmanager
def untouched(folder: Path) -> Iterator[None]:
    """Checks that a command that is refused inside of the block leaves a folder as it is.

    Raises:
        SpoiltError: if it does not.
    """
    before = snapshot(folder)
    try:
        yield
    except UserError as error:
        after = snapshot(folder)
        changed = sorted(name for name in {**before, **after} if before.get(name) != after.get(name))
        if changed:
            raise SpoiltError(f"{', '.join(changed)} changed, though it was refused: {error}") from error
        raise


def _train(*words: str) -> None:
    program.main(parse(*words))


def _said(command: Callable[[Sequence[str]], int], words: Sequence[str]) -> str:
    """Runs a command that prints its error, and gives what it printed.

    Raises:
        UserError: with the sentence, if it failed with one.
    """
    printed, complaint = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(complaint):
        status = command(words)
    if status:
        told = [line for line in complaint.getvalue().splitlines() if line.startswith("error: ")]
        if status != 1 or len(told) != 1:
            raise RuntimeError(f"status {status}: {complaint.getvalue()}")
        raise UserError(told[0].removeprefix("error: "))
    return printed.getvalue()


def _own(setting: Setting) -> dict[str, str]:
    """Gives the run's config as arguments of the command line."""
    return {
        "backbone": str(setting.backbone), "num_epochs": "2", "batch_size": "8", "eval_batch_size": "4",
        "log_every": "1",
        "method": "head_only", "data.name": "photos", "data.format": "folder", "data.root": str(setting.photos),
        "data.val_fraction": "0.2", "tte.enabled": "False",
    }  # fmt: skip


def _case(
    setting: Setting, mode: str, changes: dict[str, str], names: tuple[str, ...], more: Sequence[str] = ()
) -> Case:
    """Makes a command on a copy of the run that must be refused, and must leave the copy as it was."""

    def attempt(changed: dict[str, str], others: Sequence[str]) -> Callable[[Path], Any]:
        def given(place: Path) -> Any:
            run = place / "run"
            shutil.copytree(setting.run, run)
            flags = [f"--config.{key}={value}" for key, value in {**_own(setting), **changed}.items()]
            with untouched(run):
                _train("--config", "configs/folder.py", "--workdir", str(run), "--mode", mode, *flags, *others)
            after = snapshot(run)
            return [after.get(name) for name in ("eval.json", "predictions.npz", _LAST)]

        return given

    before = snapshot(setting.run)
    same = [before.get(name) for name in ("eval.json", "predictions.npz", _LAST)]
    valid = Case(f"--mode {mode} again", attempt({}, ()), (same,))
    said = ", ".join([*(f"config.{key}={value}" for key, value in changes.items()), *more])
    return Case(f"--mode {mode} with {said}", attempt(changes, more), (), names, valid=valid)


_FIXED = {
    "method": ("lora", "zero_shot", "lift", "full_tuning"), "head": ("linear", "l2_norm"), "head_scale": ("10",),
    "batch_size": ("4", "16"), "lr": ("0.5",), "seed": ("1",), "loss": ("CE", "Focal"), "tau": ("3",),
    "momentum": ("0.5",),
    "weight_decay": ("0.1",), "schedule": ("cosine_step",), "crop": ("square",), "data.imbalance": ("2",),
    "data.val_fraction": ("0.4",), "data.sampler": ("balanced",), "data.randaugment": ("2",), "head_init": ("random",),
    "prompt": ("a bad photo of a {}.",), "backbone": ("quickstart?",), "resolution": ("64",), "num_epochs": ("1",),
}  # fmt: skip
"""What a finished run cannot have another value of, in either mode or in training."""

_IN_BOTH = ("method", "head", "head_scale", "backbone", "resolution")


def another_config(random: Random, setting: Setting) -> Case:
    """Gives the run's command another value of a key that made the run what it is."""
    key = random.choice(list(_FIXED))
    value = random.choice(_FIXED[key])
    mode = random.choice(["train", "eval"]) if key in _IN_BOTH else "train"
    return _case(
        setting, mode, {key: value}, (f"config.{key}", "backbone") if key == "backbone" else (f"config.{key}",)
    )


def two_configs(random: Random, setting: Setting) -> Case:
    """Changes a fixed key together with one that may change, of which nothing must stay behind."""
    key = random.choice(["method", "head", "head_scale"])
    also = random.choice([("log_every", "3"), ("tte.expand", "4"), ("data.exif_rotate", "True"), ("keep", "5")])
    changes = {key: _FIXED[key][0], also[0]: also[1]}
    return _case(setting, random.choice(["train", "eval"]), changes, (f"config.{key}",))


def a_value_that_is_refused(random: Random, setting: Setting) -> Case:
    """Gives a finished run a value that no run takes."""
    key, value = random.choice([
        ("lr", "nan"), ("num_epochs", "0"), ("loss", "x"), ("tte.views", "0"), ("eval_batch_size", "0"),
        ("data.root", "/nope"),
        ("data.format", "x"), ("backbone", "/nope"), ("prompt", "{"), ("keep", "0"), ("data.val_fraction", "2"),
        ("head", "x"),
        ("data.class_names", "/nope.txt"),
    ])  # fmt: skip
    names = (f"config.{key}", "/nope") if value.startswith("/") else (f"config.{key}",)
    return _case(setting, random.choice(["train", "eval"]), {key: value}, names)


def a_checkpoint(random: Random, setting: Setting) -> Case:
    """Names a checkpoint that does not exist, or that belongs to the other mode."""
    name = random.choice(
        ["/nope", "nope/4", "/dev/null", ".", str(setting.photos), str(setting.photos / "bee" / "bee0.png"), "\0"]
    )
    mode = random.choice(["train", "eval", "eval"])
    told = (name, "--checkpoint") if len(name) > 1 else ("--checkpoint",)
    return _case(setting, mode, {}, ("--checkpoint",) if mode == "train" else told, ("--checkpoint", name))


def an_output(random: Random, setting: Setting) -> Case:
    """Asks for an output that cannot be written: on a full disk, in the place of a folder, below a file."""
    image = str(setting.photos / "bee" / "bee0.png")
    commands: dict[str, tuple[Callable, list[str], str]] = {
        "predict": (predict, ["--workdir", "RUN", "--output", "OUTPUT", image], "output.csv"),
        "report": (report, ["RUN"], "report.html"),
        "compare": (report, ["compare", "RUN", "--output", "OUTPUT"], "output.html"),
        "export": (export, ["--workdir", "RUN", "--format", "safetensors", "--no-check", "--output",
        "OUTPUT"], "output"),
    }  # fmt: skip
    what = random.choice(list(commands))
    command, words, name = commands[what]
    way = random.choice(["full", "full", "folder", "below a file"] if what not in ("report",) else ["full", "folder"])
    if what == "export" and way == "folder":
        way = "below a file"
    room = random.choice([0, 10])

    def attempt(fault: str | None) -> Callable[[Path], Any]:
        def given(place: Path) -> Any:
            run, output = place / "run", place / "out" / name
            shutil.copytree(setting.run, run)
            output.parent.mkdir()
            if fault == "folder":
                blocked = run / "report.html" if what == "report" else output
                blocked.unlink(missing_ok=True)
                blocked.mkdir()
                (blocked / "kept").touch()
            elif fault == "below a file":
                output.parent.rmdir()
                output.parent.touch()
            filled = [{"RUN": str(run), "OUTPUT": str(output)}.get(word, word) for word in words]
            with untouched(place), full_disk(room) if fault == "full" else contextlib.nullcontext():
                _said(command, filled)
            return (run / "report.html" if what == "report" else output).exists()

        return given

    names = {"report": ("report",), "export": ("output", "run.safetensors", "/out")}.get(what, (name, "/out"))
    valid = Case(f"{what} to a place that is free", attempt(None), (True,))
    return Case(f"{what}: {way}, room for {room} bytes", attempt(way), (), names, valid=valid)


GRAMMAR = Grammar(
    "commands", (another_config, an_output, a_checkpoint, a_value_that_is_refused, two_configs, another_config)
)
