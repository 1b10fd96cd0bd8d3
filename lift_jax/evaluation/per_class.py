"""Precision and recall of each class, with bootstrap intervals."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

KEY = "classes"
"""The key of eval.json that has them, beside the sections."""

RESAMPLES = 1000
"""How often the test images are drawn again."""

COVERAGE = 95.0
"""Percent of the resamples whose values lie within an interval."""

SEED = 0
_CLASSES_AT_ONCE = 1000
"""Classes whose draws are in memory together: 32 MB."""


class PerClass(NamedTuple):
    """What is measured of each class, in percent, float64; NaN where it is 0 of 0.

    Attributes:
        precision: the share of the images predicted to be of the class that are.
        recall: the share of the images of the class that are predicted to be.
        precision_interval, recall_interval: the lower and upper end of their intervals.
    """

    precision: Float[np.ndarray, " classes"]
    recall: Float[np.ndarray, " classes"]
    precision_interval: Float[np.ndarray, "classes 2"]
    recall_interval: Float[np.ndarray, "classes 2"]


def measure(
    labels: Int[np.ndarray, " n"], predictions: Int[np.ndarray, " n"], num_classes: int, resamples: int = RESAMPLES
) -> PerClass:
    """Measures precision and recall, and their percentile intervals by a bootstrap over the test images.

    For one class, an image is a true positive, a false positive, a false negative or none of these. n images that are
    drawn with replacement have these four in numbers that are multinomially distributed, and so they are drawn, class
    by class: the intervals of each class are those of resampled images, without resampling any. Draws in which a value
    is 0 of 0 are left out of its interval. An interval of a class with very few images is a rough one: where all of
    them are right, so are all in every draw, and it has no width.

    Args:
        labels: the true classes.
        predictions: the predicted classes.
        num_classes: number of classes.
        resamples: number of draws.
    """
    correct = np.bincount(labels[labels == predictions], minlength=num_classes)
    total = np.bincount(labels, minlength=num_classes)
    predicted = np.bincount(predictions, minlength=num_classes)
    cells = np.stack([correct, predicted - correct, total - correct], axis=1)
    generator = np.random.default_rng(SEED)
    intervals = [
        _intervals(generator, cells[start : start + _CLASSES_AT_ONCE], len(labels), resamples)
        for start in range(0, num_classes, _CLASSES_AT_ONCE)
    ]
    precision, recall = (np.concatenate(parts) for parts in zip(*intervals, strict=True))
    return PerClass(_percent(correct, predicted), _percent(correct, total), precision, recall)


def _intervals(
    generator: np.random.Generator, cells: Int[np.ndarray, "classes 3"], n: int, resamples: int
) -> tuple[Float[np.ndarray, "classes 2"], Float[np.ndarray, "classes 2"]]:
    """Gives the intervals of precision and recall."""
    rest = n - cells.sum(axis=1, keepdims=True)
    shares = np.concatenate([cells, rest], axis=1) / max(n, 1)
    drawn = generator.multinomial(n, shares, size=(resamples, len(cells)))
    correct, false_positive, false_negative = (drawn[..., cell] for cell in range(3))
    return _ends(_percent(correct, correct + false_positive)), _ends(_percent(correct, correct + false_negative))


def _ends(values: Float[np.ndarray, "resamples classes"]) -> Float[np.ndarray, "classes 2"]:
    """Gives the percentiles between which an interval lies, of the values that are no NaN; NaN where there are none."""
    # As NumPy's nanpercentile, which goes through the classes one by one and takes ten times as long.
    ordered = np.sort(values.T, axis=1)  # NaN stands last
    last = np.maximum(np.count_nonzero(~np.isnan(ordered), axis=1) - 1, 0)
    outside = (100 - COVERAGE) / 200
    return np.stack([_between(ordered, share * last) for share in (outside, 1 - outside)], axis=1)


def _between(
    ordered: Float[np.ndarray, "classes resamples"], places: Float[np.ndarray, " classes"]
) -> Float[np.ndarray, " classes"]:
    """Interpolates linearly between the values on both sides of a place in each row."""
    below, above = np.floor(places).astype(int), np.ceil(places).astype(int)
    rows = np.arange(len(ordered))
    low, high = ordered[rows, below], ordered[rows, above]
    return low + (places - below) * (high - low)


def _percent(part: Int[np.ndarray, "*shape"], whole: Int[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    return np.where(whole > 0, 100 * part / np.maximum(whole, 1), np.nan)


def content(sections: Mapping[str, PerClass], class_names: Sequence[str]) -> dict[str, Any]:
    """Gives the measures of all sections as eval.json has them: how they were made, and an entry for each class."""
    entries = {}
    for section, measured in sections.items():
        columns = [np.asarray(column).tolist() for column in measured]
        entries[section] = [
            {"class": name, **dict(zip(PerClass._fields, values, strict=True))}
            for name, *values in zip(class_names, *columns, strict=True)
        ]
    return {"resamples": RESAMPLES, "coverage": COVERAGE, "seed": SEED, **entries}
