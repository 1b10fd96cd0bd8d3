"""Several trainings at once: on one frozen backbone, in one program."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from lift_jax.classifier.network import Network
from lift_jax.cluster import placement, preemption
from lift_jax.data import TrainLoader
from lift_jax.errors import DivergedError
from lift_jax.models.partition import Tree
from lift_jax.training.feeding import Feed
from lift_jax.training.loop import Hooks
from lift_jax.training.state import TrainState
from lift_jax.training.step import Batch, StepMetrics, TrainingStep


@dataclasses.dataclass(eq=False)
class Member:
    """One of the trainings, which is what it would be alone: its own images in its own order, logs and checkpoints.

    Attributes:
        seed: of its order, crops and flips.
        lr: its learning rate at the start.
        loader: its batches, at the step with which it begins. Members of equal seeds may share one.
        hooks: what happens around its steps.
        speaking: inside of the block that it opens, what is said goes to the member's logs.
        state: its state, to begin with and after each step.
        diverged: why it ended early, if its loss is no longer a number.
    """

    seed: int
    lr: float
    loader: TrainLoader
    hooks: Hooks
    speaking: Callable[[], AbstractContextManager[None]]
    state: TrainState
    diverged: DivergedError | None = None

    @property
    def trains(self) -> bool:
        """Whether it has steps left to take."""
        return self.diverged is None and self.loader.step < self.loader.num_steps and not self.hooks.finished

    def after_step(self, metrics: StepMetrics, examples: int) -> bool:
        """Logs and saves what is due; says whether the process was told to stop, in which case the member is saved."""
        with self.speaking():
            try:
                self.hooks.after_step(self.state, metrics, examples)
            except DivergedError as error:
                self.diverged = error
            except SystemExit:
                return True
        return False


def fit(network: Network, members: Sequence[Member], step: TrainingStep) -> None:
    """Trains all members to their ends; `lift_jax.training.loop.fit` is the same for one.

    Members that go on from different steps wait for the one that is the furthest behind. A member whose loss is no
    longer a number leaves, and its `diverged` says why; the others go on.

    Args:
        network: the network of any member, because its frozen parameters are those of all.
        members: the trainings, whose `state` is what changes. They agree in everything but their own attributes.
        step: a step of the objective.

    Raises:
        UserError: if an image cannot be read.
        SystemExit: with `preemption.EXIT_CODE`, once all members are saved, if the process was told to stop.
    """
    everywhere = NamedSharding(step.mesh, PartitionSpec())
    update = jax.jit(functools.partial(group_step, step), donate_argnums=0, out_shardings=everywhere)
    keys = [placement.replicated_key(member.seed, step.mesh) for member in _in_order(members)]
    feeds = {member.loader: Feed(member.loader, step.mesh) for member in members}
    lr = placement.replicate(np.array([member.lr for member in members], np.float32), step.mesh)
    with contextlib.ExitStack() as around:
        for member in members:
            around.enter_context(member.speaking())
            around.enter_context(member.hooks)
        while turn := _turn(members):
            taken = {loader: feeds[loader].take() for loader in dict.fromkeys(member.loader for member in turn)}
            rows = _rows(members, {loader: batch for loader, (batch, _) in taken.items()})
            active = placement.replicate(np.array([member in turn for member in members]), step.mesh)
            before = [member.state for member in members]
            with jax.transfer_guard("disallow"):
                states, metrics = update(before, network.parts.frozen, rows, keys, lr, active)
            for loader in taken:
                feeds[loader].prepare()
            for member, state in zip(members, states, strict=True):
                member.state = state
            told = [
                member.after_step(measured, taken[member.loader][1])
                for member, measured in zip(members, metrics, strict=True)
                if member in turn
            ]
            if any(told):
                raise SystemExit(preemption.EXIT_CODE)


def _turn(members: Sequence[Member]) -> list[Member]:
    """Gives the members that take the next step: of those that have steps left, the ones that are furthest behind."""
    left = [member for member in members if member.trains]
    first = min((member.loader.step for member in left), default=0)
    return [member for member in left if member.loader.step == first]


def _rows(members: Sequence[Member], batches: Mapping[TrainLoader, Batch]) -> list[Batch]:
    """Gives the batches of a step: one if all members share it, else one for each, also where it takes no step."""
    any_rows = next(iter(batches.values()))
    return [batches.get(member.loader, any_rows) for member in _in_order(members)]


def _in_order(members: Sequence[Member]) -> Sequence[Member]:
    """Gives the members whose batches and flips a step takes: the first one alone if all share its order."""
    return members[:1] if len({member.loader for member in members}) == 1 else members


def group_step(
    step: TrainingStep,
    states: list[TrainState],
    frozen: Tree,
    batches: list[Batch],
    keys: list[PRNGKeyArray],
    lr: Float[Array, " k"],
    active: Bool[Array, " k"],
) -> tuple[list[TrainState], list[StepMetrics]]:
    """Takes one step of the active members, which are at the same step; the others' states stay as they are.

    Batches and keys are one for each member, or a single one for all.
    """
    state = _stacked(states)
    common = TrainState(state.step[jnp.argmax(active)], state.trainable, state.opt_state)
    batch = _stacked(batches) if len(batches) > 1 else batches[0]
    key = jnp.stack(keys) if len(keys) > 1 else keys[0]
    new, metrics = step.of_members(common, frozen, batch, key, lr)
    new = TrainState(jnp.broadcast_to(new.step, lr.shape), new.trainable, new.opt_state)
    new = jax.tree.map(lambda old, x: jax.vmap(jnp.where)(active, x, old), state, new)
    count = range(len(states))
    return [_member(new, index) for index in count], [_member(metrics, index) for index in count]


def _stacked(trees: Sequence[Any]) -> Any:
    return jax.tree.map(lambda *arrays: jnp.stack(arrays), *trees)


def _member(tree: Any, index: int) -> Any:
    return jax.tree.map(lambda array: array[index], tree)
