"""Evaluates a run, and writes down its results."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lift_jax.cluster import processes
from lift_jax.data import groups
from lift_jax.evaluation import metrics, per_class
from lift_jax.evaluation.tasks import TASKS, AnyEvaluator
from lift_jax.files import replacing_together, write_json
from lift_jax.inference import threshold_file
from lift_jax.run import calibrated, thresholds
from lift_jax.run.job import Job
from lift_jax.run.reading import Evaluated, validate, with_one_view
from lift_jax.run.thresholds import Chosen
from lift_jax.training import zero_shot
from lift_jax.workdir import config_file, record
from lift_jax.workdir.logs import Logs
from lift_jax.workdir.progress import duration

Results = dict[str, dict[str, float]]

VALIDATION = "validation"
"""The section of eval.json, and the split of metrics.jsonl, that tell of the held-out images."""


def evaluate(runs: Sequence[Evaluated], evaluator: AnyEvaluator) -> list[Results]:
    """Evaluates plainly and, where enabled, with test-time ensembling; then writes down all results of each run.

    Where a run has been calibrated, the section `calibrated` tells of the calibrated answers.

    Args:
        runs: one run, or several that `shares_test_images` allows; each test image is then read once for all of them.
        evaluator: evaluates any of their networks.
    """
    config, resolution = runs[0].job.config, runs[0].network.input.resolution
    modes = {"plain": "plain"} | ({"tte": config.tte.mode} if config.tte.enabled else {})
    results: list[Results] = [{} for _ in runs]
    predictions: list[dict[str, Any]] = [{} for _ in runs]
    held_out = validate(runs, evaluator) if runs[0].job.data.held_out is not None else None
    task, chosen = TASKS[config.task], thresholds.chosen(runs, held_out, evaluator)
    began = time.monotonic()
    for section, mode in modes.items():
        if section == "plain":
            loader = with_one_view(runs[0].job, runs[0].network, runs[0].job.data.test, runs[0].logs)
        else:
            loader = runs[0].job.data.test_loader(resolution, mode)
        if section == "tte":
            seconds = loader.num_views * (time.monotonic() - began)
            _say(
                runs,
                f"tte: {loader.num_views} views an image take up to {loader.num_views} times as long, about "
                f"{duration(seconds)}; --config.tte.enabled=False leaves them out.",
            )
        params, logs = [each.network.params for each in runs], [each.logs for each in runs]
        counted = evaluator.of_several(params, loader, logs, f"evaluation, {section}")
        for each, own, rows, by, found in zip(runs, results, predictions, chosen, counted, strict=True):
            measured, rows[section] = found
            own[section] = task.summarize(measured, each.job.data.groups, by and by.thresholds[section])
        views = "1 view" if loader.num_views == 1 else f"{loader.num_views} views"
        share = loader.bytes_per_image / (loader.num_views * 3 * 4 * resolution**2)
        _say(
            runs,
            f"{section}: {views} an image from {loader.bytes_per_image:,.0f} bytes an image, "
            f"{share:.1%} of what float32 views would take.",
        )
    validated = [each for each, _ in held_out] if held_out is not None else [None] * len(runs)
    for each, own, rows, by, found in zip(runs, results, predictions, chosen, validated, strict=True):
        with each.logs.speaking():
            _finish(each, own, rows, by, found)
    return results


def _say(runs: Sequence[Evaluated], sentence: str) -> None:
    for each in runs:
        with each.logs.speaking():
            each.logs.info(sentence)


def _finish(
    run: Evaluated,
    results: Results,
    predictions: dict[str, Any],
    chosen: Chosen | None,
    validated: dict[str, float] | None,
) -> None:
    """Adds what is known of the held-out images and of a calibration, and writes down all results together."""
    job, network, workdir, logs = run
    config, resolution = job.config, network.input.resolution
    task, modes = TASKS[config.task], list(results)
    after = calibrated.evaluate(job, network, workdir, _headline(predictions), logs)
    if after is not None:
        results[calibrated.SECTION], predictions[calibrated.SECTION] = after.metrics, after.predictions
    steps = job.data.train_loader(resolution).num_steps
    if not job.trains:  # then these results take the place of earlier ones
        logs.resume(steps, without={*modes, calibrated.SECTION})
    logs.scalars(steps, {f"{s}/{key}": value for s, result in results.items() for key, value in result.items()})
    if validated is not None:  # metrics.jsonl has the curve of its own
        results[VALIDATION] = validated
    before = None if network.method.zero_shot else job.record.zero_shot
    logs.result(metrics.table({**({"zero_shot": before} if before else {}), **results}, columns=task.columns))
    has_steps = not network.method.closed_form
    if before and has_steps and (sentence := zero_shot.warning(before, results["plain"], task)):
        logs.warning(sentence)
    if advice := groups.advice(config.class_groups, job.data.train_counts):
        logs.info(advice)
    if processes.is_first():
        reliability = {} if after is None else {calibrated.KEY: after.reliability}
        _write_results(job, workdir, {**results, **reliability}, predictions, chosen)
        if config.report:
            _report(job, workdir, logs)


def _report(job: Job, workdir: Path, logs: Logs) -> None:
    """Draws the report. Whatever goes wrong with it, the numbers are written already and the run goes on."""
    try:
        from lift_jax import report  # matplotlib takes a second to import

        logs.info(f"Report: {report.write(workdir, job.data.test, logs)}")
    except Exception as error:
        logs.warning(f"The report could not be drawn ({type(error).__name__}: {error}); the results are in eval.json.")


def _headline(predictions: dict[str, Any]) -> Any:
    """Gives the predictions with test-time ensembling where it is enabled, else the plain ones."""
    return predictions.get("tte", predictions["plain"])


def _write_results(
    job: Job, workdir: Path, results: dict[str, dict[str, Any]], predictions: dict[str, Any], chosen: Chosen | None
) -> None:
    """Writes eval.json, predictions.npz and thresholds.json with the config and the record that they belong to.

    The headline's columns have their own names, and the plain ones beside ensembling are called `plain_...`.
    """
    task, names = TASKS[job.config.task], job.data.train.class_names
    columns: dict[str, Any] = task.arrays(_headline(predictions))
    if "tte" in predictions:
        plain = task.arrays(predictions["plain"])
        columns |= {f"plain_{key}": plain[key] for key in plain if key not in ("index", "label")}
    classes = task.classes(predictions, names, chosen and chosen.thresholds)
    files = [config_file.FILE, record.FILE, "eval.json", "predictions.npz", *([threshold_file.FILE] if chosen else [])]
    with replacing_together([workdir / name for name in files]) as (config, run, evaluation, rows, *others):
        job.write_down(config, run)
        write_json(evaluation, {**results, per_class.KEY: classes})
        with rows.open("wb") as opened:
            np.savez_compressed(opened, **columns)
        if chosen is not None:
            write_json(others[0], chosen.content)
