"""Evaluates a run, and writes down its results."""

import functools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lift_jax.classifier import untuned
from lift_jax.classifier.network import Network
from lift_jax.cluster import processes
from lift_jax.data import Dataset, Examples, groups
from lift_jax.evaluation import metrics, per_class
from lift_jax.evaluation.features import examples, place_of
from lift_jax.evaluation.tasks import TASKS, AnyEvaluator
from lift_jax.files import replacing_together, write_json
from lift_jax.inference import threshold_file
from lift_jax.run import calibrated, thresholds
from lift_jax.run.job import Job
from lift_jax.run.thresholds import Chosen
from lift_jax.training import zero_shot
from lift_jax.workdir import config_file, record
from lift_jax.workdir.logs import Logs
from lift_jax.workdir.progress import duration

Results = dict[str, dict[str, float]]

VALIDATION = "validation"
"""The section of eval.json, and the split of metrics.jsonl, that tell of the held-out images."""


class Evaluated(NamedTuple):
    """A run that is evaluated: what it is, the network that its results are of, its folder, and its logs."""

    job: Job
    network: Network
    workdir: Path
    logs: Logs


def shares_test_images(jobs: Sequence[Job]) -> bool:
    """Tells whether runs that differ in nothing but members' own keys are tested on the same views of the same images.

    The seed chooses the views of the mode "random", and what becomes the test split of a data set that has none.
    """
    config = jobs[0].config
    draws = config.data.val_fraction > 0 or (config.tte.enabled and config.tte.mode == "random")
    return not draws or len({job.config.seed for job in jobs}) == 1


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
    task, chosen = TASKS[config.task], [_thresholds(each, evaluator) for each in runs]
    began = time.monotonic()
    for section, mode in modes.items():
        if section == "plain":
            loader = _examples(runs[0].job, runs[0].network, runs[0].job.data.test, runs[0].logs)
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
            own[section] = task.summarize(measured, each.job.data.groups, by and by.thresholds)
        views = "1 view" if loader.num_views == 1 else f"{loader.num_views} views"
        share = loader.bytes_per_image / (loader.num_views * 3 * 4 * resolution**2)
        _say(
            runs,
            f"{section}: {views} an image from {loader.bytes_per_image:,.0f} bytes an image, "
            f"{share:.1%} of what float32 views would take.",
        )
    for each, own, rows, by in zip(runs, results, predictions, chosen, strict=True):
        with each.logs.speaking():
            _finish(each, own, rows, by, evaluator)
    return results


def _thresholds(run: Evaluated, evaluator: AnyEvaluator) -> Chosen | None:
    job, network, _, logs = run
    with logs.speaking():
        return thresholds.chosen(job, network, evaluator, lambda images: _examples(job, network, images, logs), logs)


def _say(runs: Sequence[Evaluated], sentence: str) -> None:
    for each in runs:
        with each.logs.speaking():
            each.logs.info(sentence)


def _finish(
    run: Evaluated, results: Results, predictions: dict[str, Any], chosen: Chosen | None, evaluator: AnyEvaluator
) -> None:
    """Evaluates a run on its held-out images if it has any, and writes down all results together."""
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
    if job.data.held_out is not None:  # metrics.jsonl has the curve of its own
        results[VALIDATION] = validate(job, network, evaluator, logs)
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


def validate(job: Job, network: Network, evaluator: AnyEvaluator, logs: Logs) -> dict[str, float]:
    """Evaluates a network on the held-out images."""
    assert job.data.validation is not None
    loader = _examples(job, network, job.data.validation, logs)
    measured, _ = evaluator(network.params, loader, logs, "evaluation, validation")
    return TASKS[job.config.task].summarize(measured, job.data.groups, None)


def _examples(job: Job, network: Network, images: Dataset, logs: Logs) -> Examples:
    """Gives images with one view each, or their features where these are kept and the run has not changed them."""
    make_loader = functools.partial(job.data.plain_loader, network.input.resolution)
    tower = untuned.of_frozen(job.config, network, job.record.backbone["hash"])
    if tower is None:
        return make_loader(images)
    return examples(tower, images, make_loader, logs, f"features, {images.name}", place_of(job.config))


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
