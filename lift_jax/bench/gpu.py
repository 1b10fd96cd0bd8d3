"""What one GPU makes of the program: one command for the day that there is one.

    python -m lift_jax.bench.gpu [--seconds 400] [--only STAGE,STAGE] [--smoke]

Each stage is a process of its own with a limit; they run in order of worth, and what no longer fits into the time is
left out, and said. At the end there is one table that stands alone. With --smoke every stage runs at tiny sizes,
also on a CPU: that shows that all works, and measures nothing.
"""

import argparse
import contextlib
import dataclasses
import importlib.metadata
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_TRITON = "--xla_gpu_enable_triton_gemm=true"
_LIMIT, _SMOKE_LIMIT = 2, 600.0
_TORCH = ("torch", "transformers")


@dataclasses.dataclass(frozen=True)
class Stage:
    """A measurement.

    Attributes:
        what: for the table.
        call: a name in `lift_jax.bench.gpu_stages.STAGES` and its arguments.
        seconds: that it takes on an H200, about; it is not begun with less left, and gets `_LIMIT` times as many.
        xla_flags: what is added to XLA_FLAGS.
        needs: packages without which it is left out.
    """

    what: str
    call: tuple[str, ...]
    seconds: float
    xla_flags: str = ""
    needs: tuple[str, ...] = ()


STAGES: Mapping[str, Stage] = {
    "peak": Stage("fastest matrix product and copy", ("peak",), 15),
    "b16": Stage("ViT-B/16, lift_jax", ("ours", "b16"), 30),
    "b16-compile": Stage("ViT-B/16, torch.compile", ("peer", "b16", "compile"), 55, needs=_TORCH),
    "b16-fp8": Stage("ViT-B/16, lift_jax with frozen kernels in fp8", ("ours", "b16", "best", "fp8"), 30),
    "profile": Stage("ViT-B/16, kernels of a training step", ("profile",), 25),
    "parity": Stage("small CLIP, apart from the CPU's float32", ("parity",), 35),
    "end-to-end": Stage("ViT-B/16 from JPEG files", ("end_to_end",), 65),
    "l14": Stage("ViT-L/14, lift_jax", ("ours", "l14"), 35),
    "resume": Stage("killed and resumed", ("resume",), 75),
    "b16-int8": Stage("ViT-B/16, lift_jax with frozen kernels in int8", ("ours", "b16", "best", "int8"), 30),
    "b16-plain": Stage("ViT-B/16, lift_jax without cuDNN's attention", ("ours", "b16", "plain"), 30),
    "l14-compile": Stage("ViT-L/14, torch.compile", ("peer", "l14", "compile"), 75, needs=_TORCH),
    "members": Stage("ViT-B/16, three trainings at once", ("members",), 35),
    "b16-eager": Stage("ViT-B/16, PyTorch eager", ("peer", "b16", "eager"), 25, needs=_TORCH),
    "b16-triton": Stage("ViT-B/16, lift_jax with Triton's products", ("ours", "b16"), 50, _TRITON),
    "l14-plain": Stage("ViT-L/14, lift_jax without cuDNN's attention", ("ours", "l14", "plain"), 45),
    "quickstart": Stage("the quickstart", ("quickstart",), 130),
    "largest": Stage("ViT-B/16, largest batch", ("largest",), 90),
}
"""By the names that --only takes, in order of worth: 400 seconds are for those up to `b16-plain`, by the estimates."""


