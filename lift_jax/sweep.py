"""A grid of runs: every combination of some keys' values, with means and standard deviations over seeds."""

import contextlib
import itertools
import math
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import ml_collections
from etils import epath

from lift_jax.config import grid as grids
from lift_jax.errors import DivergedError, UserError, quiet, severity
from lift_jax.evaluation import metrics
from lift_jax.evaluation.tasks import TASKS
from lift_jax.run import Loaded, Mode, Results, check
from lift_jax.run.several import MEMBERS, groups, programs_compiled_once, refuse_others, run_group
from lift_jax.weights import source
from lift_jax.workdir import storage


def run(
    config: ml_collections.ConfigDict,
    workdir: epath.PathLike,
    by_hand: Iterable[str] = (),
    mode: Mode = "train",
    checkpoint: epath.PathLike | None = None,
    members: int = MEMBERS,
) -> None:
    """Runs the grid `config.sweep`, each combination in a folder of its own below `workdir`, and prints the table.

    What has an eval.json already is not run again. Every combination is looked at before the first one runs.

    Args:
        config: the combinations' common config.
        workdir: of the whole grid.
        by_hand: keys set on the command line; they are taken out of the grid, unless it was set there as well.
        mode: of each run.
        checkpoint: with the mode "eval", the one that all of them evaluate, each in its way.
        members: at most how many runs that one program can hold train at once (see `lift_jax.run.run_together`).

    Raises:
        UserError: if the grid or a combination is not valid, or was done with other settings, or if what it left is
            damaged; at the end, if the training of some has diverged.
    """
    grid, said = grids.parse(config.sweep), set(by_hand)
    twice = [key for key in grid if key in said]
    if twice and "sweep" in said:
        raise UserError(f"config.{twice[0]} and config.sweep both say what {twice[0]} is; keep one of them.")
    grid = {key: values for key, values in grid.items() if key not in said}
    workdir = epath.Path(workdir)
    plan: dict[epath.Path, tuple[str, ml_collections.ConfigDict]] = {}
    done: dict[epath.Path, Results] = {}
    for combination in itertools.product(*grid.values()):
        chosen = dict(zip(grid, combination, strict=True))
        one = ml_collections.ConfigDict(config.to_dict())
        one.sweep = ""
        for key, value in chosen.items():
            one.update_from_flattened_dict({key: value})
        folder = workdir / (_name(chosen) or "run")
        plan[folder] = _name({k: v for k, v in chosen.items() if k != "seed"}) or "run", one
        resolved = check(one)
        if mode == "train" and (folder / "eval.json").is_file():
            refuse_others(folder, resolved)
            done[folder] = _results(folder, resolved.task)
        else:
            source.local(resolved.backbone)
    ended: dict[epath.Path, Results | DivergedError] = dict(done)
    loaded = Loaded()
    table_alone = contextlib.nullcontext() if quiet.says(quiet.What.SENTENCE) else quiet.hushed()
    with programs_compiled_once(), table_alone:
        for group in groups({folder: one for folder, (_, one) in plan.items()}, members if mode == "train" else 1):
            left = {folder: one for folder, one in group.items() if folder not in done}
            ended |= run_group(left, mode, checkpoint, loaded)
    _tell(plan, ended, workdir, config.report)


def _tell(
    plan: Mapping[epath.Path, tuple[str, ml_collections.ConfigDict]],
    ended: Mapping[epath.Path, Results | DivergedError],
    workdir: epath.Path,
    report: bool,
) -> None:
    """Prints the table and draws the page of the runs that ended well.

    Raises:
        UserError: with the folders of those that diverged, if there are any.
    """
    results: dict[str, list[Results]] = {}
    diverged: dict[str, DivergedError] = {}
    for folder, (name, _) in plan.items():
        result = ended[folder]
        if isinstance(result, DivergedError):
            diverged[folder.name] = result
        else:
            results.setdefault(name, []).append(result)
    if results and jax.process_index() == 0:
        task = TASKS[next(iter(plan.values()))[1].task]
        print(summary(results, task.columns))
        if any(len(runs) > 1 for runs in results.values()):
            quiet.say("± is the standard deviation over the runs of a line.")
        if report:
            _compare([folder.name for folder in plan if folder.name not in diverged], workdir)
    if diverged:
        first = next(iter(diverged.values()))
        raise UserError(f"{len(diverged)} of {len(plan)} runs are not in the table, {', '.join(diverged)}: {first}")


def _results(folder: epath.Path, task: str) -> Results:
    from lift_jax.report import results_file  # matplotlib takes a second to import

    return results_file.read(folder / "eval.json", task).metrics()


def _compare(names: Sequence[str], workdir: epath.Path) -> None:
    """Writes the runs side by side as a page. Whatever goes wrong with it, the runs are there."""
    try:
        from lift_jax.report import compare  # matplotlib takes a second to import

        with storage.fetched(workdir) as folder:
            compare([folder.local / name for name in names], folder.local / "comparison.html")
            folder.push()
        quiet.say(f"Comparison: {workdir / 'comparison.html'}")
    except Exception as error:
        warning = severity.prefix("warning", sys.stdout)
        print(f"{warning}The comparison could not be drawn ({type(error).__name__}: {error}).")


def summary(results: Mapping[str, Sequence[Results]], metric_columns: Mapping[str, str] = metrics.COLUMNS) -> str:
    """Formats a line a combination: the mean over its runs, and "± standard deviation" (of the sample) if several.

    The numbers are those of test-time ensembling where it is enabled, else of the plain evaluation.

    Args:
        results: of the runs of each combination.
        metric_columns: the metrics of the columns, by their titles.
    """
    means, deviations = {}, {}
    for name, runs in results.items():
        sections = [result.get("tte", result["plain"]) for result in runs]
        columns = {metric: [section[metric] for section in sections] for metric in metric_columns.values()}
        known = {metric: values for metric, values in columns.items() if not any(map(_absent, values))}
        means[name] = {metric: statistics.fmean(values) for metric, values in known.items()}
        if len(runs) > 1:
            deviations[name] = {metric: statistics.stdev(values) for metric, values in known.items()}
    return metrics.table(means, deviations, metric_columns)


def _absent(value: float | None) -> bool:
    """Tells whether a group has no classes: that is NaN in a run's results and null in its eval.json."""
    return value is None or math.isnan(value)


def _name(chosen: dict[str, Any]) -> str:
    return ",".join(
        f"{value}" if key == "method" else f"{key}={value}".replace("/", "_") for key, value in chosen.items()
    )
