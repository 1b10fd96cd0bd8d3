"""Flags to values, and mistakes in them to sentences."""

import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import ml_collections
from absl import app, flags

from lift_jax import config as lift_config
from lift_jax.config import short_forms
from lift_jax.config.keys import nearest_key
from lift_jax.errors import UserError, first_line, interrupted, print_error, quiet, reason, show_everything
from lift_jax.text import printable

_CONFIGS = Path(__file__).parent / "configs"
_EXAMPLE = "--config configs/folder.py"
_CONFIG_FLAGS = ("--config", "-config")


def run(main: Callable[[Sequence[str]], None], doc: str | None, own: Sequence[flags.FlagHolder]) -> None:
    """Runs a program as absl does; a `UserError` is printed as a sentence and ends it with status 1.

    What was written in short is written out first (see `lift_jax.config.short_forms`).

    Args:
        main: the program, which gets the arguments that belong to no flag.
        doc: its docstring, which --help prints before the flags; absl would print that of the console script, and end
            with status 1.
        own: its flags.
    """
    sys.argv[1:] = quiet.without_flag(sys.argv[1:])
    if {"-h", "-help", "--help"} & set(sys.argv):
        print(doc or "")
        for flag in own:
            print(flags.text_wrap(f"--{flag.name}: {flags.FLAGS[flag.name].help}", 100, "      ", "  "))
        return
    from lift_jax.workdir.logs import Logs  # --help does without

    show_everything()
    try:
        with Logs(None, to_stderr=True):
            sys.argv[1:], said = short_forms.expand(sys.argv[1:])
        if said and quiet.says(quiet.What.SENTENCE):
            print(said, file=sys.stderr, flush=True)
        app.run(main, flags_parser=parse)
    except UserError as error:
        print_error(error)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(interrupted())


def parse(argv: Sequence[str]) -> list[str]:
    """Parses the flags as absl does, but every mistake becomes a `UserError`.

    A config file that is not where the user is, is looked for among those of the project.

    Raises:
        UserError: if a flag or config key is unknown, with the nearest right one; if a value has the wrong type; or if
            the config file is missing or fails.
    """
    try:
        rest = flags.FLAGS(_with_config_found(argv))
        if flags.FLAGS["config"].present:
            _check(flags.FLAGS.config, argv)  # a file that could not be loaded says so only when it is used
        return rest
    except UserError:
        raise
    except flags.Error as error:
        inside = _in_the_file(error)
        raise UserError(_flag_sentence(error) if inside is None else _file_sentence(inside, argv)) from error
    except (AttributeError, KeyError) as error:
        raise UserError(_key_sentence(error, argv) if _of_a_key(error) else _file_sentence(error, argv)) from error
    except Exception as error:
        inside = _in_the_file(error)
        if inside is None and _unknown_keys(argv):  # such as one inside a value: config.dtype.x
            raise UserError(_key_sentence(error, argv)) from error
        raise UserError(_file_sentence(inside or error, argv)) from error


def _check(config: object, argv: Sequence[str]) -> None:
    """Refuses what get_config gave if it is no config of lift_jax."""
    # One that could not be loaded raises the reason here.
    if getattr(config, "method", None) is None or not isinstance(config, ml_collections.ConfigDict):
        raise UserError(
            f"get_config in {_config_file(argv)} gives {printable(repr(config), 60)}, which is no config of lift_jax; "
            "let it start from lift_jax.config.default(), as the files in configs/ do."
        )


def _config_file(argv: Sequence[str]) -> str:
    """Finds the config file among the arguments."""
    following = dict(zip(argv, [*argv[1:], ""], strict=True))
    given = [word.partition("=")[2] or following[word] for word in argv if word.partition("=")[0] in _CONFIG_FLAGS]
    return given[-1].partition(":")[0] if given else ""


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yields an exception, and those that it was raised from or in the handling of."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _in_the_file(error: BaseException) -> BaseException | None:
    """Finds the exception that passed through get_config, or None."""
    return next((each for each in _chain(error) if _place(each)), None)


def _of_a_key(error: Exception) -> bool:
    """Says whether ConfigDict raised the exception, for a key that it does not have."""
    frames = traceback.extract_tb(error.__traceback__)
    return Path(frames[-1].filename).parts[-2:-1] in (("config_dict",), ("config_flags",)) and "get_config" not in str(
        error
    )


def _with_config_found(argv: Sequence[str]) -> list[str]:
    """Puts the project's file in the place of a config `[configs/]NAME.py[:ARGUMENT]` that is not where the user is."""
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


def _unknown_keys(argv: Sequence[str]) -> list[str]:
    """Finds the keys among the arguments that no config has."""
    keys = lift_config.flatten(lift_config.default())
    sections = {key.rpartition(".")[0] for key in keys}
    given = [match.group(1) for arg in argv if (match := re.match(r"--?config\.([\w.]+)", arg))]
    return [key for key in given if key not in keys and key not in sections]


def _key_sentence(error: Exception, argv: Sequence[str]) -> str:
    """Says which key there is not, and which is the nearest."""
    if unknown := _unknown_keys(argv):
        name = unknown[0]
    else:  # in the config file
        quoted = re.search(r'instead of "([^"]+)"', str(error)) or re.search(r"(\w+)", str(error))
        name = quoted.group(1) if quoted else str(error)
    near = nearest_key(name, lift_config.flatten(lift_config.default()))
    return f"There is no config key {name!r}{_place(error)}; the nearest is config.{near}."


def _file_sentence(error: BaseException, argv: Sequence[str]) -> str:
    """Says what is wrong with the config file."""
    file = _config_file(_with_config_found(argv))
    if not os.path.exists(file):
        known = ", ".join(f"configs/{path.name}" for path in sorted(_CONFIGS.glob("*.py")))
        return f"The config file {file} does not exist; those of the project are {known}."
    if isinstance(error, OSError) and not _place(error):
        why = reason(next(each for each in reversed(list(_chain(error))) if isinstance(each, OSError)))
        return f"The config file {file} cannot be read ({why}); name another with --config."
    if isinstance(error, AttributeError) and "get_config" in str(error):
        return f"The config file {file} has no function get_config; write one that gives a config, as in configs/."
    if isinstance(error, SyntaxError):
        return f"The config file {file} is no Python: {error}."
    said = first_line(error) if isinstance(error, Exception) else str(error)
    return f"The config file {file} cannot be used{_place(error)}: {type(error).__name__}: {said.rstrip('.')}."


def _flag_sentence(error: flags.Error) -> str:
    """Says what is wrong with a flag, in absl's words without the traceback that may be in them."""
    if isinstance(error, flags.UnrecognizedFlagError) and error.flagname.startswith("config."):
        return (
            f"--{error.flagname} is for a config, and none is given; write --config FILE, such as {_EXAMPLE}, or the "
            "folder of your images as the first word."
        )
    message, _, trace = str(error).partition("Error whilst parsing config file:")
    if trace:
        message += trace.strip().splitlines()[-1]
    message = " ".join(message.split())
    wrong = re.match(r"flag --(config[\w.]*)=(.*?): (.*)", message)
    if wrong:
        key, value, why = wrong.groups()
        takes = f"lift_jax/config/defaults.py says what {key} takes"
        remedy = takes if "." in key else "write --config FILE[:ARGUMENT]"
        return f"--{key}={value} does not fit: {why.rstrip('.')}; {remedy}."
    return f"{message.rstrip('.')}; see --help."


def _place(error: BaseException) -> str:
    """Says where in the config file it happened, or nothing if it happened elsewhere."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.name == "get_config"]
    return f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
