"""Metrics of a classifier, from counts that can be summed over batches, devices and hosts.

`count` runs on the devices and gives `Counts`; the sum of `Counts` over disjoint sets of examples is that of their
union, so a `psum` or a `+` merges them. `summarize` turns the total into percentages, on the host in float64.
"""

import operator
from collections.abc import Mapping

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from numpy.typing import ArrayLike

from lift_jax.data.groups import GROUPS, groups
from lift_jax.errors import UserError
from lift_jax.text import aligned

AnyArray = Array | np.ndarray

NUM_BINS = 10
COLUMNS = {"overall": "accuracy", "mean class": "mean_acc", "many": "many_acc", "medium": "med_acc", "few": "few_acc"}


@flax.struct.dataclass
class Counts:
    """Sums over examples, one entry per class or per calibration bin; a pytree, also of NumPy arrays.

    Attributes:
        correct: Examples of the class that were predicted right.
        total: Examples of the class.
        predicted: Examples that were predicted to be of the class.
        bin_total: Examples with a confidence in the bin.
        bin_correct: Those of them that were predicted right.
        bin_confidence: Sum of their confidences.
    """

    correct: Int[AnyArray, " classes"]
    total: Int[AnyArray, " classes"]
    predicted: Int[AnyArray, " classes"]
    bin_total: Int[AnyArray, " bins"]
    bin_correct: Int[AnyArray, " bins"]
    bin_confidence: Float[AnyArray, " bins"]

    def __add__(self, other: "Counts") -> "Counts":
        return jax.tree.map(operator.add, self, other)


def count(
    logits: Float[AnyArray, "batch classes"],
    labels: Int[AnyArray, " batch"],
    mask: Bool[AnyArray, " batch"] | None = None,
) -> Counts:
    """Counts one batch; it is a pure function of arrays, for use under `jax.jit` and `jax.pmap`.

    The prediction is the first of the largest logits, its confidence the largest softmax probability in float32.

    Args:
        logits: [batch, classes]; what stands in a padded row, NaN included, is ignored.
        labels: [batch], 0 to classes - 1 where `mask` is true, anything elsewhere.
        mask: [batch], false for padding; None if every example is real.
    """
    num_classes = logits.shape[-1]
    real = jnp.ones(labels.shape, bool) if mask is None else jnp.asarray(mask, bool)
    logits = jnp.where(real[:, None], jnp.asarray(logits, jnp.float32), 0.0)
    prediction = jnp.argmax(logits, axis=-1)
    confidence = jnp.max(jax.nn.softmax(logits, axis=-1), axis=-1)
    correct = (prediction == labels) & real
    bins = jnp.clip(jnp.searchsorted(_bin_edges(), confidence) - 1, 0, NUM_BINS - 1)

    def total(values: Array, index: AnyArray, length: int) -> Array:
        return jax.ops.segment_sum(values, jnp.where(real, index, length), length)

    return Counts(
        correct=total(correct.astype(jnp.int32), labels, num_classes),
        total=total(real.astype(jnp.int32), labels, num_classes),
        predicted=total(real.astype(jnp.int32), prediction, num_classes),
        bin_total=total(real.astype(jnp.int32), bins, NUM_BINS),
        bin_correct=total(correct.astype(jnp.int32), bins, NUM_BINS),
        bin_confidence=total(confidence, bins, NUM_BINS),
    )


def no_counts(num_classes: int) -> Counts:
    """Gives the counts of no examples, in NumPy arrays 64 bits wide."""
    none = np.zeros(0, np.int32)
    return count_rows(none, none, np.zeros(0, np.float32), num_classes)


def count_rows(
    labels: Int[np.ndarray, " n"],
    predictions: Int[np.ndarray, " n"],
    confidences: Float[np.ndarray, " n"],
    num_classes: int,
) -> Counts:
    """Counts images on the host, of which the predictions and their confidences are known (see `count`)."""
    right = labels == predictions
    bins = np.clip(np.searchsorted(_bin_edges(), confidences.astype(np.float32)) - 1, 0, NUM_BINS - 1)
    return Counts(
        correct=np.bincount(labels[right], minlength=num_classes),
        total=np.bincount(labels, minlength=num_classes),
        predicted=np.bincount(predictions, minlength=num_classes),
        bin_total=np.bincount(bins, minlength=NUM_BINS),
        bin_correct=np.bincount(bins[right], minlength=NUM_BINS),
        bin_confidence=np.bincount(bins, confidences, NUM_BINS),
    )


