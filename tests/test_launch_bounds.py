"""launch/bounds.sh in a copy of the repository, with a uv that makes no environment but says what it was asked for."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
UV = """#!/bin/sh
echo "uv $*"
if [ "$1" = venv ]; then
  for folder; do :; done
  mkdir -p "$folder/bin"
  printf '#!/bin/sh\\necho "python $*"\\n' >"$folder/bin/python"
  chmod +x "$folder/bin/python"
fi
"""


@pytest.fixture
def bounds(tmp_path):
    """Runs launch/bounds.sh with arguments; returns its status, the lines that it printed, and its errors."""
    root, tools = tmp_path / "lift jax", tmp_path / "tools"
    shutil.copytree(ROOT / "launch", root / "launch")
    tools.mkdir()
    (tools / "uv").write_text(UV)
    (tools / "uv").chmod(0o755)

    def run(*arguments: str) -> tuple[int, list[str], str]:
        environment = os.environ | {"PATH": f"{tools}:{os.environ['PATH']}"}
        command = ["bash", root / "launch" / "bounds.sh", *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        return done.returncode, done.stdout.splitlines(), done.stderr

    return run


@pytest.mark.parametrize(
    ("arguments", "resolution", "python", "folder", "rest"),
    [
        (["lowest"], "lowest-direct", "3.11", ".venv-lowest-3.11", ""),
        (["newest"], "highest", "3.13", ".venv-newest-3.13", ""),
        (["newest", "--python", "3.12", "-x", "-k", "png"], "highest", "3.12", ".venv-newest-3.12", " -x -k png"),
        (["lowest", "--python", "/opt/python3.12"], "lowest-direct", "/opt/python3.12", ".venv-lowest-python3.12", ""),
    ],
)
def test_what_is_installed_and_run(bounds, tmp_path, arguments, resolution, python, folder, rest):
    status, said, errors = bounds(*arguments)
    assert status == 0, errors
    made, installed, trained, tested = said
    environment = f"{tmp_path}/lift jax/{folder}"
    assert f"--python {python} {environment}" in made
    assert f"--python {environment} --resolution {resolution} --requirements pyproject.toml" in installed
    assert trained.startswith("python -m lift_jax.main --config configs/quickstart.py ")
    assert tested.startswith("python -m pytest tests/") and tested.endswith(f"test_letters_run.py{rest}")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], r"The first argument is missing; write .*lowest\|newest"),
        (["oldest"], r"The first argument is oldest; write .*lowest\|newest"),
        (["--python", "3.12"], r"The first argument is --python; write .*lowest\|newest"),
        (["lowest", "--python"], r"--python has no value; write .*--python PYTHON"),
    ],
)
def test_wrong_arguments_are_told_and_nothing_is_made(bounds, tmp_path, arguments, words):
    status, said, errors = bounds(*arguments)
    assert status == 2 and not said
    assert re.match(words, errors) and len(errors.splitlines()) == 1
    assert not list((tmp_path / "lift jax").glob(".venv*"))


def test_the_tests_that_it_runs_are_there():
    named = re.findall(r"tests/\S+\.py", (ROOT / "launch" / "bounds.sh").read_text())
    assert len(named) > 10 and all((ROOT / name).is_file() for name in named)
