"""How fast a group of trainings is for `lift_jax.bench.step --members`."""

import time

import jax
import numpy as np
import optax

from lift_jax.bench.workload import HYPERPARAMETERS, Workload
from lift_jax.cluster import placement
from lift_jax.models.image_input import ImageInput
from lift_jax.models.partition import Parts
from lift_jax.training import hyperparameters, losses, optimizer
from lift_jax.training.hyperparameters import Hyperparameters
from lift_jax.training.members_step import MembersStep
from lift_jax.training.state import initial_state
from lift_jax.training.step import TrainingStep
from lift_jax.weights.huggingface import CLIP_MEAN, CLIP_STD

COUNTS = (1, 2, 4, 8)


class Group:
    """Takes training steps of so many members at once, each with a batch of its own on the shared backbone."""

    def __init__(self, workload: Workload, count: int):
        mesh = placement.make_mesh()
        parts = Parts(*placement.replicate(workload.parts(), mesh))
        image_input = ImageInput(workload.resolution, CLIP_MEAN, CLIP_STD, np.float32)
        loss = losses.make("LA", workload.class_counts)
        step = TrainingStep(workload.classifier, loss, _tx, image_input, mesh, workload.accumulate)
        state = initial_state(parts, _tx(HYPERPARAMETERS), mesh)
        group, own_batches, rows = MembersStep(step, parts.frozen, state), count > 1, workload.rows()
        self._step = group.compiled(rows["image"].shape, count, own_batches)
        self._states = group.stacked([state] * count, own_batches)
        self._others = (
            parts.frozen,
            [placement.shard_batch(rows, mesh)] * count,
            [placement.replicated_key(seed, mesh) for seed in range(count)],
            hyperparameters.stacked([HYPERPARAMETERS] * count, mesh),
            placement.replicate(np.ones(count, bool), mesh),
        )

    def seconds(self) -> float:
        """Measures the seconds that a step of all members takes."""
        start = time.perf_counter()
        self._states, metrics = self._step(self._states, *self._others)
        jax.block_until_ready((self._states, metrics))
        return time.perf_counter() - start


def _tx(numbers: Hyperparameters) -> optax.GradientTransformation:
    return optimizer.make(numbers.lr, numbers.momentum, numbers.weight_decay)


def table(workload: Workload, rounds: int) -> str:
    """Formats a line for each number of members.

    It has the images a second over all members and the seconds of the fastest step, and the seconds until the first one
    was done, most of which the compiler takes.
    """
    lines = ["members  images x members a second  seconds a step  until the first"]
    for count in COUNTS:
        start = time.perf_counter()
        group = Group(workload, count)
        group.seconds()
        first = time.perf_counter() - start
        best = min(group.seconds() for _ in range(rounds))
        lines.append(f"{count:7d}{count * workload.batch / best:28.2f}{best:16.2f}{first:17.1f}")
    return "\n".join(lines)
