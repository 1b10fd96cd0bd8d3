"""Kills runs and exports at random moments, starts them again, and compares with what nobody killed, to the last bit.

    python -m lift_jax.bench.kills [--count 100] [--seed 0]

Each kill is of a run of its own: four epochs of LoRA on twenty small pictures, with a checkpoint every second step, an
evaluation, and a report; or of an export of the finished run. SIGKILL and SIGTERM take turns.
The same command is then started again until it ends. The arrays of the last checkpoint, metrics.jsonl, predictions.npz
and eval.json, or the exported file, must be those of the whole run.
"""

import argparse
import logging
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from lift_jax.bench.abuse.setting import write_photos
from lift_jax.text import aligned
from lift_jax.workdir import checkpoints
from lift_jax.workdir.progress import Progress

PHASES = ("start", "steps", "checkpoint", "evaluation", "report", "export")
STEPS = 8
_MOST_STARTS = 5
_LONGEST = 300.0
"""Seconds after which a run is taken to hang."""

# The server imports JAX once; every run is a fork of it with a life of its own.
_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["lift_jax.bench.abuse.config_values", "lift_jax.export.__main__"])


class Command:
    """A command that starts in a folder as an earlier one left it.

    Args:
        folder: holds what all runs share.
        workdir: of the run.
        export: whether it exports the run, instead of training it.
    """

    def __init__(self, folder: Path, workdir: Path, export: bool = False):
        self.folder, self.workdir, self.export = folder, workdir, export

    def start(self) -> Any:
        """Starts the command, and returns its process."""
        process = _SERVER.Process(target=_export if self.export else _train, args=(self.folder, self.workdir))
        process.start()
        return process

    def finish(self) -> str:
        """Runs the command to its end; says what went wrong, or nothing."""
        process = self.start()
        process.join(_LONGEST)
        if process.is_alive():
            process.kill()
            process.join()
            return "it hangs when it is started again"
        return "" if process.exitcode == 0 else f"started again, it ends with {process.exitcode}"

    def phase(self) -> str:
        """Tells what the command does now, by its files."""
        if self.export:
            return "export"
        folder = self.workdir / "checkpoints"
        names = {path.name for path in folder.iterdir()} if folder.exists() else set()
        if any("tmp" in name for name in names):
            return "checkpoint"
        if (self.workdir / "eval.json").exists():
            return "report"
        if str(STEPS) in names:
            return "evaluation"
        lines = self.workdir / "metrics.jsonl"
        return "steps" if lines.exists() and lines.stat().st_size else "start"


def _quietly() -> None:
    file = os.open(os.devnull, os.O_WRONLY)
    os.dup2(file, 1)
    os.dup2(file, 2)


def _environment(folder: Path) -> None:
    os.environ |= {"JAX_PLATFORMS": "cpu", "JAX_COMPILATION_CACHE_DIR": str(folder / "programs")}


def _train(folder: Path, workdir: Path) -> None:
    _environment(folder)
    _quietly()
    from lift_jax import main as program
    from lift_jax.bench.abuse.config_values import parse

    settings = {
        "backbone": "quickstart", "method": "lora", "num_epochs": STEPS // 2, "batch_size": 8, "eval_batch_size": 1,
        "log_every": 1, "checkpoint_every": 2, "tte.enabled": False, "data.root": folder / "photos",
        "data.val_fraction": 0.2,
    }  # fmt: skip
    flags = [f"--config.{key}={value}" for key, value in settings.items()]
    program.main(parse("--config", "configs/folder.py", "--workdir", str(workdir), *flags))


def _export(folder: Path, workdir: Path) -> None:
    _environment(folder)
    _quietly()
    from lift_jax.export.__main__ import main as export

    sys.exit(export(["--workdir", str(workdir), "--format", "safetensors", "--no-check"]))


def content(command: Command) -> dict[str, Any]:
    """Gives by name what must be the same at the end."""
    workdir = command.workdir
    if command.export:
        folder = workdir / "export"
        return {str(path.relative_to(workdir)): path.read_bytes() for path in workdir.rglob("*") if path.is_file()} | {
            "files": sorted(path.name for path in folder.iterdir())
        }
    found: dict[str, Any] = {name: (workdir / name).read_bytes() for name in ("metrics.jsonl", "eval.json")}
    with np.load(workdir / "predictions.npz") as saved:
        found["predictions.npz"] = {key: (saved[key].dtype.str, saved[key].tobytes()) for key in saved.files}
    found["last checkpoint"] = checkpoints.steps(workdir)[-1]  # which of the others stay depends on the kill
    found["parameters"] = _arrays(workdir)
    found["report.html"] = (workdir / "report.html").exists()
    return found


