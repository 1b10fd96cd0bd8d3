"""One command with sub-commands, each of which is a module that `python -m` runs too."""

import difflib
import runpy
import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from lift_jax.errors import UserError


class Command(NamedTuple):
    """A sub-command.

    Attributes:
        module: the module that is run as `python -m` would run it.
        help: what it does, for one line of the help.
        first: words that stand before those of the user.
    """

    module: str
    help: str
    first: tuple[str, ...] = ()


def dispatch(program: str, commands: Mapping[str, Command], about: str, words: Sequence[str]) -> None:
    """Runs the module of a sub-command; without one, or with --help, prints which there are.

    No module is imported but the one that runs, so that the help comes at once.

    Args:
        program: the name of the whole command.
        commands: the sub-commands by their names.
        about: what the help says first; what follows an empty line comes after the sub-commands.
        words: the words after the program's name.

    Raises:
        UserError: if there is no such sub-command.
        SystemExit: with the status of the module.
    """
    if not words or words[0] in ("-h", "-help", "--help", "help"):
        before, _, after = about.partition("\n\n")
        width = max(map(len, commands))
        rows = "\n".join(f"  {name:{width}}  {command.help}" for name, command in commands.items())
        print(f"usage: {program} COMMAND ...\n\n{before}\n\n{rows}\n\n{after}".rstrip())
        return
    name, *rest = words
    if name not in commands:
        near = difflib.get_close_matches(name, commands, n=1, cutoff=0.0)[0]
        raise UserError(f"{program} has no command {name!r}; the nearest is {near}, and {program} --help has all.")
    command = commands[name]
    sys.argv[1:] = [*command.first, *rest]
    runpy.run_module(command.module, run_name="__main__", alter_sys=True)
