"""The words "warning" and "error" before a sentence, and their colours."""

import io
import os
import pty
import subprocess
import sys

import pytest

from lift_jax.errors import severity

RED, YELLOW, NORMAL = "\x1b[31m", "\x1b[33m", "\x1b[0m"
UNSET = "NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "COLORTERM"


@pytest.fixture(autouse=True)
def terminal_of_sixteen_colours(monkeypatch):
    for name in UNSET:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")


@pytest.mark.parametrize("word", ["warning", "error"])
def test_a_file_gets_the_word_alone(word):
    assert severity.prefix(word, io.StringIO()) == f"{word}: "


@pytest.mark.parametrize(
    "variables, expected",
    [
        ({"FORCE_COLOR": "1"}, f"{YELLOW}warning:{NORMAL} "),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, "warning: "),
        ({"FORCE_COLOR": "1", "TERM": "dumb"}, "warning: "),
        ({"FORCE_COLOR": "1", "COLUMNS": "4"}, f"{YELLOW}warning:{NORMAL} "),
    ],
)
def test_the_environment_is_obeyed(monkeypatch, variables, expected):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert severity.prefix("warning", io.StringIO()) == expected


@pytest.mark.parametrize("variables, expected", [({}, f"{RED}error:{NORMAL} "), ({"NO_COLOR": "1"}, "error: ")])
def test_a_command_on_a_terminal(monkeypatch, variables, expected):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    ours, theirs = pty.openpty()
    with subprocess.Popen([sys.executable, "-m", "lift_jax", "report", "nowhere"], stderr=theirs) as command:
        assert command.wait() == 1
    os.close(theirs)
    said = os.read(ours, 10_000).decode()
    os.close(ours)
    assert said.startswith(f"{expected}nowhere ")