def _arrays(workdir: Path) -> list[bytes]:
    """Gives the bytes of the last checkpoint's arrays, as orbax restores them without being told what to expect."""
    import jax
    import orbax.checkpoint as ocp

    with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as reader:
        items = ocp.args.Composite(state=ocp.args.StandardRestore())
        state = reader.restore(checkpoints.newest(workdir), args=items)["state"]
    return [np.asarray(array).tobytes() for array in jax.tree.leaves(state)]


def spans(command: Command) -> dict[str, float]:
    """Runs a command to its end, and measures how many seconds it is in each phase.

    Raises:
        RuntimeError: if it fails.
    """
    seen: dict[str, float] = dict.fromkeys(PHASES, 0.0)
    process = command.start()
    last = time.monotonic()
    while process.is_alive():
        phase = command.phase()
        time.sleep(0.002)
        now = time.monotonic()
        seen[phase] += now - last
        last = now
    if process.exitcode:
        raise RuntimeError(f"The run that nobody kills ended with {process.exitcode}.")
    return {phase: seconds for phase, seconds in seen.items() if seconds}


def kill(command: Command, phase: str, delay: float, how: signal.Signals) -> str | None:
    """Kills a command `delay` seconds after it is seen in a phase; gives its phase then, None if it had ended."""
    process = command.start()
    while command.phase() != phase and process.is_alive():
        time.sleep(0.001)
    time.sleep(delay)
    seen = command.phase()
    if process.is_alive():
        os.kill(process.pid, how)
    process.join(_LONGEST)
    if process.is_alive():
        process.kill()
        process.join()
    return None if process.exitcode == 0 else seen


def campaign(folder: Path, count: int, seed: int) -> Iterator[tuple[str, signal.Signals, str]]:
    """Kills runs and exports at random moments, starts them again, and compares the results.

    Args:
        folder: empty.
        count: number of kills.
        seed: of the moments.

    Yields:
        The phase of a kill, the signal, and what is not as it should be, "" if all is.
    """
    write_photos(folder / "photos")
    whole = Command(folder, folder / "whole")
    shutil.rmtree(_finished(Command(folder, folder / "first")))  # compiles
    seconds = spans(whole)
    exported = Command(folder, shutil.copytree(folder / "whole", folder / "exported"), export=True)
    seconds |= spans(exported)
    expected = {False: content(whole), True: content(exported)}
    random = Random(seed)
    for index in range(count):
        turn, at = divmod(index, len(PHASES))
        target, how = PHASES[at], (signal.SIGKILL, signal.SIGTERM)[(turn + at) % 2]
        for again in range(100):
            workdir = folder / f"{index}_{again}"
            command = Command(folder, workdir, export=target == "export")
            if command.export:
                shutil.copytree(folder / "whole", workdir)
            phase = kill(command, target, random.uniform(0, seconds.get(target, 0.1)), how)
            if phase is not None:
                yield phase, how, compare(command, expected[command.export])
                shutil.rmtree(workdir)
                break
            shutil.rmtree(workdir)


def compare(command: Command, expected: dict[str, Any]) -> str:
    """Starts a killed command again until it ends, and says in what it differs from the whole one, "" if in nothing."""
    for _ in range(_MOST_STARTS):
        problem = command.finish()
        if not problem:
            found = content(command)
            return ", ".join(sorted(key for key in {**expected, **found} if found.get(key) != expected.get(key)))
        if "hangs" in problem:
            break
    return problem


def _finished(command: Command) -> Path:
    if problem := command.finish():
        raise RuntimeError(f"The run that nobody kills: {problem}.")
    return command.workdir


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command, and returns its exit status, which is 1 if anything differed."""
    parser = argparse.ArgumentParser(
        prog="python -m lift_jax.bench.kills", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=100, help="number of kills (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default %(default)s)")
    given = parser.parse_args(arguments)
    os.environ["JAX_PLATFORMS"] = "cpu"
    logging.basicConfig(format="%(message)s", force=True)
    logging.getLogger("lift_jax.workdir.progress").setLevel(logging.INFO)
    kills: Counter = Counter()
    with (
        tempfile.TemporaryDirectory(prefix="kills_") as folder,
        Progress(given.count, "kills", unit="kills", line_every=20) as bar,
    ):
        for phase, how, problem in campaign(Path(folder), given.count, given.seed):
            kills.update([(phase, how.name), (phase, "different" if problem else "same")])
            if problem:
                print(f"{how.name} during {phase}: different: {problem}", flush=True)
            bar.update()
    columns = ("SIGKILL", "SIGTERM", "same", "different")
    rows = [[phase, *(str(kills[phase, column]) for column in columns)] for phase in PHASES]
    rows.append(["together", *(str(sum(kills[phase, column] for phase in PHASES)) for column in columns)])
    print(aligned([["killed during", *columns], *rows]))
    return 1 if any(kills[phase, "different"] for phase in PHASES) else 0


if __name__ == "__main__":
    sys.exit(main())
