"""The parser of the words after a command that is no program of absl."""

import argparse
from typing import Any, NoReturn

from lift_jax.errors import UserError, print_error, quiet


class Parser(argparse.ArgumentParser):
    """A parser of a command's words, with the flag that every command of lift_jax has: --quiet.

    It is obeyed where it stands, and no value of its own is among those that are parsed. `lift_jax COMMAND` takes it
    out of the words before; this is for `python -m lift_jax.COMMAND`.
    """

    def __init__(self, **options: Any):
        super().__init__(**options)
        self.add_argument("--quiet", action=_Quiet, help="print results, warnings and errors alone")

    def error(self, message: str) -> NoReturn:
        """Says what is wrong in a sentence, and ends the program with status 2."""
        print_error(UserError(f"{message[:1].upper()}{message[1:]}; see {self.prog} --help."))
        self.exit(2)


class _Quiet(argparse.Action):
    """Makes the program quiet."""

    def __init__(self, option_strings: list[str], **options: Any):
        super().__init__(option_strings, nargs=0, default=argparse.SUPPRESS, **options)

    def __call__(self, *_: Any) -> None:
        quiet.without_flag(["--quiet"])