def measure(name: str, smoke: bool, limit: float) -> dict[str, str]:
    """Runs a stage in a process of its own; gives what it found, or under "" why it found nothing.

    Args:
        name: of the stage.
        smoke: whether it takes tiny sizes.
        limit: seconds after which the process and those that it started are ended.
    """
    stage = STAGES[name]
    missing = [package for package in stage.needs if importlib.util.find_spec(package) is None]
    if missing:
        return {"": f"left out: {' and '.join(missing)} not installed"}
    command = [sys.executable, "-m", "lift_jax.bench.gpu_stages", *(["--smoke"] if smoke else []), *stage.call]
    process = subprocess.Popen(
        command,
        env={**os.environ, "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {stage.xla_flags}".strip()},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, error = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        return {"": f"not done after {limit:.0f} s"}
    finally:
        _end(process)
    if process.returncode != 0:
        said = error.strip().splitlines() or [f"status {process.returncode}"]
        return {"": f"failed: {said[-1][:200]}"}
    return json.loads(out.strip().splitlines()[-1])


def _end(process: subprocess.Popen[str]) -> None:
    """Ends a process that has a group of its own, and all that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def run(names: Sequence[str], seconds: float, smoke: bool) -> list[tuple[str, dict[str, str]]]:
    """Runs stages one after another, as far as the time allows; gives what each found.

    Args:
        names: of the stages.
        seconds: for all of them.
        smoke: whether they take tiny sizes, and as long as they need.
    """
    start, rows = time.monotonic(), []
    for name in names:
        left = seconds - (time.monotonic() - start)
        if smoke:
            found = measure(name, smoke, _SMOKE_LIMIT)
        elif left < STAGES[name].seconds:
            found = {"": f"left out: it takes about {STAGES[name].seconds:.0f} s, and {max(left, 0):.0f} s were left"}
        else:
            found = measure(name, smoke, min(left, _LIMIT * STAGES[name].seconds))
        rows.append((name, found))
        print(f"{name}: {', '.join(filter(None, map(' '.join, found.items())))}", file=sys.stderr, flush=True)
    return rows


def table(rows: Sequence[tuple[str, Mapping[str, str]]]) -> str:
    """Draws what the stages found as a table in Markdown, a row for each."""
    lines = ["| stage | | found |", "| --- | --- | --- |"]
    for name, found in rows:
        cells = "; ".join(f"{what} {value}".strip() for what, value in found.items())
        lines.append(f"| `{name}` | {STAGES[name].what} | {cells} |")
    return "\n".join(lines)


def setting() -> str:
    """Says on what the stages ran: card, driver, versions, commit and date."""
    names = "jax", "jaxlib", "jax-cuda12-plugin", "jax-cuda13-plugin", "nvidia-cudnn-cu12", "nvidia-cudnn-cu13", "torch"
    versions = [f"{name} {version}" for name in names if (version := _version(name))]
    root = Path(__file__).parents[2]
    card = _said("nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader")
    commit = _said("git", "-C", str(root), "rev-parse", "--short", "HEAD") if (root / ".git").exists() else ""
    python = f"Python {sys.version.split()[0]}"
    facts = [card or "no NVIDIA card", *versions, python, f"commit {commit or 'unknown'}", time.strftime("%d %B %Y")]
    return ", ".join(facts) + f", {os.cpu_count()} cores"


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _said(*command: str) -> str:
    """Gives the first line that a command prints; nothing if it is missing or fails."""
    if shutil.which(command[0]) is None:
        return ""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip().partition("\n")[0] if done.returncode == 0 else ""


def main(arguments: Sequence[str] | None = None) -> Any:
    """Runs the command."""
    parser = argparse.ArgumentParser(
        prog="python -m lift_jax.bench.gpu",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Stages: " + "; ".join(f"{name}, {stage.what}" for name, stage in STAGES.items()) + ".",
    )
    parser.add_argument("--seconds", type=float, default=400, help="for all stages together (default 400)")
    parser.add_argument("--only", default="", metavar="STAGE,STAGE", help="these stages alone")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, also on a CPU; there is no limit of time")
    given = parser.parse_args(arguments)
    names = given.only.split(",") if given.only else list(STAGES)
    for name in names:
        if name not in STAGES:
            parser.error(f"--only names {name!r}, which is no stage; write some of {','.join(STAGES)}.")
    rows = run(names, given.seconds, given.smoke)
    print(setting() + (", at tiny sizes, which measure nothing" if given.smoke else ""), "", table(rows), sep="\n")
    if not any("" not in found for _, found in rows):
        sys.exit(1)


if __name__ == "__main__":
    main()
