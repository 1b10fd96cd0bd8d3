"""Flags to values, and mistakes in them to sentences."""

import difflib
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from absl import app, flags
from ml_collections import config_flags

from lift_jax import config as lift_config
from lift_jax.errors import UserError, print_error

_CONFIGS = Path(__file__).parent / "configs"
_CONFIG_FLAGS = ("--config", "-config")
_ALSO_CALLED = {
    "learning_rate": "lr",
    "epochs": "num_epochs",
    "model": "backbone",
    "dataset": "data.name",
    "image_size": "resolution",
    "wd": "weight_decay",
}
"""What other programs call some keys."""


def run(main: Callable[[Sequence[str]], None], doc: str | None, own: Sequence[flags.FlagHolder]) -> None:
    """Runs a program as absl does; a `UserError` is printed as a sentence and ends it with status 1.

    Args:
        main: the program, of the arguments that belong to no flag.
        doc: its docstring, and
        own: its flags: what --help prints. absl would tell of the console script instead, and end with status 1.
    """
    if {"-h", "-help", "--help"} & set(sys.argv):
        print(doc or "")
        for flag in own:
            print(flags.text_wrap(f"--{flag.name}: {flags.FLAGS[flag.name].help}", 100, "      ", "  "))
        return
    try:
        app.run(main, flags_parser=parse)
    except UserError as error:
        print_error(error)
        sys.exit(1)


def parse(argv: Sequence[str]) -> list[str]:
    """Parses the flags as absl does, but every mistake becomes a `UserError`.

    A config file that is not where the user is, is looked for among those of the project.

    Raises:
        UserError: an unknown flag or config key, with the nearest right one; a value of the wrong type; a config file
            that is missing or fails.
    """
    try:
        rest = flags.FLAGS(_with_config_found(argv))
        if flags.FLAGS["config"].present:
            flags.FLAGS.config.method  # noqa: B018  # a file that could not be loaded says so only when it is used
        return rest
    except UserError:
        raise
    except flags.Error as error:
        raise UserError(_flag_sentence(str(error))) from error
    except (AttributeError, KeyError) as error:
        # ConfigDict raises these for keys that it does not have, in the file and on the command line.
        raise UserError(_key_sentence(error, argv)) from error
    except OSError as error:
        file = config_flags.get_config_filename(flags.FLAGS["config"])
        if not os.path.exists(file):
            known = ", ".join(f"configs/{path.name}" for path in sorted(_CONFIGS.glob("*.py")))
            raise UserError(f"The config file {file} does not exist; those of the project are {known}.") from error
        raise UserError(f"The config file {file} cannot be read: {error.strerror or error}.") from error
    except Exception as error:
        raise UserError(f"The config cannot be read: {type(error).__name__}: {error}{_place(error)}.") from error


def _with_config_found(argv: Sequence[str]) -> list[str]:
    """The arguments, with the project's file for a config `[configs/]NAME.py[:ARGUMENT]` that the user has not."""
    found, value_follows = list(argv), False
    for index, word in enumerate(argv):
        flag, equals, value = word.partition("=")
        if value_follows or (equals and flag in _CONFIG_FLAGS):
            file, colon, argument = (word if value_follows else value).partition(":")
            own = _CONFIGS / file.removeprefix("configs/")
            if not os.path.exists(file) and own.is_file():
                found[index] = f"{'' if value_follows else flag + equals}{own}{colon}{argument}"
        value_follows = word in _CONFIG_FLAGS and not value_follows
    return found


def nearest_key(key: str, keys: Iterable[str]) -> str:
    """The key, with its path, that is most like `key`: by the whole path, or by its last part alone."""
    keys, last = list(keys), key.rpartition(".")[2]
    if _ALSO_CALLED.get(last) in keys:
        return _ALSO_CALLED[last]
    leaves = {k.rpartition(".")[2]: k for k in keys}
    for cutoff in 0.6, 0.0:
        close = difflib.get_close_matches(key, keys, 1, cutoff)
        of_leaves = difflib.get_close_matches(last, leaves, 1, max(cutoff, 0.6))
        if close or of_leaves:
            return close[0] if close else leaves[of_leaves[0]]
    return keys[0]


def _key_sentence(error: Exception, argv: Sequence[str]) -> str:
    keys = lift_config.flatten(lift_config.default())
    sections = {key.rpartition(".")[0] for key in keys}
    given = [match.group(1) for arg in argv if (match := re.match(r"--?config\.([\w.]+)", arg))]
    unknown = [key for key in given if key not in keys and key not in sections]
    if unknown:
        name = unknown[0]
    else:  # in the config file
        quoted = re.search(r'instead of "([^"]+)"', str(error)) or re.search(r"(\w+)", str(error))
        name = quoted.group(1) if quoted else str(error)
    near = nearest_key(name, keys)
    return f"There is no config key {name!r}{_place(error)}; the nearest is config.{near}."


def _flag_sentence(message: str) -> str:
    message = " ".join(message.split())
    wrong = re.match(r"flag --(config[\w.]*)=(.*?): (.*)", message)
    if wrong:
        key, value, reason = wrong.groups()
        return f"--{key}={value} does not fit: {reason.rstrip('.')}; lift_jax/config.py says what {key} takes."
    return f"{message.rstrip('.')}; see --help."


def _place(error: Exception) -> str:
    """Where in the config file it happened, if there."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.name == "get_config"]
    return f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
