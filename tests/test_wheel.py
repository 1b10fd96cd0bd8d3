"""The wheel: built, installed in an empty environment, and used there from another folder."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    copied = [ROOT / name for name in ("pyproject.toml", "README.md", "LICENSE")]
    for file in copied:  # setuptools writes into the folder that it builds
        (folder / "source").mkdir(exist_ok=True)
        shutil.copy(file, folder / "source")
    shutil.copytree(ROOT / "lift_jax", folder / "source/lift_jax", ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, folder / "source"]
    subprocess.run(command, check=True, capture_output=True, timeout=600)
    (made,) = folder.glob("*.whl")
    return made


def test_it_has_every_file_of_the_package(wheel):
    tracked = {
        str(file.relative_to(ROOT))
        for file in (ROOT / "lift_jax").rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("lift_jax/")}
    assert tracked <= packed


def test_it_is_installed_and_used_in_an_empty_environment(wheel, tmp_path):
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV"))}

    def start(*command: object) -> str:
        done = subprocess.run(
            list(map(str, command)), cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=1800
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    start(sys.executable, "-m", "venv", tmp_path / "env")
    own = tmp_path / "env" / ("Scripts" if os.name == "nt" else "bin")
    start(own / "python", "-m", "pip", "install", "--quiet", f"{wheel}[serve]")
    assert "serve " in start(own / "lift_jax", "--help")
    assert "--port" in start(own / "lift_jax", "serve", "--help")
    flags = ["--config.num_epochs=1", "--workdir=run", "--config.report=false"]
    start(own / "lift_jax", "--config=configs/quickstart.py", *flags)
    assert len(list((tmp_path / "run").glob("*/eval.json"))) == 4  # one of each method
