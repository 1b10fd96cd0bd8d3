r"""Prints a script by which a shell completes the commands of lift_jax, their flags, and files.

    lift_jax completion bash > ~/.local/share/bash-completion/completions/lift_jax
    lift_jax completion zsh > ~/.zfunc/_lift_jax          (a folder in fpath)
    lift_jax completion fish > ~/.config/fish/completions/lift_jax.fish

The flags of a command are those that its --help names, which the script asks for when they are wanted.
"""

import argparse
import shlex
import sys
from collections.abc import Mapping, Sequence

from lift_jax.commands import COMMANDS
from lift_jax.dispatch import Command
from lift_jax.errors import exit_status
from lift_jax.errors.arguments import Parser

_BASH = r"""_lift_jax() {
  local word=${COMP_WORDS[COMP_CWORD]} words=''
  if ((COMP_CWORD == 1)); then words='COMMANDS'
  elif [[ $word == -* ]]; then words=$("${COMP_WORDS[@]:0:2}" --help 2>/dev/null | grep -oE -- '--[a-z_-]+'); fi
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word" | sort -u)
}
complete -o default -F _lift_jax lift_jax"""

_ZSH = r"""#compdef lift_jax
local -a commands=(COMMANDS)
if ((CURRENT == 2)); then _describe command commands
elif [[ $PREFIX == -* ]]; then compadd -- ${(fu)"$($words[1,2] --help 2>/dev/null | grep -oE -- '--[a-z_-]+')"}
else _files; fi"""

_FISH = r"""COMMANDS
complete -c lift_jax -n 'string match -q -- "-*" (commandline -ct)' -a \
  '(set -l w (commandline -opc); $w[1..2] --help 2>/dev/null | string match -ra -- "--[a-z_-]+" | sort -u)'"""


def script(shell: str, commands: Mapping[str, Command] = COMMANDS) -> str:
    """Writes the script of a shell, "bash", "zsh" or "fish", for the commands by their names."""
    if shell == "bash":
        return _BASH.replace("COMMANDS", " ".join(commands))
    if shell == "zsh":
        return _ZSH.replace("COMMANDS", " ".join(shlex.quote(f"{name}:{each.help}") for name, each in commands.items()))
    rows = [f"-a {name} -d {shlex.quote(each.help)}" for name, each in commands.items()]
    return _FISH.replace(
        "COMMANDS", "\n".join(f"complete -c lift_jax -n __fish_use_subcommand -f {row}" for row in rows)
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command, and returns its exit status."""
    parser = Parser(
        prog="lift_jax completion", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("shell", choices=("bash", "zsh", "fish"))
    given = parser.parse_args(arguments)
    return exit_status(lambda: print(script(given.shell)))


if __name__ == "__main__":
    sys.exit(main())
