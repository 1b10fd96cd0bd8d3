"""Evaluation of images with several labels: mean average precision, and F1 at the thresholds of the classes."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Float, Int

from lift_jax.data import Examples
from lift_jax.data.groups import GROUPS
from lift_jax.errors import UserError
from lift_jax.evaluation.device_step import DeviceStep
from lift_jax.evaluation.evaluator import features_first, mean_logits, ordered_rows
from lift_jax.evaluation.ranking import average_precision
from lift_jax.evaluation.thresholds import Thresholds
from lift_jax.models.heads import Classifier
from lift_jax.models.image_input import ImageInput
from lift_jax.models.partition import Tree
from lift_jax.models.text_head import with_features
from lift_jax.workdir.logs import Logs

COLUMNS = {
    "mAP": "map",
    "many": "many_map",
    "medium": "med_map",
    "few": "few_map",
    "macro F1": "macro_f1",
    "micro F1": "micro_f1",
}


class Scores(NamedTuple):
    """One row an example, in the order of the data set; skipped examples are absent.

    Attributes:
        index: index of the example in its data set.
        label: of which classes it is.
        score: the logits.
    """

    index: Int[np.ndarray, " n"]
    label: Bool[np.ndarray, "n classes"]
    score: Float[np.ndarray, "n classes"]


class MultilabelEvaluator:
    """Gives the logits of every example; they are kept, since a rank is known when all are there.

    Args:
        classifier: images to logits.
        image_input: what the device does with the images first.
    """

    def __init__(self, classifier: Classifier, image_input: ImageInput):
        def step(params: Tree, batch: dict[str, Array]) -> tuple[None, Array]:
            return None, mean_logits(classifier, image_input, params, batch)

        self.step = DeviceStep(step, before=features_first(classifier.backbone, image_input))
        self._classifier = classifier

    def __call__(self, params: Tree, loader: Examples, logs: Logs, desc: str) -> tuple[Scores, Scores]:
        """Evaluates all examples (see `of_several`)."""
        return self.of_several([params], loader, [logs], desc)[0]

    def of_several(
        self, params: Sequence[Tree], loader: Examples, logs: Sequence[Logs], desc: str
    ) -> list[tuple[Scores, Scores]]:
        """Evaluates all examples, which are read once, with several parameters.

        For the arguments see `lift_jax.evaluation.evaluator.Evaluator.of_several`.

        Returns:
            For each of them twice the scores: that is what is measured, and also the row of every example.
        """
        classes = self._classifier.head.num_classes
        none = np.zeros(0, np.int32), np.zeros((0, classes), bool), np.zeros((0, classes), np.float32)
        rows: list[list[tuple[np.ndarray, ...]]] = [[none] for _ in params]
        params = [with_features(self._classifier, each) for each in params]
        for batch, results in self.step.of_several(params, loader, logs, desc):
            real = batch["mask"]
            for member, (_, logits) in enumerate(results):
                rows[member].append((batch["index"][real], batch["label"][real], logits[real]))
        found = [Scores(*ordered_rows(own)) for own in rows]
        return [(scores, scores) for scores in found]


def summarize(
    scores: Scores, class_groups: Int[np.ndarray, " classes"], thresholds: Thresholds | None = None
) -> dict[str, float]:
    """Gives the metrics in percent, and `num_examples`.

    `map` is the mean over classes of the average precision, `many_map`, `med_map` and `few_map` over those of a group;
    `macro_f1` is the mean over classes of F1 at the thresholds, and `micro_f1` that of all pairs of image and class
    together. Classes without test images are left out of every mean over classes. A group without classes gives NaN.

    Args:
        scores: of all test images.
        class_groups: the group of each class, as an index into `GROUPS`.
        thresholds: those of the run; None where none have been chosen, and then there is no F1.

    Raises:
        UserError: if no test image is of a class.
    """
    tested = scores.label.any(axis=0)
    if not tested.any():
        raise UserError("There is nothing to evaluate: no test image has a label; check config.data.test_list.")
    precision = average_precision(scores.label, scores.score)
    metrics: dict[str, Any] = {"map": precision[tested].mean()}
    for index, name in enumerate(GROUPS):
        members = precision[tested & (class_groups == index)]
        metrics[f"{name}_map"] = members.mean() if members.size else np.nan
    if thresholds is not None:
        right, predicted, positive = _counts(scores, thresholds)
        metrics["macro_f1"] = _f1(right, predicted, positive)[tested].mean()
        metrics["micro_f1"] = float(_f1(right.sum(), predicted.sum(), positive.sum()))
    return {name: 100 * float(value) for name, value in metrics.items()} | {"num_examples": len(scores.index)}


def _counts(scores: Scores, thresholds: Thresholds) -> tuple[Int[np.ndarray, " classes"], ...]:
    """Counts the images of each class that are said to be of it, all that are said to be, and all that are."""
    said = thresholds.of(scores.score)
    return (said & scores.label).sum(axis=0), said.sum(axis=0), scores.label.sum(axis=0)


def _f1(right: Any, predicted: Any, positive: Any) -> Any:
    return 2 * right / np.maximum(predicted + positive, 1)


def arrays(scores: Scores) -> dict[str, np.ndarray]:
    """Gives the columns of predictions.npz."""
    return scores._asdict()


def classes(
    sections: Mapping[str, Scores], class_names: Sequence[str], thresholds: Mapping[str, Thresholds] | None
) -> dict[str, Any]:
    """Gives what eval.json says of each class in each section, in percent; NaN where it is 0 of 0."""
    assert thresholds is not None
    return {section: _classes(scores, class_names, thresholds[section]) for section, scores in sections.items()}


def _classes(scores: Scores, class_names: Sequence[str], thresholds: Thresholds) -> list[dict[str, Any]]:
    right, predicted, positive = _counts(scores, thresholds)
    with np.errstate(invalid="ignore"):
        columns = {
            "average_precision": 100 * average_precision(scores.label, scores.score),
            "precision": np.where(predicted > 0, 100 * right / np.maximum(predicted, 1), np.nan),
            "recall": np.where(positive > 0, 100 * right / np.maximum(positive, 1), np.nan),
            "f1": np.where(positive > 0, 100 * _f1(right, predicted, positive), np.nan),
            "threshold": thresholds.values,
        }
    rows = zip(*(column.tolist() for column in columns.values()), strict=True)
    return [
        {"class": name, **dict(zip(columns, values, strict=True)), "chosen_by": chosen_by}
        for name, values, chosen_by in zip(class_names, rows, thresholds.chosen_by, strict=True)
    ]