def summarize(
    counts: Counts, train_class_counts: ArrayLike | None = None, class_groups: ArrayLike | None = None
) -> dict[str, float]:
    """Gives the metrics of the LIFT paper's evaluator, in percent, and `num_examples`.

    `accuracy` is over examples, `mean_acc` over classes, `many_acc`, `med_acc` and `few_acc` over a group's classes;
    `worst_case_acc`, `hmean_acc` and `gmean_acc` are minimum, harmonic and geometric mean of the class accuracies (the
    harmonic mean takes an accuracy of 0 for 0.001 %); `macro_f1` is the mean over classes of the F1 score;
    `expected_calibration_error` has ten bins of equal width, open below and closed above (Guo et al. 2017, eq. 3).
    Classes without test examples are left out of every mean. A group without classes gives NaN.

    Args:
        counts: The sum over all test examples.
        train_class_counts: Training images per class [classes]; they make the groups unless `class_groups` is given.
        class_groups: Group per class [classes], as an index into `GROUPS` or as its name: for benchmarks whose
            published groups are those of another training set. Without both arguments every group is NaN.

    Raises:
        UserError: if there are no test examples.
    """
    correct, total, predicted = (np.asarray(x, np.float64) for x in (counts.correct, counts.total, counts.predicted))
    seen = total > 0
    if not seen.any():
        raise UserError("There is nothing to evaluate: the test set has no examples; check config.data.test_list.")
    accuracy = correct.sum() / total.sum()
    class_accuracy = correct[seen] / total[seen]
    f1 = 2 * correct[seen] / (total[seen] + predicted[seen])
    with np.errstate(divide="ignore"):
        log_accuracy = np.log(class_accuracy)
    metrics = {
        "accuracy": accuracy,
        "error_rate": 1 - accuracy,
        "macro_f1": f1.mean(),
        "worst_case_acc": class_accuracy.min(),
        "hmean_acc": 1 / np.mean(1 / np.maximum(class_accuracy, 1e-5)),
        # Through logarithms: the product over thousands of classes is too small for a float64.
        "gmean_acc": np.exp(log_accuracy.mean()),
        "mean_acc": class_accuracy.mean(),
        "expected_calibration_error": _calibration_error(counts),
    }
    if class_groups is None:
        class_groups = np.full(len(total), -1) if train_class_counts is None else groups(train_class_counts)
    class_groups = np.asarray(class_groups)[seen]
    for index, name in enumerate(GROUPS):
        members = class_accuracy[(class_groups == name) if class_groups.dtype.kind in "UO" else (class_groups == index)]
        metrics[f"{name}_acc"] = members.mean() if members.size else np.nan
    return {name: 100 * float(value) for name, value in metrics.items()} | {"num_examples": int(total.sum())}


def table(
    rows: Mapping[str, Mapping[str, float]],
    deviations: Mapping[str, Mapping[str, float]] | None = None,
    columns: Mapping[str, str] = COLUMNS,
) -> str:
    """Writes a plain aligned table: a line per named run, a column per entry of `columns`; "-" where there is no value.

    Args:
        rows: metrics by the names of the lines.
        deviations: standard deviations in the same form, for those lines that have some: "45.0 ± 1.2".
        columns: the metrics of the columns, by their titles.
    """

    def cell(name: str, metric: str) -> str:
        deviation = (deviations or {}).get(name, {}).get(metric)
        text = _percentage(rows[name].get(metric))
        return text if deviation is None else f"{text} ± {_percentage(deviation)}"

    cells = [["", *columns]] + [[name, *(cell(name, metric) for metric in columns.values())] for name in rows]
    return aligned(cells)


def _bin_edges() -> np.ndarray:
    """Gives float32 lower edges of the calibration bins, by which a confidence falls as by float64 edges.

    The nearest float32 of an edge may lie above it, and would put a confidence equal to it one bin too low: 1/10, the
    confidence of a head that tells ten classes apart no better than chance, is such a case.
    """
    edges = np.linspace(0, 1, NUM_BINS + 1)[:-1]
    rounded = edges.astype(np.float32)
    return np.where(rounded > edges, np.nextafter(rounded, np.float32(-1)), rounded)


def _calibration_error(counts: Counts) -> float:
    """Computes the mean over examples of |accuracy - mean confidence| of their bin; empty bins add nothing."""
    correct, confidence, total = (
        np.asarray(x, np.float64) for x in (counts.bin_correct, counts.bin_confidence, counts.bin_total)
    )
    return float(np.abs(correct - confidence).sum() / total.sum())


def _percentage(value: float | None) -> str:
    return "-" if value is None or np.isnan(value) else f"{value:.1f}"
