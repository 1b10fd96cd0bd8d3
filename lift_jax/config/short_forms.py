"""What a person writes in short, as the flags that it stands for."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from lift_jax.data import archives, layouts
from lift_jax.data.hub_datasets import located
from lift_jax.data.reading import is_file, is_folder
from lift_jax.errors import UserError

_FOLDER = "configs/folder.py"
_RUN = Path(__file__).parents[1] / "workdir" / "as_config.py"


class Words(NamedTuple):
    """The words after a program's name, all of them flags.

    Attributes:
        words: the flags.
        said: a sentence that says what was chosen; "" where nothing was.
    """

    words: list[str]
    said: str = ""


def expand(words: Sequence[str]) -> Words:
    """Writes out a first word that is a folder: of one's images, or with --mode=eval, of a run.

    Without --config, images take configs/folder.py, and a run that is evaluated takes its own config. Before all else
    may stand `--sweep GRID`, which is config.sweep.

    Args:
        words: those after the program's name.

    Raises:
        UserError: if the folder is not there, or it is not clear which of its folders are splits and which classes; or
            if no grid follows --sweep.
    """
    if words[:1] == ["--sweep"]:
        grid = words[1] if len(words) > 1 else ""
        if grid.startswith("-") or "=" not in grid:
            raise UserError(
                "A sweep begins with its grid, KEY=VALUE,VALUE for each key, as in "
                "lift_jax sweep 'method=lift,lora seed=0,1' photos."
            )
        rest = expand(words[2:])
        return Words([*rest.words, f"--config.sweep={grid}"], rest.said)
    flags, named = [word for word in words if word != "--mode=eval"], ""
    evaluates = _value(words, "mode") == "eval"
    if flags and not flags[0].startswith("-") and not flags[0].partition(":")[0].endswith(".py"):
        named = flags.pop(0)
    if not evaluates:
        return _images(named, flags) if named else Words(flags)
    flags = ["--mode=eval", *([f"--workdir={named}"] if named else []), *flags]
    run = _value(flags, "workdir")
    if run and _value(flags, "config") is None:
        flags.insert(0, f"--config={_RUN}:{run}")
    return Words(flags)


def _images(folder: str, flags: list[str]) -> Words:
    """Adds the flags for a folder of images, or what else holds them, to those that are given."""
    where = located(folder, "The folder of your images")
    if not (is_folder(where) or is_file(where)):
        raise UserError(
            f"There is no folder {folder!r}; name that of your images, which has a folder for each class, or a config "
            "with --config FILE."
        )
    if is_file(where) and not archives.divide(where) and layouts.detect(where) == "folder":
        raise UserError(
            f"{folder} is a file, not a folder of images; name the folder that its paths start from, and if it is a "
            f"table of paths and labels, it with --config.data.format=csv --config.data.train_list={folder}."
        )
    given = {word.lstrip("-").partition("=")[0] for word in flags}
    root = f"--config.data.root={folder}"
    if "config" in given:
        return Words([*flags, root])
    added, said = [f"--config={_FOLDER}", root], f"{folder} is trained on with {_FOLDER}"
    if not given & {"config.data.format", "config.data.train_list", "config.data.test_list"}:
        train, test = layouts.splits(where)
        if test:
            said += f": {train} is the training set, {test} the test set"
        elif "config.data.val_fraction" not in given:
            added.append("--config.data.val_fraction=0.2")
            said += ": a fifth of each class is the test set (config.data.val_fraction=0.2)"
    if "config.backbone" not in given:
        said += ". The backbone is CLIP ViT-B/16; --config.backbone=clip-b32 takes a quarter of its time"
    return Words([*added, *flags], f"{said}.")


def _value(words: Sequence[str], flag: str) -> str | None:
    """Gives the value of a flag, written as --flag=value or --flag value; None if it is not there."""
    for word, following in zip(words, [*words, ""][1:], strict=True):
        name, equals, value = word.partition("=")
        if name in (f"--{flag}", f"-{flag}"):
            return value if equals else following
    return None
