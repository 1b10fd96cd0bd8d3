"""What is said with --quiet, and the exit status of Ctrl-C."""

import importlib
import logging
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from started_commands import start

from lift_jax import backbones
from lift_jax.commands import COMMANDS
from lift_jax.errors import quiet
from lift_jax.errors.quiet import What
from lift_jax.report import __main__ as report_command
from lift_jax.workdir.logs import Logs

OF_ABSL = {"lift_jax.main", "lift_jax.features", "lift_jax.bench"}
PACKAGES = {"lift_jax.report", "lift_jax.export"}


@pytest.fixture(autouse=True)
def loud_again():
    yield
    quiet._set(What.SENTENCE)


@pytest.mark.parametrize(
    "words, left, is_quiet",
    [
        (["predict", "--quiet", "a.jpg"], ["predict", "a.jpg"], True),
        (["--quiet", "train", "photos"], ["train", "photos"], True),
        (["predict", "a.jpg"], ["predict", "a.jpg"], False),
        (["predict", "--", "--quiet"], ["predict", "--", "--quiet"], False),
        ([], [], False),
    ],
)
def test_the_flag_may_stand_anywhere_before_the_end_of_flags(words, left, is_quiet):
    assert quiet.without_flag(words) == left
    assert quiet.says(What.SENTENCE) != is_quiet and quiet.says(What.RESULT)


@pytest.mark.parametrize("module", sorted({command.module for command in COMMANDS.values()} - OF_ABSL))
def test_the_module_of_a_command_knows_the_flag_and_names_it_in_its_help(module, capsys):
    command = importlib.import_module(f"{module}.__main__" if module in PACKAGES else module)
    with pytest.raises(SystemExit, match=r"^0$"):
        command.main(["--quiet", "--help"])
    assert "--quiet" in capsys.readouterr().out
    assert not quiet.says(What.SENTENCE)


def test_a_quiet_module_does_what_the_quiet_command_does(capsys):
    assert backbones.main([]) == backbones.main(["--quiet"]) == 0
    table, again = capsys.readouterr().out.split("name ", 2)[1:]
    assert table == again
    assert report_command.main(["--quiet", "compare", "none"]) == 1
    assert "none is no run of lift_jax" in capsys.readouterr().err


def said(tmp_path, capsys) -> list[str]:
    with Logs(tmp_path) as logs:
        logs.info("The backbone has 12 blocks.")
        logs.result("overall  75.0")
        logging.getLogger("lift_jax.data").warning("One image was skipped.")
        quiet.say("8 runs train at once.")
        with logs.progress(2, "epoch 1/1", line_every=0) as bar:
            bar.update(images=8, loss=1.0)
    return capsys.readouterr().out.splitlines()


def test_results_and_warnings_are_said_and_the_file_has_everything(tmp_path, capsys):
    everything = said(tmp_path, capsys)
    assert everything[:4] == [
        "The backbone has 12 blocks.", "overall  75.0", "warning: One image was skipped.", "8 runs train at once."
    ]  # fmt: skip
    kept = (tmp_path / "console.log").read_text()
    quiet.without_flag(["--quiet"])
    assert said(tmp_path, capsys) == ["overall  75.0", "warning: One image was skipped."]
    both = [line[20:] for line in (tmp_path / "console.log").read_text().splitlines()]
    assert both[: len(both) // 2] == [line[20:] for line in kept.splitlines()]
    assert [line.partition(" in ")[0] for line in both[len(both) // 2 :]] == [
        line[20:].partition(" in ")[0] for line in kept.splitlines()
    ]


def test_inside_a_hush_warnings_are_said_alone_and_after_it_what_was_said_before(tmp_path, capsys):
    with quiet.hushed():
        assert said(tmp_path, capsys) == ["warning: One image was skipped."]
        with quiet.hushed(What.RESULT):  # no louder than outside
            assert not quiet.says(What.RESULT)
    assert len(said(tmp_path, capsys)) > 3


def test_a_quiet_command_says_its_result_alone():
    done = start("lift_jax", "--quiet", "backbones")
    assert done.returncode == 0 and "clip-b16" in done.stdout


def test_ctrl_c_ends_with_a_line_and_130(tmp_path):
    program = "import time; from lift_jax.errors import exit_status\n"
    program += "raise SystemExit(exit_status(lambda: (print('on', flush=True), time.sleep(60))))"
    process = subprocess.Popen(
        [sys.executable, "-c", program], cwd=Path(__file__).parents[1], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    assert process.stderr.read() == b"Stopped by Ctrl-C.\n"
