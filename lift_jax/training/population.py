"""Several trainings at once: on one frozen backbone, in one program."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager

import jax
import numpy as np

from lift_jax.cluster import memory, placement, preemption
from lift_jax.data import TrainLoader
from lift_jax.errors import DivergedError
from lift_jax.training import hyperparameters
from lift_jax.training.feeding import Feed
from lift_jax.training.hyperparameters import Hyperparameters
from lift_jax.training.loop import Hooks
from lift_jax.training.members_step import MembersStep
from lift_jax.training.state import TrainState
from lift_jax.training.step import Batch, StepMetrics


@dataclasses.dataclass(eq=False)
class Member:
    """One of the trainings, which is what it would be alone: its own images in its own order, logs and checkpoints.

    Attributes:
        seed: of its order, crops and flips.
        hyperparameters: its numbers, such as the learning rate.
        loader: its batches, at the step with which it begins. Members of equal seeds may share one.
        hooks: what happens around its steps.
        speaking: inside of the block that it opens, what is said goes to the member's logs.
        state: its state, to begin with, and after `fit` the one with which it has ended.
        diverged: why it ended early, if its loss is no longer a number.
    """

    seed: int
    hyperparameters: Hyperparameters
    loader: TrainLoader
    hooks: Hooks
    speaking: Callable[[], AbstractContextManager[None]]
    state: TrainState
    diverged: DivergedError | None = None

    @property
    def trains(self) -> bool:
        """Whether it has steps left to take."""
        return self.diverged is None and self.loader.step < self.loader.num_steps and not self.hooks.finished

    def log(self, metrics: StepMetrics, examples: int) -> None:
        """Logs what is due after a step; `diverged` then says whether the member goes on."""
        with self.speaking(), self._ending():
            self.hooks.log(metrics, examples)

    def save(self, state: Callable[[], TrainState]) -> bool:
        """Saves what is due; says whether the process was told to stop, in which case the member is saved."""
        with self.speaking(), self._ending():
            try:
                self.hooks.save(state)
            except SystemExit:
                return True
        return False

    @contextlib.contextmanager
    def _ending(self) -> Iterator[None]:
        """Notes what ends this training alone."""
        try:
            yield
        except DivergedError as error:
            self.diverged = error


Reached = Mapping[Member, Callable[[], TrainState]]
"""Members that have taken a step, each with what gives its state after it."""


def fit(
    members: Sequence[Member], step: MembersStep, stepped: Callable[[Reached], None] = lambda reached: None
) -> None:
    """Trains all members to their ends; `lift_jax.training.loop.fit` is the same for one.

    Members that go on from different steps wait for the one that is the furthest behind. A member whose loss is no
    longer a number leaves, and its `diverged` says why; the others go on.

    Args:
        members: the trainings, whose `state` is what changes. They agree in everything but their own attributes.
        step: a step of theirs.
        stepped: is told after each step, before anything is saved, which members have taken it.

    Raises:
        UserError: if an image cannot be read, or the devices' memory does not suffice.
        SystemExit: with `preemption.EXIT_CODE`, once all members are saved, if the process was told to stop.
    """
    count, mesh = len(members), step.mesh
    own_batches = count_batches(members) > 1
    place = {member: index for index, member in enumerate(members)}
    keys = [placement.replicated_key(member.seed, mesh) for member in _in_order(members)]
    feeds = {member.loader: Feed(member.loader, mesh) for member in members}
    numbers = hyperparameters.stacked([member.hyperparameters for member in members], mesh)
    fewer = f"write --members {count // 2}" if count > 1 else "write a smaller config.batch_size"
    with contextlib.ExitStack() as around:
        for member in members:
            around.enter_context(member.speaking())
            around.enter_context(member.hooks)
        around.enter_context(memory.sufficing(f"A training step of {count} runs at once", fewer))
        update = step.compiled(members[0].loader.image_shape, count, own_batches)
        states = step.stacked([member.state for member in members], own_batches)
        while turn := _turn(members):
            taken = {loader: feeds[loader].take() for loader in dict.fromkeys(member.loader for member in turn)}
            rows = _rows(members, {loader: batch for loader, (batch, _) in taken.items()})
            active = placement.replicate(np.array([member in turn for member in members]), mesh)
            with jax.transfer_guard("disallow"):
                states, metrics = update(states, step.frozen, rows, keys, numbers, active)
            for loader in taken:
                feeds[loader].prepare()
            for member in turn:
                member.log(metrics[place[member]], taken[member.loader][1])
            reached = {member: step.taking(states, place[member]) for member in turn if member.diverged is None}
            stepped(reached)
            told = [member.save(state) for member, state in reached.items()]
            if any(told):
                raise SystemExit(preemption.EXIT_CODE)
        for member in members:
            member.state = step.taking(states, place[member])()


def count_batches(members: Sequence[Member]) -> int:
    """Gives how many batches a step of the members takes: one if all share it, else one for each."""
    return len(_in_order(members))


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
