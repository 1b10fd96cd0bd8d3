"""A step of several trainings: its program, and how their states lie on the devices."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from jax.stages import Compiled
from jaxtyping import Array, Bool, PRNGKeyArray

from lift_jax.cluster import memory, placement
from lift_jax.models.partition import Tree
from lift_jax.training.hyperparameters import Hyperparameters
from lift_jax.training.state import TrainState
from lift_jax.training.step import Batch, StepMetrics, TrainingStep


class MembersStep:
    """Steps of k trainings at once, whose states are stacked: each array has a leading axis for the members.

    Where each device takes whole members (see `TrainingStep.spreads`), their states are on it alone; otherwise all
    devices have all states.

    Args:
        step: the step of one training.
        frozen: the frozen parameters of all, on the devices.
        state: the state of any of them, which says what the others' arrays are like.
        label_shape: of the labels of one image: () for one, or (classes,) where images may have several.
    """

    def __init__(self, step: TrainingStep, frozen: Tree, state: TrainState, label_shape: tuple[int, ...] = ()):
        self.mesh, self.frozen = step.mesh, frozen
        self._step, self._label_shape = step, label_shape
        self._like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), state)
        self._everywhere = NamedSharding(self.mesh, PartitionSpec())
        self._programs: dict[tuple[Any, ...], Compiled] = {}
        self._take = jax.jit(_member, out_shardings=self._everywhere)

    def compiled(self, images: tuple[int, ...], count: int, own_batches: bool) -> Compiled:
        """Compiles `group_step`, once for the same arguments.

        Args:
            images: the shape of a batch's images (b, h, w, 3).
            count: number of members, k.
            own_batches: whether each has a batch of its own; else all share one.

        Returns:
            What takes (states, frozen, batches, keys, numbers, active) on the devices, and uses the states up.
        """
        if (key := (images, count, own_batches)) not in self._programs:
            update = jax.jit(
                functools.partial(group_step, self._step),
                donate_argnums=0,
                out_shardings=(self._lying(count, own_batches), self._everywhere),
            )
            self._programs[key] = update.lower(*self._arguments(images, count, own_batches)).compile()
        return self._programs[key]

    def needs(self, images: tuple[int, ...], count: int, own_batches: bool) -> int | None:
        """Gives the bytes that training takes of each device beside the frozen parameters.

        These are the program's arguments, temporary arrays, results and code, and the batch that is on its way while a
        step is taken. The arguments are those of `compiled`.

        Returns:
            None if the compiler refuses the program because it does not fit; 0 if it does not tell.
        """
        try:
            program = self.compiled(images, count, own_batches).memory_analysis()
        except jax.errors.JaxRuntimeError as error:
            if memory.is_full(error):
                return None
            raise
        if program is None:
            return 0
        results = program.output_size_in_bytes - program.alias_size_in_bytes
        whole = program.argument_size_in_bytes + program.temp_size_in_bytes + results
        batches = (count if own_batches else 1) * math.prod(images) // self.mesh.size
        frozen = sum(array.nbytes for array in jax.tree.leaves(self.frozen))
        return whole + program.generated_code_size_in_bytes + batches - frozen

    def stacked(self, states: Sequence[TrainState], own_batches: bool) -> TrainState:
        """Stacks the states of members, on the devices."""
        return jax.jit(_stacked, out_shardings=self._lying(len(states), own_batches))(list(states))

    def taking(self, states: TrainState, index: int) -> Callable[[], TrainState]:
        """Gives what takes the state of a member out of the stack when it is called, onto all devices."""
        return lambda: self._take(states, placement.replicate(np.int32(index), self.mesh))

    def _lying(self, count: int, own_batches: bool) -> NamedSharding:
        spreads = self._step.spreads(count, own_batches)
        return NamedSharding(self.mesh, PartitionSpec(placement.DATA)) if spreads else self._everywhere

    def _arguments(self, images: tuple[int, ...], count: int, own_batches: bool) -> tuple[Any, ...]:
        """Describes the arguments of the program."""

        def on(sharding: NamedSharding, shape: tuple[int, ...], dtype: Any) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)

        rows, lying = NamedSharding(self.mesh, PartitionSpec(placement.DATA)), self._lying(count, own_batches)
        states = jax.tree.map(lambda x: on(lying, (count, *x.shape), x.dtype), self._like)
        batch = {
            "image": on(rows, images, np.uint8),
            "label": on(rows, (*images[:1], *self._label_shape), np.bool_ if self._label_shape else np.int32),
            "mask": on(rows, images[:1], np.bool_),
        }
        batches = count if own_batches else 1
        keys = [placement.replicated_key(0, self.mesh)] * batches
        numbers = Hyperparameters(*[on(self._everywhere, (count,), np.float32)] * len(Hyperparameters._fields))
        return states, self.frozen, [batch] * batches, keys, numbers, on(self._everywhere, (count,), np.bool_)


def group_step(
    step: TrainingStep,
    states: TrainState,
    frozen: Tree,
    batches: list[Batch],
    keys: list[PRNGKeyArray],
    numbers: Hyperparameters,
    active: Bool[Array, " k"],
) -> tuple[TrainState, list[StepMetrics]]:
    """Takes one step of the active members, which are at the same step; the others' states stay as they are.

    The states have a leading axis for the members. Batches and keys are one for each member, or a single one for all;
    the numbers are arrays [k].
    """
    common = TrainState(states.step[jnp.argmax(active)], states.trainable, states.opt_state)
    batch = _stacked(batches) if len(batches) > 1 else batches[0]
    key = jnp.stack(keys) if len(keys) > 1 else keys[0]
    new, metrics = step.of_members(common, frozen, batch, key, numbers)
    new = TrainState(jnp.broadcast_to(new.step, active.shape), new.trainable, new.opt_state)
    new = jax.tree.map(lambda old, x: jax.vmap(jnp.where)(active, x, old), states, new)
    return new, [_member(metrics, index) for index in range(len(active))]


def _stacked(trees: Sequence[Any]) -> Any:
    return jax.tree.map(lambda *arrays: jnp.stack(arrays), *trees)


def _member(tree: Any, index: Any) -> Any:
    return jax.tree.map(lambda array: array[index], tree)
