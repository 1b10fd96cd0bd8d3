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
from lift_jax.evaluation.evaluator import Evaluator, Predictions
from lift_jax.evaluation.features import examples, place_of
from lift_jax.files import replacing_together, write_json
from lift_jax.run import calibrated
from lift_jax.run.job import Job
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


def evaluate(runs: Sequence[Evaluated], evaluator: Evaluator) -> list[Results]:
    """Evaluates plainly and, where enabled, with test-time ensembling; then writes down all results of each run.

    Where a run has been calibrated, the section `calibrated` tells of the calibrated answers.

    Args:
        runs: one run, or several that `shares_test_images` allows; each test image is then read once for all of them.
        evaluator: evaluates any of their networks.
    """
    config, resolution = runs[0].job.config, runs[0].network.input.resolution
    modes = {"plain": "plain"} | ({"tte": config.tte.mode} if config.tte.enabled else {})
    results: list[Results] = [{} for _ in runs]
    predictions: list[dict[str, Predictions]] = [{} for _ in runs]
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
        for each, own, rows, (counts, predicted) in zip(runs, results, predictions, counted, strict=True):
            own[section] = metrics.summarize(counts, class_groups=each.job.data.groups)
            rows[section] = predicted
        views = "1 view" if loader.num_views == 1 else f"{loader.num_views} views"
        share = loader.bytes_per_image / (loader.num_views * 3 * 4 * resolution**2)
        _say(
            runs,
            f"{section}: {views} an image from {loader.bytes_per_image:,.0f} bytes an image, "
            f"{share:.1%} of what float32 views would take.",
        )
    for each, own, rows in zip(runs, results, predictions, strict=True):
        with each.logs.speaking():
            _finish(each, own, rows, evaluator)
    return results


def _say(runs: Sequence[Evaluated], sentence: str) -> None:
    for each in runs:
        with each.logs.speaking():
            each.logs.info(sentence)


def _finish(run: Evaluated, results: Results, predictions: dict[str, Predictions], evaluator: Evaluator) -> None:
    """Evaluates a run on its held-out images if it has any, and writes down all results together."""
    job, network, workdir, logs = run
    config, resolution = job.config, network.input.resolution
    modes = list(results)
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
    logs.result(metrics.table({**({"zero_shot": before} if before else {}), **results}))
    has_steps = not network.method.closed_form
    if before and has_steps and (sentence := zero_shot.warning(before, results["plain"])):
        logs.warning(sentence)
    if advice := groups.advice(config.class_groups, job.data.train_counts):
        logs.info(advice)
    if processes.is_first():
        reliability = {} if after is None else {calibrated.KEY: after.reliability}
        _write_results(job, workdir, {**results, **reliability}, predictions)
        if config.report:
            _report(job, workdir, logs)


def validate(job: Job, network: Network, evaluator: Evaluator, logs: Logs) -> dict[str, float]:
    """Evaluates a network on the held-out images."""
    assert job.data.validation is not None
    loader = _examples(job, network, job.data.validation, logs)
    counts, _ = evaluator(network.params, loader, logs, "evaluation, validation")
    return metrics.summarize(counts, class_groups=job.data.groups)


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


def _headline(predictions: dict[str, Predictions]) -> Predictions:
    """Gives the predictions with test-time ensembling where it is enabled, else the plain ones."""
    return predictions.get("tte", predictions["plain"])


def _per_class(job: Job, predictions: dict[str, Predictions]) -> dict[str, Any]:
    """Measures each class in each section."""
    names = job.data.train.class_names
    measured = {
        section: per_class.measure(rows.label, rows.prediction, len(names)) for section, rows in predictions.items()
    }
    return per_class.content(measured, names)


def _write_results(
    job: Job, workdir: Path, results: dict[str, dict[str, Any]], predictions: dict[str, Predictions]
) -> None:
    """Writes eval.json and predictions.npz with the config and the record that they belong to.

    The headline's columns have their own names, and the plain ones beside ensembling are called `plain_...`.
    """
    main = _headline(predictions)
    columns: dict[str, Any] = dict(
        index=main.index, label=main.label, prediction=main.prediction, confidence=main.confidence
    )
    if "tte" in predictions:
        plain = predictions["plain"]
        columns |= dict(plain_prediction=plain.prediction, plain_confidence=plain.confidence)
    names = config_file.FILE, record.FILE, "eval.json", "predictions.npz"
    with replacing_together([workdir / name for name in names]) as (config, run, evaluation, rows):
        job.write_down(config, run)
        write_json(evaluation, {**results, per_class.KEY: _per_class(job, predictions)})
        with rows.open("wb") as opened:
            np.savez_compressed(opened, **columns)
