"""One step of training: the gradient of tuner and head over a sharded batch, and the update."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import optax
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Float, Int, PRNGKeyArray

from lift_jax.classifier.network import Network
from lift_jax.cluster import placement
from lift_jax.models import micro_batches, partition
from lift_jax.models.device import suited_to
from lift_jax.models.fsdp import boxed
from lift_jax.models.heads import Classifier
from lift_jax.models.image_input import ImageInput, flip
from lift_jax.models.partition import Tree
from lift_jax.models.text_head import TextHead
from lift_jax.training.hyperparameters import Hyperparameters
from lift_jax.training.losses import Loss
from lift_jax.training.objective import Objective
from lift_jax.training.state import TrainState

Batch = Mapping[str, Array]
Trainable = dict[str, Tree]


class StepMetrics(NamedTuple):
    """What one step measures before its update, over the whole batch.

    Attributes:
        loss: mean loss.
        correct: number of examples that are classified right.
        examples: number of examples, without padding.
    """

    loss: Float[Array, ""]
    correct: Int[Array, ""]
    examples: Int[Array, ""]


@dataclasses.dataclass(frozen=True, eq=False)
class TrainingStep:
    """A pure function of (state, frozen parameters, batch, key, hyperparameters), to be jitted over a sharded batch.

    Only what is trained is differentiated: no gradient of a frozen array is computed or stored. The gradients of tuner
    and head cross the network once, as float32 and with the metrics; besides them only the loss's normaliser does.

    Attributes:
        classifier: images to logits.
        loss: the loss; its normaliser is that of the whole batch, so micro-batches and padding change nothing.
        tx: gives the optimizer for hyperparameters.
        input: what the device does with the images first.
        mesh: the devices over which the batch is sharded.
        accumulate: number of micro-batches; 0 takes one, but on a CPU as many as `micro_batches.suitable` says.
        mirrored: whether images are mirrored at random.
        fsdp: whether the frozen arrays come in pieces over the mesh, as `placement.shard` cuts them. If the loss is a
            sum over the batch, they are then gathered layer by layer.
        whole: whether a device that calls this takes the whole batch, because the program that it is a part of is
            spread over the devices already.
    """

    classifier: Classifier
    loss: Loss
    tx: Callable[[Hyperparameters], optax.GradientTransformation]
    input: ImageInput
    mesh: Mesh
    accumulate: int = 0
    mirrored: bool = False
    fsdp: bool = False
    whole: bool = False

    def __call__(
        self, state: TrainState, frozen: Tree, batch: Batch, key: PRNGKeyArray, hyperparameters: Hyperparameters
    ) -> tuple[TrainState, StepMetrics]:
        """Takes one step.

        Args:
            state: the state before the step.
            frozen: the frozen parameters.
            batch: "image" uint8 [b, h, w, 3], or "features" float32 [b, d] of images that the frozen backbone has
                seen; "label" int32 [b], or bool [b, classes] of images with several labels; and "mask" bool [b], which
                is false for padding.
            key: random key of the run.
            hyperparameters: the numbers of the training, as scalars.
        """
        batch = {name: array for name, array in batch.items() if name != "index"}
        if self.mirrored and "image" in batch:
            batch["image"] = flip(batch["image"], jax.random.fold_in(key, state.step))
        own = dataclasses.replace(self, loss=self.loss.at(hyperparameters.tau))
        normaliser = own.loss.normaliser(batch["label"], batch["mask"])
        with self.input.products():
            gradient, metrics = own._over_devices(state.trainable, frozen, batch, normaliser)
        updates, opt_state = self.tx(hyperparameters).update(gradient, state.opt_state, state.trainable)
        trainable: Any = optax.apply_updates(state.trainable, updates)
        return TrainState(state.step + 1, trainable, opt_state), metrics

    def of_members(
        self, state: TrainState, frozen: Tree, batch: Batch, key: PRNGKeyArray, hyperparameters: Hyperparameters
    ) -> tuple[TrainState, StepMetrics]:
        """Takes one step of k trainings at once, which share the frozen parameters.

        What the members share is computed once: with one batch, key and step for all, that is everything before the
        first trained parameter. On several devices either each takes some of the members, or all take a share of the
        batch of every member (see `spreads`).

        Args:
            state: as for a lone step, with a leading axis for the members; `state.step` may lack it where all members
                are at the same step.
            frozen: as for a lone step.
            batch, key: as for a lone step where all members share them, else with a leading axis for the members.
            hyperparameters: the numbers of each member, as arrays [k].

        Returns:
            The states and metrics, with a leading axis for the members (`state.step` has it if it was given so). A
            single member takes the program of a lone step, and so ends equal to it to the last bit; several agree with
            theirs up to float32 rounding, because the compiler multiplies matrices in stacks.
        """
        batch = {name: array for name, array in batch.items() if name != "index"}
        state_axes = TrainState(0 if state.step.ndim else None, 0, 0)  # pyright: ignore[reportArgumentType]
        own_batches = batch["mask"].ndim == 2
        axes = state_axes, None, 0 if own_batches else None, 0 if key.ndim else None, 0
        if (count := hyperparameters.lr.shape[0]) > 1:
            spreads = self.spreads(count, own_batches)
            step = jax.vmap(dataclasses.replace(self, whole=spreads), in_axes=axes, out_axes=(state_axes, 0))
            if spreads:
                in_specs, out_specs = _specs(axes), _specs((state_axes, 0))
                step = jax.shard_map(step, mesh=self.mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False)
            return step(state, frozen, batch, key, hyperparameters)
        alone = _along(axes, lambda x: x[0], (state, frozen, batch, key, hyperparameters))
        return _along((state_axes, 0), lambda x: x[None], self(*alone))

    def spreads(self, count: int, own_batches: bool) -> bool:
        """Tells whether each device takes some of so many members, as a whole.

        So it is if the devices divide them, and each has a batch of its own: nothing crosses the network but the
        images. A batch that all members share is divided instead, because what they share is computed of it once.
        """
        return own_batches and self.mesh.size > 1 and count % self.mesh.size == 0

    def _forward(
        self, trainable: Trainable, frozen: Tree, batch: Batch, normaliser: Array
    ) -> tuple[Array, StepMetrics]:
        params = partition.merge(frozen, *trainable.values())
        if "features" in batch:
            logits: Any = self.classifier.apply({"params": params}, batch["features"], method="logits")
        else:
            logits = self.classifier.apply({"params": params}, self.input.normalize(batch["image"]))
        logits = logits.astype(jnp.float32)
        correct = jnp.sum(self.loss.correct(logits, batch["label"]) & batch["mask"])
        value = self.loss(logits, batch["label"], batch["mask"], normaliser)
        return value, StepMetrics(value, correct, jnp.sum(batch["mask"]))

    def _over_devices(self, trainable: Trainable, frozen: Tree, batch: Batch, normaliser: Array) -> Any:
        """Returns the gradient and the metrics of the whole batch."""
        if self.whole:
            return self._over_micro_batches(trainable, frozen, batch, normaliser)
        if not self.loss.additive:
            # The loss of a device's rows is no share of the batch's; XLA finds out what has to be summed and gathered.
            # XLA cuts the batch, but not the lengths that cuDNN's attention is given.
            classifier = self.classifier if self.mesh.size == 1 else suited_to(None, self.classifier)
            step = dataclasses.replace(self, classifier=classifier)
            return step._over_micro_batches(trainable, frozen, batch, normaliser)
        rows, whole = PartitionSpec(placement.DATA), PartitionSpec()
        cut = jax.tree.map(lambda x: placement.pieces(x.shape, self.mesh).spec if self.fsdp else whole, frozen)

        def on_one_device(trainable: Trainable, frozen: Tree, batch: Batch, normaliser: Array) -> Any:
            gradient = self._over_micro_batches(trainable, boxed(frozen, cut), batch, normaliser)
            flat, unravel = ravel_pytree(gradient)
            return unravel(jax.lax.psum(flat, placement.DATA))

        in_specs = (whole, cut, rows, whole)
        sharded = jax.shard_map(on_one_device, mesh=self.mesh, in_specs=in_specs, out_specs=whole, check_vma=False)
        return sharded(trainable, frozen, batch, normaliser)

    def _over_micro_batches(self, trainable: Trainable, frozen: Tree, batch: Batch, normaliser: Array) -> Any:
        """Returns the gradient and the metrics of some rows, summed over micro-batches."""
        differentiate = jax.grad(self._forward, has_aux=True)
        count = self._micro_batches(batch)
        if count == 1:
            return differentiate(trainable, frozen, batch, normaliser)

        def add(total: Any, rows: Batch) -> tuple[Any, None]:
            return jax.tree.map(jnp.add, total, differentiate(trainable, frozen, rows, normaliser)), None

        # Every micro-batch takes every so many-th row, so that each lies on all devices.
        rows = {k: v.reshape(-1, count, *v.shape[1:]).swapaxes(0, 1) for k, v in batch.items()}
        none = jnp.zeros((), jnp.int32)
        zero = jax.tree.map(jnp.zeros_like, trainable), StepMetrics(jnp.zeros(()), none, none)
        return jax.lax.scan(add, zero, rows)[0]

    def _micro_batches(self, batch: Batch) -> int:
        # A loss of the whole batch is not cut, and the text tower does not run again for every micro-batch.
        whole = "features" in batch or not self.loss.additive or isinstance(self.classifier.head, TextHead)
        if self.accumulate or whole:
            return max(1, self.accumulate)
        return micro_batches.suitable(
            self.classifier.backbone, batch["image"].shape, self.mesh.devices.flat[0].platform
        )


def _along(axes: Any, change: Callable[[Array], Array], trees: Any) -> Any:
    """Applies a function to the arrays of a tree that have an axis for the members, as `jax.vmap` is told of them."""

    def each(axis: int | None, tree: Any) -> Any:
        return tree if axis is None else jax.tree.map(change, tree)

    return jax.tree.map(each, axes, trees, is_leaf=lambda axis: axis is None)


def _specs(axes: Any) -> Any:
    """Gives how arrays lie on the devices whose axis for the members is spread over them."""

    def spec(axis: int | None) -> PartitionSpec:
        return PartitionSpec() if axis is None else PartitionSpec(placement.DATA)

    return jax.tree.map(spec, axes, is_leaf=lambda axis: axis is None)


def make(config: ml_collections.FrozenConfigDict, network: Network, objective: Objective, mesh: Mesh) -> TrainingStep:
    """Makes the training step that a resolved config asks for."""
    return TrainingStep(
        classifier=network.classifier,
        loss=objective.loss,
        tx=objective.tx,
        input=network.input,
        mesh=mesh,
        accumulate=config.accumulate,
        mirrored=config.crop == "random_resized",
        fsdp=config.fsdp,
    )
