"""Completion in a shell: what the scripts offer there."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lift_jax.commands import COMMANDS
from lift_jax.completion import script
from lift_jax.dispatch import Command

ROOT = Path(__file__).parents[1]


def ask(tmp_path: Path, shell: str, program: str) -> list[str]:
    """Runs a program in a shell that knows the script and a command lift_jax."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    command = tmp_path / "lift_jax"
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m lift_jax "$@"\n')
    command.chmod(0o755)
    (tmp_path / "script").write_text(script(shell))
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [shell, "-c", f"source {shlex.quote(str(tmp_path / 'script'))}\n{program}"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.stderr == ""
    return [line.split("\t")[0] for line in done.stdout.splitlines()]


BASH = 'COMP_WORDS=({}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _lift_jax; printf "%s\\n" "${{COMPREPLY[@]}}"'


@pytest.mark.parametrize("shell, asking", [("bash", BASH), ("fish", "complete -C '{}'")])
@pytest.mark.parametrize(
    "line, offered", [("lift_jax pre", ["predict", "prepare"]), ("lift_jax serve --wor", ["--workdir"])]
)
def test_commands_and_their_flags_are_offered(tmp_path, shell, asking, line, offered):
    assert ask(tmp_path, shell, asking.format(line)) == offered


@pytest.mark.parametrize("shell, asking", [("bash", BASH), ("fish", "complete -C '{}'")])
def test_a_file_is_left_to_the_shell(tmp_path, shell, asking):
    (tmp_path / "wren.jpg").touch()
    assert ask(tmp_path, shell, asking.format("lift_jax predict wr")) == ([""] if shell == "bash" else ["wren.jpg"])


def test_zsh_reads_the_script(tmp_path):
    if shutil.which("zsh") is None:
        pytest.skip("zsh is not installed")
    (tmp_path / "_lift_jax").write_text(script("zsh"))
    assert subprocess.run(["zsh", "-n", tmp_path / "_lift_jax"], capture_output=True).stderr == b""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_command_is_in_the_script_and_a_quote_in_its_help_ends_nothing(shell):
    made = script(shell, {**COMMANDS, "odd": Command("odd", "it's 'odd'")})
    assert all(name in made for name in [*COMMANDS, "odd"])
    assert shell == "bash" or shlex.quote("it's 'odd'")[1:-1] in made
