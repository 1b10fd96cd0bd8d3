"""Flags to values, and mistakes in them to sentences."""

import difflib
import re
import traceback
from collections.abc import Iterable, Sequence

from absl import flags

from lift_jax.errors import UserError


def parse(argv: Sequence[str]) -> list[str]:
    """Parses the flags as absl does, but every mistake becomes a `UserError`.

    Raises:
        UserError: an unknown flag or config key, with the nearest right one; a value of the wrong type; a config file
            that is missing or fails.
    """
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        raise UserError(_flag_sentence(str(error))) from error
    except (AttributeError, KeyError) as error:
        # ConfigDict raises these for keys that it does not have, in the file and on the command line.
        raise UserError(_key_sentence(error)) from error
    except FileNotFoundError as error:
        raise UserError(f"The config file {error.filename} does not exist; see configs/ for those that do.") from error
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"The config cannot be read: {type(error).__name__}: {error}{_place(error)}.") from error


def nearest_key(key: str, keys: Iterable[str]) -> str | None:
    """The key, with its path, that is most like `key`: by the whole path, or by its last part alone."""
    keys = list(keys)
    close = difflib.get_close_matches(key, keys, 1, cutoff=0.6)
    if close:
        return close[0]
    leaves = {k.rpartition(".")[2]: k for k in keys}
    close = difflib.get_close_matches(key.rpartition(".")[2], leaves, 1, cutoff=0.6)
    return leaves[close[0]] if close else None


def _key_sentence(error: Exception) -> str:
    from lift_jax import config as lift_config

    match = re.search(r'instead of "([^"]+)"', str(error)) or re.search(r"'([^']+)'", str(error).replace("\\", ""))
    name = match.group(1) if match else str(error)
    near = nearest_key(name, lift_config.flatten(lift_config.default()))
    hint = f"the nearest key is config.{near}" if near else "lift_jax/config.py lists the keys"
    return f"There is no config key {name!r}{_place(error)}; {hint}."


def _flag_sentence(message: str) -> str:
    message = " ".join(message.split())
    wrong = re.match(r"flag --(config[\w.]*)=(.*?): (.*)", message)
    if wrong:
        key, value, reason = wrong.groups()
        return f"--{key}={value} does not fit: {reason.rstrip('.')}; lift_jax/config.py says what {key} takes."
    return f"{message.rstrip('.')}; see --help."


def _place(error: Exception) -> str:
    """Where in the config file it happened, if there."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.name == "get_config" or f.name == "<module>"]
    frames = [f for f in frames if f.name == "get_config"]
    return f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
