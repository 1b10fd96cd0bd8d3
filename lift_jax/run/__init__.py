"""One run in one workdir, or several at once: build, train, evaluate, write down."""

import contextlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import ml_collections
from etils import epath

from lift_jax.classifier.loaded import Loaded
from lift_jax.classifier.network import Network
from lift_jax.cluster import preemption, processes
from lift_jax.errors import DivergedError, UserError
from lift_jax.evaluation.tasks import AnyEvaluator
from lift_jax.run.job import check, program_key
from lift_jax.run.opening import Mode, Opened, opened
from lift_jax.run.reading import Evaluated, shares_test_images
from lift_jax.run.results import Results, evaluate
from lift_jax.run.training import one_program, train, train_one_of_several, train_together

__all__ = ["Loaded", "Mode", "Results", "check", "default_workdir", "program_key", "run", "run_together"]


def run(
    config: ml_collections.ConfigDict,
    workdir: epath.PathLike,
    mode: Mode = "train",
    checkpoint: epath.PathLike | None = None,
    launched: float | None = None,
    loaded: Loaded | None = None,
) -> Results:
    """Trains and evaluates, or evaluates only.

    Args:
        config: see `lift_jax.config.default`.
        workdir: a folder, or a bucket such as gs://BUCKET/RUN; gets config.json, run.json, console.log, metrics.jsonl,
            tensorboard/, checkpoints/, eval.json, predictions.npz, and, with config.report, report.html and report/.
        mode: "train" goes on from the newest checkpoint in the workdir if there is one, and evaluates at the end;
            "eval" restores and evaluates.
        checkpoint: the one to evaluate, instead of the newest, or of the best where images are held out: a folder, or
            the reference implementation's checkpoint.pth.tar.
        launched: when the program was (see `lift_jax.workdir.logs.process_start`), for the line that says how long
            the start took; None takes the present.
        loaded: data and backbones that earlier runs of this process have loaded.

    Returns:
        The sections of eval.json: `plain`, `tte` where test-time ensembling is enabled, `calibrated` where the workdir
        has a calibration, and `validation` where images are held out.

    Raises:
        UserError: for any mistake in what the user gave. A workdir that was made for the run is then removed, unless
            training has begun.
        SystemExit: with `preemption.EXIT_CODE`, if the process was told to stop by SIGTERM.
    """
    with processes.together():
        resolved = check(config)
        if mode == "train" and checkpoint is not None:
            raise UserError(
                f"--checkpoint names {checkpoint}, but only --mode eval reads one; add --mode eval, or leave it out: "
                "training goes on from the newest checkpoint of the workdir."
            )
    with opened(resolved, workdir, mode, checkpoint, loaded, launched) as made:
        network = train(made) if made.job.trains else made.job.network
        return _evaluate([made], [network], made.evaluator)[0]


def run_together(
    plan: Mapping[epath.Path, ml_collections.ConfigDict], loaded: Loaded | None = None
) -> list[Results | DivergedError]:
    """Trains several runs at once, on one backbone and in one program, and evaluates them on the same test images.

    Each run is what it would be alone (see `run`), up to float32 rounding, and goes on from its own newest checkpoint.
    Where memory does not suffice for all, parts of them train one after the other, and a line says so. Runs that one
    program cannot hold train one after the other, too; besides those of different `program_key` these are seeds that
    hold out other numbers of images of a class, on which the loss depends.

    Args:
        plan: the config of each run by its workdir; their `program_key` is the same.
        loaded: see `run`.

    Returns:
        For each run what `run` gives, or why it ended early if its loss is no longer a number.

    Raises:
        UserError: for any mistake in what the user gave, which ends all runs.
        SystemExit: with `preemption.EXIT_CODE`, once all runs are saved, if the process was told to stop.
    """
    loaded = loaded or Loaded()
    with contextlib.ExitStack() as all_runs:
        ends = [all_runs.enter_context(contextlib.ExitStack()) for _ in plan]
        runs = [
            end.enter_context(opened(check(config), workdir, "train", None, loaded, name=workdir.name))
            for end, (workdir, config) in zip(ends, plan.items(), strict=True)
        ]
        at_once = one_program(runs)
        trained = train_together(runs) if at_once else [train_one_of_several(each) for each in runs]
        results = _results(runs, trained, at_once)
        for end, result in reversed(list(zip(ends, results, strict=True))):
            with contextlib.suppress(DivergedError), end:  # a workdir without a checkpoint is taken away again
                if isinstance(result, DivergedError):
                    raise result
    return results


def _results(
    runs: Sequence[Opened], trained: Sequence[Network | DivergedError], at_once: bool
) -> list[Results | DivergedError]:
    """Evaluates runs, all at once where this is possible; those that have diverged are left out."""
    ended = [(run, network) for run, network in zip(runs, trained, strict=True) if isinstance(network, Network)]
    if at_once and ended and shares_test_images([run.job for run, _ in ended]):
        parts = [ended]
    else:
        parts = [[each] for each in ended]
    results: list[Results] = []
    for part in parts:
        evaluator = runs[0].evaluator if at_once else part[0][0].evaluator  # compiled once for all
        results += _evaluate([run for run, _ in part], [network for _, network in part], evaluator)
    found = iter(results)
    return [next(found) if isinstance(network, Network) else network for network in trained]


def _evaluate(runs: Sequence[Opened], networks: Sequence[Network], evaluator: AnyEvaluator) -> list[Results]:
    with preemption.leaving(runs[0].logs.info), processes.connected():
        evaluated = [Evaluated(r.job, n, r.folder.local, r.logs) for r, n in zip(runs, networks, strict=True)]
        return evaluate(evaluated, evaluator)


def default_workdir(config_path: str) -> Path:
    """Names the workdir of a run without one: runs/<config name>-<time>."""
    return Path("runs") / f"{Path(config_path).stem}-{time.strftime('%Y%m%d-%H%M%S')}"
