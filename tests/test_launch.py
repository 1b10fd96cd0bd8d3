"""The launch scripts in a copy of the repository whose program prints what it is given; the lists of packages."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import lift_jax

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A repository in a folder with a space, which needs no packages, and a program that prints its arguments."""
    root = tmp_path_factory.mktemp("a user's") / "lift jax"
    shutil.copytree(ROOT / "launch", root / "launch")
    (root / "requirements.txt").write_text("# nothing\n")
    (root / "lift_jax").mkdir()
    (root / "lift_jax" / "main.py").write_text("import json, os, sys\nprint(json.dumps([os.getcwd(), sys.argv[1:]]))\n")
    launch(root, root)
    return root


def launch(repository, folder, *arguments):
    """Runs launch/local.sh in a folder. Returns its working directory, its arguments, and what it said."""
    tools = repository.parent / "tools"
    tools.mkdir(exist_ok=True)
    (tools / "nvidia-smi").write_text("#!/bin/sh\nexit 9\n")  # no GPU, wherever the tests run
    (tools / "nvidia-smi").chmod(0o755)
    environment = os.environ | {"PATH": f"{tools}:{os.environ['PATH']}", "PYTHON": sys.executable}
    done = subprocess.run(
        ["bash", repository / "launch" / "local.sh", *arguments], cwd=folder, env=environment, capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()
    folder, passed = json.loads(done.stdout)
    return Path(folder), passed, done.stderr.decode()


def test_without_arguments_the_quickstart_runs(repository, tmp_path):
    folder, passed, said = launch(repository, tmp_path)
    assert passed == ["--config", f"{repository}/configs/quickstart.py"]
    assert folder.samefile(tmp_path)
    assert said == "", "the second run installs nothing"


def test_flags_without_a_config_are_of_the_quickstart(repository, tmp_path):
    quickstart = ["--config", f"{repository}/configs/quickstart.py"]
    assert launch(repository, tmp_path, "--workdir", "a b")[1] == [*quickstart, "--workdir", "a b"]
    assert launch(repository, tmp_path, "--config.seed=1")[1] == [*quickstart, "--config.seed=1"]
    for own in ["--config=mine.py", "--workdir", "X"], ["mine.py"], ["--help"]:
        assert launch(repository, tmp_path, *own)[1] == own


def test_a_changed_list_of_packages_is_installed(repository, tmp_path):
    (repository / "requirements.txt").write_text("# still nothing\n")
    assert "Installed in" in launch(repository, tmp_path)[2]
    assert launch(repository, tmp_path)[2] == ""


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--config", "my a.py:1", "--config.seed", ""], ["--config=c.py", "--workdir=a b"]]
)
def test_arguments_pass_unchanged(repository, tmp_path, arguments):
    assert launch(repository, tmp_path, *arguments)[1] == arguments


def test_without_a_suitable_python_one_sentence_says_so(tmp_path):
    shutil.copytree(ROOT / "launch", tmp_path / "launch")
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("bash", "dirname", "cat"):
        (tools / name).symlink_to(str(shutil.which(name)))
    (tools / "python3").write_text("#!/bin/sh\nexit 1\n")
    (tools / "python3").chmod(0o755)
    done = subprocess.run(
        [tools / "bash", tmp_path / "launch" / "local.sh"], env={"PATH": str(tools)}, capture_output=True
    )
    assert done.returncode == 1 and done.stdout == b""
    assert re.fullmatch(r"lift_jax needs Python 3\.11, 3\.12 or 3\.13 .*\n", done.stderr.decode())
    assert not (tmp_path / ".venv").exists()


def requirements(*lines):
    return {(r.name, str(r.specifier), str(r.marker)) for r in map(Requirement, lines)}


def read_requirements(path):
    lines = (line.split("  #")[0].strip() for line in (ROOT / path).read_text().splitlines())
    return requirements(*(line for line in lines if line and line[0] not in "#-"))


def test_requirements_and_pyproject_list_the_same_packages():
    extras = PROJECT["optional-dependencies"]
    assert read_requirements("requirements.txt") == requirements(*PROJECT["dependencies"], *extras["test"])
    assert read_requirements("tests/requirements-parity-light.txt") == requirements(*extras["parity"])


def test_the_citation_has_the_version():
    assert f"\nversion: {lift_jax.__version__}\n" in (ROOT / "CITATION.cff").read_text()
