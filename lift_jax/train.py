"""The training job: a frozen backbone, a tuner and a head, the logit-adjusted loss, SGD."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import optax
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Float, Int, PRNGKeyArray

from lift_jax import devices, micro_batches, preemption, state
from lift_jax.checkpoints import Checkpoints, Saved
from lift_jax.data import views
from lift_jax.evaluate import Input
from lift_jax.experiment import Experiment
from lift_jax.logs import Logs
from lift_jax.losses import Loss
from lift_jax.models.fsdp import boxed
from lift_jax.models.heads import Classifier
from lift_jax.models.text_head import TextHead
from lift_jax.state import TrainState, Tree

Batch = Mapping[str, Array]


class StepMetrics(NamedTuple):
    """Of one step, before its update, over the whole batch."""

    loss: Float[Array, ""]
    correct: Int[Array, ""]
    examples: Int[Array, ""]


def make_step(
    classifier: Classifier,
    loss: Loss,
    tx: optax.GradientTransformation,
    pixels: Input,
    *,
    accumulate: int = 0,
    flip: bool,
    fsdp: bool = False,
    mesh: Mesh | None = None,
) -> Callable[[TrainState, Tree, Batch, PRNGKeyArray], tuple[TrainState, StepMetrics]]:
    """One step of training, to be jitted over a sharded batch.

    Only what is trained is differentiated: no gradient of a frozen array is computed or stored. The gradients of tuner
    and head cross the network once, as float32 and with the metrics; besides them only the loss's normaliser does.

    Args:
        classifier: images to logits.
        loss: its normaliser is that of the whole batch, so micro-batches and padding change nothing.
        tx: the optimizer.
        pixels: what the device does with the images first.
        accumulate: number of micro-batches; 0 takes one, but on a CPU as many as `micro_batches.number` says.
        flip: whether images are mirrored at random.
        fsdp: whether the frozen arrays come in pieces over the mesh, as `devices.shard` cuts them. If the loss is a sum
            over the batch, they are then gathered layer by layer.
        mesh: over which the batch is sharded; all devices by default.
    """
    mesh = mesh or devices.make_mesh()

    def forward(trainable: dict[str, Tree], frozen: Tree, batch: Batch, normaliser: Array) -> tuple[Array, StepMetrics]:
        params = state.merge(frozen, *trainable.values())
        images = views.normalize(batch["image"], pixels.mean, pixels.std, pixels.dtype)
        logits: Any = classifier.apply({"params": params}, images)
        logits = logits.astype(jnp.float32)
        correct = jnp.sum((jnp.argmax(logits, axis=-1) == batch["label"]) & batch["mask"])
        value = loss(logits, batch["label"], batch["mask"], normaliser)
        return value, StepMetrics(value, correct, jnp.sum(batch["mask"]))

    differentiate = jax.grad(forward, has_aux=True)

    def in_parts(
        number: int, trainable: dict[str, Tree], frozen: Tree, batch: Batch, normaliser: Array
    ) -> tuple[dict[str, Tree], StepMetrics]:
        """Gradient and metrics, summed over that number of micro-batches."""

        def micro(total: tuple, part: Batch) -> tuple[tuple, None]:
            return jax.tree.map(jnp.add, total, differentiate(trainable, frozen, part, normaliser)), None

        # Every micro-batch takes every so many-th row, so that each lies on all devices.
        parts = {k: v.reshape(-1, number, *v.shape[1:]).swapaxes(0, 1) for k, v in batch.items()}
        none = jnp.zeros((), jnp.int32)
        zero = jax.tree.map(jnp.zeros_like, trainable), StepMetrics(jnp.zeros(()), none, none)
        return jax.lax.scan(micro, zero, parts)[0]

    def differentiate_rows(trainable: dict[str, Tree], frozen: Tree, batch: Batch, normaliser: Array) -> Any:
        number = accumulate
        if number == 0:
            # A loss of the whole batch is not cut, and the text tower not run again for every part.
            cut = loss.additive and not isinstance(classifier.head, TextHead)
            platform = mesh.devices.flat[0].platform
            number = micro_batches.number(classifier.backbone, batch["image"].shape, platform) if cut else 1
        operands = trainable, frozen, batch, normaliser
        return differentiate(*operands) if number == 1 else in_parts(number, *operands)

    def differentiate_batch(trainable: dict[str, Tree], frozen: Tree, batch: Batch, normaliser: Array) -> Any:
        if not loss.additive:
            # The loss of a device's rows is no share of the batch's; XLA finds out what has to be summed and gathered.
            return differentiate_rows(trainable, frozen, batch, normaliser)
        of_rows, whole = PartitionSpec(devices.DATA), PartitionSpec()
        cut = jax.tree.map(lambda array: devices.pieces(array.shape, mesh).spec if fsdp else whole, frozen)

        def differentiate_shard(trainable: dict[str, Tree], frozen: Tree, batch: Batch, normaliser: Array) -> Any:
            gradient = differentiate_rows(trainable, boxed(frozen, cut), batch, normaliser)
            flat, unravel = ravel_pytree(gradient)
            return unravel(jax.lax.psum(flat, devices.DATA))

        of_shards = jax.shard_map(
            differentiate_shard, mesh=mesh, in_specs=(whole, cut, of_rows, whole), out_specs=whole, check_vma=False
        )
        return of_shards(trainable, frozen, batch, normaliser)

    def step(train_state: TrainState, frozen: Tree, batch: Batch, key: PRNGKeyArray) -> tuple[TrainState, StepMetrics]:
        batch = {name: batch[name] for name in ("image", "label", "mask")}
        if flip:
            batch["image"] = views.flip(batch["image"], jax.random.fold_in(key, train_state.step))
        start = train_state.trainable
        normaliser = loss.normaliser(batch["label"], batch["mask"])
        gradient, metrics = differentiate_batch(start, frozen, batch, normaliser)
        updates, opt_state = tx.update(gradient, train_state.opt_state, start)
        trainable: Any = optax.apply_updates(start, updates)
        return TrainState(train_state.step + 1, trainable, opt_state), metrics

    return step


def jitted_step(
    config: ml_collections.FrozenConfigDict,
    classifier: Classifier,
    loss: Loss,
    tx: optax.GradientTransformation,
    pixels: Input,
    mesh: Mesh,
) -> Any:
    """The step of a run, as its config says; the state that it is given is used up. Arguments as of `make_step`."""
    flip = config.crop == "random_resized"
    step = make_step(classifier, loss, tx, pixels, accumulate=config.accumulate, flip=flip, fsdp=config.fsdp, mesh=mesh)
    return jax.jit(step, donate_argnums=0)


def train(experiment: Experiment, checkpoints: Checkpoints, logs: Logs, saved: Saved | None = None) -> TrainState:
    """Trains to the last epoch; stops before where the cluster takes the machine away.

    Args:
        experiment: the run's.
        checkpoints: gets one every config.checkpoint_every steps or config.checkpoint_minutes, and at the end.
        logs: gets loss and accuracy every config.log_every steps and at the end of an epoch.
        saved: the checkpoint to go on from; None starts anew.

    Returns:
        The state after the last step.

    Raises:
        UserError: if an image cannot be read or the checkpoint belongs to another run.
        SystemExit: with `preemption.EXIT_CODE`, once a checkpoint is written, if the process was told to stop.
    """
    config = experiment.config
    loader = experiment.train_loader()
    train_state = experiment.initial_state() if saved is None else saved.state
    if saved is not None:
        loader.set_state(saved.iterator)
        logs.info(f"Going on from the checkpoint of step {loader.step} of {loader.num_steps}.")
    logs.resume(loader.step)

    step = jitted_step(
        config, experiment.classifier, experiment.loss, experiment.tx, experiment.pixels, experiment.mesh
    )
    key = devices.replicated_key(config.seed, experiment.mesh)
    every = config.checkpoint_every or loader.steps_per_epoch
    running = _Running(saved.unread if saved is not None else ())
    first, last_save = loader.step + 1, time.monotonic()
    with preemption.watching() as told_to_stop, devices.connected():
        while loader.step < loader.num_steps:
            epoch, done = divmod(loader.step, loader.steps_per_epoch)
            with logs.progress(loader.steps_per_epoch, f"epoch {epoch + 1}/{config.num_epochs}", initial=done) as bar:
                for _ in range(done, loader.steps_per_epoch):
                    batch = next(loader)
                    sharded = devices.shard_batch({k: batch[k] for k in ("image", "label", "mask")}, experiment.mesh)
                    with jax.transfer_guard("disallow"):
                        train_state, metrics = step(train_state, experiment.parts.frozen, sharded, key)
                    running.add(metrics)
                    if loader.step == first:
                        jax.block_until_ready(metrics)
                        logs.started()
                    images = int(batch["mask"].sum()) * jax.process_count()
                    reads = loader.step % config.log_every == 0 or loader.step % loader.steps_per_epoch == 0
                    if reads:
                        loss, accuracy = running.read()
                        bar.update(1, images=images, loss=loss, accuracy=accuracy)
                        lr = float(experiment.schedule(loader.step - 1))
                        values = {"train/loss": loss, "train/accuracy": accuracy, "train/lr": lr}
                        logs.scalars(loader.step, values, epoch=epoch + 1)
                    else:
                        bar.update(1, images=images, running=loader.step != first)
                    due = loader.step % every == 0 or loader.step == loader.num_steps
                    if reads and config.checkpoint_minutes:  # clocks differ, but all save at the same step
                        due |= devices.first_says(time.monotonic() - last_save > 60 * config.checkpoint_minutes)
                    stops = told_to_stop(loader.step)
                    if due or stops:
                        logs.flush()  # before the checkpoint is there, so that what it continues is
                        unread, loss = running.save()
                        checkpoints.save(Saved(train_state, loader.get_state(), unread), loss)
                        last_save = time.monotonic()
                    if stops:
                        checkpoints.wait()
                        logs.info(preemption.SENTENCE)
                        raise SystemExit(preemption.EXIT_CODE)
    return train_state


class _Running:
    """Loss and accuracy of the last steps; nothing is fetched from the devices before it is asked for.

    Args:
        unread: loss, right answers and examples of the steps since the last reading, of a run that goes on.
    """

    def __init__(self, unread: Sequence[Sequence[float]]):
        self._on_devices: list[StepMetrics] = []
        self._unread = list(unread)
        self._unsaved: list[Sequence[float]] = []

    def add(self, metrics: StepMetrics) -> None:
        self._on_devices.append(metrics)

    def read(self) -> tuple[float, float]:
        """Since the last reading: the mean loss over steps, and the accuracy in percent over examples."""
        self._fetch()
        losses, correct, examples = zip(*self._unread, strict=True)
        self._unread = []
        return sum(losses) / len(losses), 100 * sum(correct) / max(1, sum(examples))

    def save(self) -> tuple[list[Sequence[float]], float]:
        """What a run that goes on from here needs of the steps not read yet; the mean loss since the last save."""
        self._fetch()
        losses = [row[0] for row in self._unsaved]
        self._unsaved = []
        return list(self._unread), sum(losses) / len(losses)

    def _fetch(self) -> None:
        rows = [(float(m.loss), int(m.correct), int(m.examples)) for m in jax.device_get(self._on_devices)]
        self._on_devices = []
        self._unread += rows
        self._unsaved += rows
