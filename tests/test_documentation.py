"""The documentation: its Python is run, its commands are ones that the programs take, its links lead somewhere."""

import os
import pkgutil
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lift_jax import config as lift_config
from lift_jax.commands import COMMANDS as COMMANDS_OF_ONE
from lift_jax.main import flags  # those of the main program

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
CONFIG_KEYS = lift_config.flatten(lift_config.default())
SECTIONS = {key.rpartition(".")[0] for key in CONFIG_KEYS}


def fences(page: Path, language: str) -> list[str]:
    """The page's fenced blocks of a language; "" for those without one."""
    text = page.read_text(encoding="utf-8")
    return [body for name, body in re.findall(r"^```(\w*)\n(.*?)^```$", text, re.M | re.S) if name == language]


def commands(page: Path) -> list[str]:
    """The commands that a page shows: in fences, in indented blocks, in tables and in sentences."""
    text = page.read_text(encoding="utf-8")
    text = re.sub(r"\\\n\s*", "", text)
    blocks = re.findall(r"^```\w*\n(.*?)^```$", text, re.M | re.S) + re.findall(r"^ {4,}(\S.*)$", text, re.M)
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S))
    lines = [line.strip() for block in blocks for line in block.splitlines()] + inline
    found = [
        match.group() for line in lines if (match := re.search(r"(python -m lift_jax|bash launch/\w+\.sh)\b.*", line))
    ]
    return sorted({line.partition("  #")[0].rstrip(" )") for line in found})


COMMANDS = [(page.relative_to(ROOT), line) for page in PAGES for line in commands(page)]


def words_of(line: str) -> list[str]:
    """A command's words, without what the notation leaves open: [--flag a|b] and …"""
    line = re.split(r"\s[|>]\s", line)[0]
    words = shlex.split(re.sub(r"[\[\]…]", " ", line))
    return [word for word in words if word not in ("...", "RUN...", "PATH...")]


