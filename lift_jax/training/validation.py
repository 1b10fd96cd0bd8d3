"""How good a training is on the held-out images, at the end of each epoch."""

from collections.abc import Callable, Mapping, Sequence

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


class JointMeasure:
    """Measures several trainings together: when the first of them asks after a step, all that have taken this step.

    Args:
        measure: gives the metrics of some of the trainings, by their places; it is given what gives their states.
    """

    def __init__(self, measure: Callable[[Mapping[int, Callable[[], TrainState]]], Mapping[int, dict[str, float]]]):
        self._measure = measure
        self._reached: Mapping[int, Callable[[], TrainState]] = {}
        self._found: Mapping[int, dict[str, float]] = {}

    def stepped(self, reached: Mapping[int, Callable[[], TrainState]]) -> None:
        """Is told after each step which trainings have taken it, and what gives their states."""
        self._reached, self._found = reached, {}

    def of(self, place: int) -> Measure:
        """Gives the measure of the training at a place, which is to be asked about the state after its newest step."""

        def measure(state: TrainState) -> dict[str, float]:
            if not self._found:
                self._found = self._measure(self._reached)
            return self._found[place]

        return measure
