"""How good a training is on the held-out images, at the end of each epoch."""

from collections.abc import Callable, Sequence

from lift_jax.evaluation.tasks import TASKS, Task
from lift_jax.training.state import TrainState
from lift_jax.workdir import checkpoints

Measure = Callable[[TrainState], dict[str, float]]
"""Gives the metrics of a state on the held-out images (see `lift_jax.evaluation.metrics.summarize`)."""


class Validation:
    """Keeps the scores of a training, and knows when more of it is of no use.

    Args:
        measure: evaluates a state on the held-out images.
        patience: scores without a gain after which the training ends; 0 for never.
        scores: the steps and scores of a run that goes on.
        task: says which metric is the score.
    """

    def __init__(
        self,
        measure: Measure,
        patience: int = 0,
        scores: Sequence[tuple[int, float]] = (),
        task: Task = TASKS["multiclass"],
    ):
        self._measure, self._patience, self.task = measure, patience, task
        self.scores = list(scores)

    def __call__(self, step: int, state: TrainState) -> dict[str, float]:
        """Evaluates the state after a step, notes its score, and returns what metrics.jsonl says of it, in percent."""
        metrics = self._measure(state)
        self.scores.append((step, metrics[self.task.score]))
        return {key: metrics[key] for key in self.task.logged}

    @property
    def exhausted(self) -> bool:
        """Whether so many scores as the patience have brought no gain."""
        steps = [step for step, _ in self.scores]
        best = checkpoints.best(self.scores, steps)
        return bool(self._patience) and best is not None and len(steps) - 1 - steps.index(best) >= self._patience
