"""What the calibration in a run's folder does on the test images."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from lift_jax import weights
from lift_jax.classifier.network import Network
from lift_jax.cluster import processes
from lift_jax.errors import UserError
from lift_jax.evaluation import metrics
from lift_jax.evaluation.evaluator import Predictions, ordered_rows
from lift_jax.inference import calibration, cross_fitting
from lift_jax.inference.load import with_calibration
from lift_jax.inference.model import Model
from lift_jax.models.text_head import with_features
from lift_jax.run.job import Job
from lift_jax.workdir.logs import Logs

SECTION = "calibrated"
"""The section of eval.json with the metrics of the calibrated answers."""

KEY = "calibration"
"""The key of eval.json that says how far confidences and prediction sets can be believed."""

COVERAGE = 0.9
"""The probability with which the prediction sets that are tried on the test images hold the true class."""


class Calibrated(NamedTuple):
    """The calibrated answers on the test images.

    Attributes:
        metrics: those of the other sections of eval.json.
        predictions: one row an image.
        reliability: what eval.json has under `KEY`.
    """

    metrics: dict[str, float]
    predictions: Predictions
    reliability: dict[str, Any]


def evaluate(job: Job, network: Network, workdir: Path, before: Predictions, logs: Logs) -> Calibrated | None:
    """Evaluates a run as `lift_jax.load` answers for it, with the views of its headline.

    Args:
        job: what is evaluated.
        network: with the trained parameters, on all devices.
        workdir: the run's folder.
        before: what the run answers without the calibration.
        logs: for the progress bar.

    Returns:
        None where the folder has no calibration, or that of other parameters, of which the logs then tell.
    """
    if not processes.all_agree((workdir / calibration.FILE).is_file()):
        return None
    try:
        with processes.together():
            model = _load(job, network, workdir)
    except UserError as error:
        logs.warning(f"The section {SECTION} is left out of the results: {error}")
        return None
    return _evaluate(job, model, before, logs)


def _load(job: Job, network: Network, workdir: Path) -> Model:
    """Makes of the network what `lift_jax.load` would make of the run."""
    c = job.config
    backbone = weights.load(c.backbone, c.resolution or None, c.backbone_activation)
    model = Model(c, network, with_features(network.classifier, network.params), backbone, job.record)
    return with_calibration(model, workdir)


def _evaluate(job: Job, model: Model, before: Predictions, logs: Logs) -> Calibrated:
    assert model.calibration is not None
    mode = job.config.tte.mode if job.config.tte.enabled else "plain"
    loader = job.data.test_loader(model.network.input.resolution, mode)
    thresholds = model.calibration.sets(COVERAGE)
    rows: list[Any] = [(*(np.zeros(0, np.int64),) * 3, np.zeros(0, np.float32), *(np.zeros(0, np.int64),) * 2)]
    for index, probabilities in model.stream(loader, logs, desc=f"evaluation, {SECTION}"):
        labels, best, sets = job.data.test.labels[index], probabilities.argmax(axis=1), thresholds.sets(probabilities)
        covered = np.take_along_axis(sets, labels[:, None], axis=1)[:, 0]
        rows.append((index, labels, best, probabilities.max(axis=1), covered.astype(np.int64), sets.sum(axis=1)))
    index, labels, best, confidence, covered, sizes = ordered_rows(rows)
    groups = np.asarray(job.data.groups)
    predictions = Predictions(index, labels, best, confidence)
    return Calibrated(
        metrics.summarize(metrics.count_rows(labels, best, confidence, len(groups)), class_groups=groups),
        predictions,
        {
            "before": reliability(before, groups),
            "after": reliability(predictions, groups),
            "sets": {
                "coverage": 100 * COVERAGE,
                "covered": _means(100.0 * covered, labels, groups),
                "size": _means(sizes.astype(np.float64), labels, groups),
            },
        },
    )


def reliability(predictions: Predictions, groups: Int[np.ndarray, " classes"]) -> dict[str, Any]:
    """Measures how far confidences can be believed: over all test images, and over those of many, medium and few.

    Returns:
        `calibration_error`, in percent, null where there are no images; and `bins`, the bars of the reliability
        diagrams (see `lift_jax.inference.cross_fitting.reliability`). Every image counts the same.
    """
    labels, confidence = predictions.label, np.minimum(predictions.confidence.astype(np.float64), 1)
    right = (predictions.prediction == labels).astype(np.float64)
    parts = [
        (confidence[own], right[own], np.full(np.count_nonzero(own), 1 / max(1, np.count_nonzero(own))))
        for own in cross_fitting.by_group(labels, groups)
    ]
    return {
        "calibration_error": [100 * cross_fitting.calibration_error(*part) if len(part[0]) else None for part in parts],
        "bins": [cross_fitting.reliability(*part) for part in parts],
    }


def _means(
    values: Float[np.ndarray, " n"], labels: Int[np.ndarray, " n"], groups: Int[np.ndarray, " classes"]
) -> list[float | None]:
    """Averages a value over all images, and over those of each group; None where there are none."""
    return [float(values[own].mean()) if own.any() else None for own in cross_fitting.by_group(labels, groups)]
