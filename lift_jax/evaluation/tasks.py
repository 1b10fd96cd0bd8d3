"""What a run's task decides: what is measured, how it is told, and what the results have of it."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from lift_jax.evaluation import metrics, multilabel, per_class
from lift_jax.evaluation.evaluator import Evaluator, Predictions
from lift_jax.evaluation.multilabel import MultilabelEvaluator
from lift_jax.evaluation.thresholds import Thresholds
from lift_jax.models.heads import Classifier
from lift_jax.models.image_input import ImageInput

AnyEvaluator = Evaluator | MultilabelEvaluator


@dataclasses.dataclass(frozen=True)
class Task:
    """A task, which `config.task` names.

    Attributes:
        columns: of the table of results: titles, and the metrics that stand under them.
        score: the metric by which a checkpoint is chosen, a mean over classes.
        logged: what metrics.jsonl says of held-out images.
        measure: what a person calls the score.
        evaluator: makes what evaluates a classifier.
        summarize: (what was measured, groups of the classes, thresholds) to the metrics.
        arrays: the columns of predictions.npz, of one section.
        classes: (rows of each section, class names, thresholds of each section) to what eval.json says of the classes.
        has_thresholds: whether an image is said to be of each class whose threshold its score reaches.
    """

    columns: Mapping[str, str]
    score: str
    logged: Sequence[str]
    measure: str
    evaluator: Callable[[Classifier, ImageInput], AnyEvaluator]
    summarize: Callable[[Any, Int[np.ndarray, " classes"], Thresholds | None], dict[str, float]]
    arrays: Callable[[Any], dict[str, np.ndarray]]
    classes: Callable[[Mapping[str, Any], Sequence[str], Mapping[str, Thresholds] | None], dict[str, Any]]
    has_thresholds: bool = False


def _summarize_one(
    counts: metrics.Counts, groups: Int[np.ndarray, " classes"], thresholds: Thresholds | None = None
) -> dict[str, float]:
    return metrics.summarize(counts, class_groups=groups)


def _arrays_of_one(rows: Predictions) -> dict[str, np.ndarray]:
    return dict(index=rows.index, label=rows.label, prediction=rows.prediction, confidence=rows.confidence)


def _classes_of_one(
    sections: Mapping[str, Predictions], class_names: Sequence[str], thresholds: Mapping[str, Thresholds] | None = None
) -> dict[str, Any]:
    count = len(class_names)
    measured = {name: per_class.measure(rows.label, rows.prediction, count) for name, rows in sections.items()}
    return per_class.content(measured, class_names)


TASKS: Mapping[str, Task] = {
    "multiclass": Task(
        metrics.COLUMNS, "mean_acc", ("accuracy", "mean_acc"), "accuracy",
        Evaluator, _summarize_one, _arrays_of_one, _classes_of_one,
    ),
    "multilabel": Task(
        multilabel.COLUMNS, "map", ("map",), "mAP",
        MultilabelEvaluator, multilabel.summarize, multilabel.arrays, multilabel.classes, has_thresholds=True,
    ),
}  # fmt: skip
"""Every task, by the name that `config.task` has for it."""
