"""Bad inputs end in a sentence or in the right answer; the harness that says so can tell."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lift_jax.bench.abuse import runner
from lift_jax.bench.abuse.cases import Case, judge
from lift_jax.errors import UserError

ROOT = Path(__file__).parents[2]


def attempted(case: Case, tmp_path: Path, seconds: float = 20, memory: int = 2 << 30) -> tuple[str, str]:
    """The verdict on a case, of children that start no JAX."""
    ((_, _, outcome),) = runner.run([("case", case)], tmp_path, runner.Limits(seconds, memory))
    return judge(case, outcome)


def refuse(sentence: str):
    def attempt(place: Path):
        raise UserError(sentence)

    return attempt


def fill_memory(place: Path) -> None:
    kept = []
    for _ in range(100):
        kept.append(b"x" * (50 << 20))
        time.sleep(0.05)


def tell(place: Path) -> int:
    print("5 files were left out")
    return 3


@pytest.mark.parametrize(
    "case, verdict, reason",
    [
        (Case("a", refuse("names.txt has no names; write one."), names=("names.txt",)), "a sentence", ""),
        (
            Case("b", refuse("There is a mistake somewhere."), names=("names.txt",)),
            "anything else",
            "without names.txt",
        ),
        (Case("c", refuse("names.txt\nis bad"), names=("names.txt",)), "anything else", "several lines"),
        (Case("d", refuse("no"), (3,)), "anything else", "a valid input was refused"),
        (Case("e", lambda place: 3, (3,)), "accepted and right", ""),
        (Case("f", lambda place: 4, (3,)), "anything else", "the answer is 4"),
        (Case("g", lambda place: 1 / 0, (3,)), "anything else", "traceback: ZeroDivisionError"),
        (Case("h", lambda place: os._exit(7), (3,)), "anything else", "died: status 7"),
        (Case("i", tell, (3,), mentions=("left out",)), "accepted and right", ""),
        (Case("j", lambda place: 3, (3,), mentions=("left out",)), "anything else", "without a word of left out"),
    ],
    ids=lambda value: value.says if isinstance(value, Case) else "",
)
def test_verdicts(case, verdict, reason, tmp_path):
    found, why = attempted(case, tmp_path)
    assert found == verdict and reason in why


def test_a_hang_is_ended(tmp_path):
    verdict, why = attempted(Case("sleeps", lambda place: time.sleep(60), (None,)), tmp_path, seconds=0.5)
    assert verdict == "anything else" and why.startswith("time")


def test_memory_is_bounded(tmp_path):
    verdict, why = attempted(Case("fills the memory", fill_memory, (None,)), tmp_path, memory=100 << 20)
    assert verdict == "anything else" and why.startswith("memory")


def abuse(*arguments: str) -> subprocess.CompletedProcess:
    """In a process of its own, for it forks and must not have started JAX."""
    return subprocess.run(
        [sys.executable, "-m", "lift_jax.bench.abuse", *arguments],
        cwd=ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )


def test_a_sample():
    done = abuse("--count", "30", "--seed", "18")
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert done.stdout.splitlines()[-1].split()[-1] == "0"


@pytest.mark.slow
def test_a_thousand():
    done = abuse("--count", "1000")
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