def help_of(module: str, monkeypatch, capsys, *subcommand: str) -> str:
    if module in (
        "lift_jax.bench.aot",
        "lift_jax.bench.decisions",
        "lift_jax.bench.peers",
        "lift_jax.features",
    ):  # whose flags and main's cannot be in one process
        return subprocess.run(
            [sys.executable, "-m", module, "--help"], check=True, capture_output=True, text=True
        ).stdout
    monkeypatch.setattr(sys, "argv", [module, *subcommand, "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(module, run_name="__main__")
    assert not ended.value.code
    return capsys.readouterr().out


@pytest.mark.parametrize("page, line", COMMANDS, ids=lambda value: str(value)[:60])
def test_a_command_is_one_that_the_program_takes(page, line, monkeypatch, capsys):
    first, target, *rest = words_of(line)
    if first == "bash":
        assert (ROOT / target).is_file()
        if "--" in rest:  # the scripts for clouds and clusters
            done = subprocess.run(["bash", ROOT / target, "--dry-run", *rest], capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            check_main_flags(rest[rest.index("--") + 1 :])
        elif target == "launch/local.sh":
            check_main_flags(rest)
        return
    module, *rest = rest
    if module == "lift_jax" and rest not in ([], ["--help"]):
        command = COMMANDS_OF_ONE[rest[0]]
        module, rest = command.module, [*command.first, *rest[1:]]
    if module == "lift_jax.main":
        check_main_flags(rest)
        return
    subcommand = rest[:1] if module == "lift_jax.report" and rest[:1] == ["compare"] else []
    check_main_flags([word for word in rest if word.startswith("--config.")])
    given = {word.partition("=")[0] for word in rest if word.startswith("--") and not word.startswith("--config.")} - {
        "--help"
    }
    known = set(re.findall(r"--[\w-]+", help_of(module, monkeypatch, capsys, *subcommand)))
    assert given <= known


def check_main_flags(words: list[str]) -> None:
    for word in words:
        name, _, value = word.removeprefix("--").partition("=")
        if word.startswith("--config."):
            key = name.removeprefix("config.")
            assert key in CONFIG_KEYS or key in SECTIONS or key.isupper(), word
            if type(CONFIG_KEYS.get(key)) in (int, float) and not value.isupper():
                float(value)
        elif word.startswith("--"):
            assert name in flags.FLAGS, word
        elif word.startswith("configs/") and "BENCHMARK" not in word:
            assert (ROOT / word.partition(":")[0]).is_file(), word


def test_the_check_of_commands_finds_mistakes(monkeypatch, capsys):
    assert len(COMMANDS) > 25
    for wrong in (
        "python -m lift_jax.main --config.learning_rat=1",
        "python -m lift_jax.main --config.seed=zero",
        "python -m lift_jax.main --mod eval",
        "bash launch/locals.sh",
        "python -m lift_jax.predict --workdirs x",
        "python -m lift_jax predict --workdirs x",
        "python -m lift_jax train photos --config.learning_rat=1",
        "bash launch/tpu.sh --name x -- --config configs/inat.py",
    ):
        with pytest.raises((AssertionError, ValueError)):
            test_a_command_is_one_that_the_program_takes(Path("x"), wrong, monkeypatch, capsys)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert "://" in target or (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_names_of_code_exist(page):
    """`lift_jax.a.b` is a module or what it holds; `lift_jax/a.py`, `configs/…`, `tests/…` are files."""
    text = page.read_text(encoding="utf-8")
    for name in re.findall(r"`(lift_jax(?:\.\w+)+)(?:\([^`]*\))?`", text):
        pkgutil.resolve_name(name)
    for file in re.findall(r"`((?:lift_jax|configs|tests|launch|docs)/[\w./]+)`", text):
        assert (ROOT / file).exists() or file == "lift_jax/tuners/ia3.py", f"{page.name}: {file}"


def test_the_new_tuner_is_used_as_it_is(capsys):
    tuner, use = fences(ROOT / "docs" / "extending.md", "python")
    namespace: dict = {"__name__": "extending"}
    exec(tuner + use, namespace)
    width, hidden = namespace["backbone"].vision.width, namespace["backbone"].vision.mlp_dim
    depth = namespace["backbone"].vision.depth
    rows = {row[0]: row[1:4] for row in map(str.split, capsys.readouterr().out.splitlines())}
    assert rows["ia3"] == [str(depth), str(2 * depth), f"{depth * (2 * width + hidden):,}"]


def test_the_new_tuner_gets_a_name(tmp_path):
    page = ROOT / "docs" / "extending.md"
    tuner, _ = fences(page, "python")
    row, _ = fences(page, "")
    package = shutil.copytree(ROOT / "lift_jax", tmp_path / "lift_jax", ignore=shutil.ignore_patterns("__pycache__"))
    (package / "tuners" / "ia3.py").write_text(tuner)
    table = package / "tuners" / "specs.py"
    edit(table, "TUNERS: tuple[TunerSpec, ...] = (\n", row)
    edit(table, "from lift_jax.tuners.spec import TunerSpec\n", "from lift_jax.tuners import ia3\n", before=True)
    (line,) = (line for line in commands(page) if "ia3" in line)
    tiny = ["--config.num_epochs=1", "--config.tte.enabled=False", "--config.report=False"]
    done = subprocess.run(
        [sys.executable, *words_of(line)[1:], *tiny],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path), "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"^ia3 ", done.stdout, re.M) and (tmp_path / "runs" / "ia3" / "eval.json").is_file()


def edit(file: Path, anchor: str, line: str, before: bool = False) -> None:
    text = file.read_text(encoding="utf-8")
    assert text.count(anchor) == 1
    file.write_text(text.replace(anchor, line + anchor if before else anchor + line), encoding="utf-8")


def test_own_images_go_as_the_readme_says(tmp_path):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text.partition("## Your own images")[2].partition("\n## ")[0]
    train, predict = re.findall(r"^```\n(.*?)^```$", section, re.M | re.S)
    generator = np.random.default_rng(0)
    for name, count in ("photos/cat", 10), ("photos/dog", 5), ("photos/hen", 5), ("holiday", 2):
        (tmp_path / name).mkdir(parents=True)
        for index in range(count):
            Image.fromarray(generator.integers(0, 255, (40, 50, 3), np.uint8)).save(tmp_path / name / f"{index}.jpg")
    tiny = "--config.backbone=quickstart --config.num_epochs=1 --config.batch_size=8 --config.tte.expand=4"
    python = f'python() {{ {shlex.quote(sys.executable)} "$@"; }}\n'
    done = subprocess.run(
        ["bash", "-ec", f"{python}{train.rstrip()} {tiny}\n{predict}"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    files = {"report.html", "config.json", "metrics.jsonl", "eval.json", "predictions.npz", "console.log"}
    assert files <= {file.name for file in (tmp_path / "runs" / "photos").iterdir()}
    assert [line.split()[0] for line in done.stdout.splitlines()[-2:]] == ["holiday/0.jpg", "holiday/1.jpg"]
