"""What `lift_jax.bench.decisions` measures, and its tables."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, get_args

import numpy as np
from jaxtyping import Bool, Float, Int
from sklearn.metrics import roc_auc_score

from lift_jax.bench.seeds import mean
from lift_jax.evaluation.metrics import COLUMNS
from lift_jax.evaluation.ranking import average_precision
from lift_jax.inference.unknown_scores import Score
from lift_jax.text import aligned


class Known(NamedTuple):
    """The answers for the test images, all of whose classes are known.

    Attributes:
        before, after: the metrics without and with the calibration (see `lift_jax.evaluation.metrics.summarize`).
        covered: the percentage of images whose prediction set holds their class.
        size: the mean number of classes in a prediction set.
    """

    before: Mapping[str, float]
    after: Mapping[str, float]
    covered: float
    size: float


class Unknown(NamedTuple):
    """The scores of the test images where some classes were left out of the training and the head.

    Attributes:
        is_known: whether the class of each image was trained on.
        before, after: the scores of each image without and with the calibration.
        chosen: the score that the calibration has chosen.
    """

    is_known: Bool[np.ndarray, " n"]
    before: Mapping[Score, Float[np.ndarray, " n"]]
    after: Mapping[Score, Float[np.ndarray, " n"]]
    chosen: Score

    def areas(self, scores: Mapping[Score, Float[np.ndarray, " n"]]) -> dict[Score, float]:
        """Gives the area under the ROC curve of each score, from 0 to 1; every image counts the same."""
        return {name: float(roc_auc_score(self.is_known, values)) for name, values in scores.items()}


class Flipped(NamedTuple):
    """What the review makes of training labels of which some were flipped.

    Attributes:
        is_flipped: whether the label of each training image was flipped.
        suspicion: the number of suspected labels from each image's on, 0 for an image whose label is not suspected.
    """

    is_flipped: Bool[np.ndarray, " n"]
    suspicion: Int[np.ndarray, " n"]

    @property
    def average_precision(self) -> float:
        """The average precision, from 0 to 1; labels that are not suspected are tied behind all others."""
        return float(average_precision(self.is_flipped[:, None], self.suspicion[:, None])[0])

    @property
    def found(self) -> int:
        """The number of flipped labels that are suspected."""
        return int(np.count_nonzero(self.is_flipped & (self.suspicion > 0)))


class Found(NamedTuple):
    """All that was measured.

    Attributes:
        known, unknown: one entry for each seed, by the name of the method.
        flipped: one entry for each seed.
        unknown_classes, share, coverage: what was asked for: the number of classes that were left out, the share of the
            training labels that were flipped, and the coverage of the prediction sets.
    """

    known: dict[str, list[Known]]
    unknown: dict[str, list[Unknown]]
    flipped: list[Flipped]
    unknown_classes: int
    share: float
    coverage: float


def tables(found: Found) -> str:
    """Writes a table of each kind below the sentences that say what its figures are."""
    seeds, labels = len(found.flipped), len(found.flipped[0].is_flipped)
    parts = [
        "All classes known: accuracy and expected calibration error on the test images, in percent.\n"
        f"Coverage: percent of the images whose prediction set, made for {100 * found.coverage:g} %, holds their "
        "class. Size: classes in a set.",
        _known_table(found.known),
        f"{found.unknown_classes} classes left out of training and head: area under the ROC curve (0.5 is chance) of "
        "known against unknown test images.\n"
        "Chosen: by the score that the calibration of each run chose.",
        _unknown_table(found.unknown),
        f"{100 * found.share:g} % of {labels:,} training labels flipped: average precision of the review's order of "
        "suspected labels, all others tied behind.\n"
        "It judges by the backbone as it was, and so alike for all methods. Chance: the share that was flipped.",
        _flipped_table(found.flipped),
    ]
    if seeds > 1:
        parts.append(f"What stands behind ± is the standard error of the mean over {seeds} seeds.")
    return "\n\n".join(parts)


def _known_table(known: Mapping[str, Sequence[Known]]) -> str:
    metrics = {name: COLUMNS[name] for name in ("overall", "many", "medium", "few")}
    metrics["calibration error"] = "expected_calibration_error"
    rows = [["", *metrics, "coverage", "size"]]
    for method, runs in known.items():
        before = [mean([each.before[key] for each in runs]) for key in metrics.values()]
        after = [mean([each.after[key] for each in runs]) for key in metrics.values()]
        sets = mean([each.covered for each in runs]), mean([each.size for each in runs])
        rows += [[method, *before, "", ""], [_calibrated(method), *after, *sets]]
    return aligned(rows)


def _unknown_table(unknown: Mapping[str, Sequence[Unknown]]) -> str:
    rows = [["", "probability", "energy", "chosen"]]
    for method, runs in unknown.items():
        before, after = [each.areas(each.before) for each in runs], [each.areas(each.after) for each in runs]
        chosen = [areas[each.chosen] for areas, each in zip(after, runs, strict=True)]
        rows.append([method, *_by_score(before), ""])
        rows.append([_calibrated(method), *_by_score(after), mean(chosen, 3)])
    return aligned(rows)


def _by_score(areas: Sequence[Mapping[Score, float]]) -> list[str]:
    return [mean([each[name] for each in areas], 3) for name in get_args(Score)]


def _flipped_table(flipped: Sequence[Flipped]) -> str:
    columns = {
        "average precision": mean([each.average_precision for each in flipped], 3),
        "chance": mean([float(each.is_flipped.mean()) for each in flipped], 3),
        "flipped": mean([float(each.is_flipped.sum()) for each in flipped]),
        "suspected": mean([float((each.suspicion > 0).sum()) for each in flipped]),
        "flipped and suspected": mean([float(each.found) for each in flipped]),
    }
    return aligned([["", *columns], ["review", *columns.values()]])


def _calibrated(method: str) -> str:
    return f"{method}, calibrated"
