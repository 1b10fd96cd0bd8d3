"""How fast groups of trainings are for `lift_jax.bench.step --members`."""

import time
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
import optax

from lift_jax.bench.workload import HYPERPARAMETERS, Workload
from lift_jax.cluster import placement
from lift_jax.models.image_input import ImageInput
from lift_jax.models.partition import Parts
from lift_jax.text import aligned
from lift_jax.training import hyperparameters, losses, optimizer
from lift_jax.training.hyperparameters import Hyperparameters
from lift_jax.training.members_step import MembersStep
from lift_jax.training.state import TrainState, initial_state
from lift_jax.training.step import TrainingStep
from lift_jax.weights.huggingface import CLIP_MEAN, CLIP_STD

COUNTS = (1, 2, 4, 8)
COLUMNS = "images x members a second", "seconds a step", "of the processors", "over lone steps", "until the first"


class Took(NamedTuple):
    """The seconds that a step takes, and those of all processors, which other programs on the machine change less."""

    seconds: float
    processors: float


class Groups:
    """Takes training steps of groups of trainings with one backbone.

    Args:
        workload: what each member trains.
        one_batch: whether members share one batch and key, as those of equal seeds do; else each has its own.
    """

    def __init__(self, workload: Workload, one_batch: bool = False):
        self._one_batch = one_batch
        self._mesh = placement.make_mesh()
        self._parts = Parts(*placement.replicate(workload.parts(), self._mesh))
        image_input = ImageInput(workload.resolution, CLIP_MEAN, CLIP_STD, np.float32)
        loss = losses.make("LA", workload.class_counts)
        step = TrainingStep(workload.classifier, loss, _tx, image_input, self._mesh, workload.accumulate)
        self._state = initial_state(self._parts, _tx(HYPERPARAMETERS), self._mesh)
        self._step = MembersStep(step, self._parts.frozen, self._state)
        self._batch = placement.shard_batch(workload.rows(), self._mesh)
        self._states: dict[int, TrainState] = {}

    def took(self, count: int) -> Took:
        """Measures a step of a group of so many members; the first one is compiled before."""
        own_batches, mesh = count > 1 and not self._one_batch, self._mesh
        batches = count if own_batches else 1
        step = self._step.compiled(self._batch["image"].shape, count, own_batches)
        if count not in self._states:
            self._states[count] = self._step.stacked([self._state] * count, own_batches)
        others = (
            self._parts.frozen,
            [self._batch] * batches,
            [placement.replicated_key(seed, mesh) for seed in range(batches)],
            hyperparameters.stacked([HYPERPARAMETERS] * count, mesh),
            placement.replicate(np.ones(count, bool), mesh),
        )
        start = Took(time.perf_counter(), time.process_time())
        self._states[count], metrics = step(self._states[count], *others)
        jax.block_until_ready((self._states[count], metrics))
        return Took(time.perf_counter() - start.seconds, time.process_time() - start.processors)


def _tx(numbers: Hyperparameters) -> optax.GradientTransformation:
    return optimizer.make(numbers.lr, numbers.momentum, numbers.weight_decay)


def table(workload: Workload, rounds: int, one_batch: bool = False, counts: Sequence[int] = COUNTS) -> str:
    """Formats a line for each number of members, of which the first is 1; the groups take turns.

    Of its fastest step it has the images a second over all members, the seconds, and those of the processors, also over
    what so many steps of one training take; then the seconds until the first step was done, most of which the
    compiler takes.
    """
    groups, first = Groups(workload, one_batch), {}
    for count in counts:
        start = time.perf_counter()
        groups.took(count)
        first[count] = time.perf_counter() - start
    took = [{count: groups.took(count) for count in counts} for _ in range(rounds)]
    rows = []
    for count in counts:
        best, alone = (Took(*map(min, zip(*(each[k] for each in took), strict=True))) for k in (count, 1))
        share = best.processors / (count * alone.processors)
        numbers = count * workload.batch / best.seconds, best.seconds, best.processors, share
        rows.append([f"{count}", *(f"{each:.2f}" for each in numbers), f"{first[count]:.1f}"])
    return aligned([["members", *COLUMNS], *rows])
