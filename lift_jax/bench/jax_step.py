"""The package's own steps for `lift_jax.bench.step`."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lift_jax.bench.workload import LR, MOMENTUM, PEAK_SIDE, WEIGHT_DECAY, Workload
from lift_jax.classifier import frozen as storage
from lift_jax.cluster import placement
from lift_jax.evaluation.evaluator import Evaluator
from lift_jax.models import partition
from lift_jax.models.device import suited_to
from lift_jax.models.image_input import ImageInput
from lift_jax.models.partition import Parts
from lift_jax.training import losses, optimizer
from lift_jax.training.state import initial_state
from lift_jax.training.step import TrainingStep
from lift_jax.weights.huggingface import CLIP_MEAN, CLIP_STD


class JaxStep:
    """Takes the package's training and evaluation steps with the workload's parameters and batch.

    Args:
        workload: what is computed; the frozen weights are in the dtype of its network.
        suited: whether the network has the form that suits the device, as in a run, or that for all devices.
        frozen_dtype: as config.frozen_dtype.
    """

    def __init__(self, workload: Workload, suited: bool = True, frozen_dtype: str = "auto"):
        mesh = placement.make_mesh()
        dtype = np.dtype(workload.vision.dtype)
        parts = workload.parts()
        parts = parts._replace(frozen=storage.stored(parts, dtype, frozen_dtype))
        parts = Parts(*placement.replicate(tuple(parts), mesh))
        image_input = ImageInput(workload.resolution, CLIP_MEAN, CLIP_STD, dtype)
        classifier = suited_to(mesh.local_devices[0] if suited else None, workload.classifier)
        vision: Any = classifier.backbone
        self.attention: str = vision.attention
        loss = losses.make("LA", workload.class_counts)

        def tx(lr: Any) -> optax.GradientTransformation:
            return optimizer.make(lr, MOMENTUM, WEIGHT_DECAY)

        step = TrainingStep(classifier, loss, tx, image_input, mesh, accumulate=workload.accumulate)
        self._step = jax.jit(step, donate_argnums=0)
        self._of_members = jax.jit(step.of_members)
        self._frozen = parts.frozen
        self._state = initial_state(parts, tx(LR), mesh)
        self._lr = placement.replicate(np.float32(LR), mesh)
        self._key = placement.replicated_key(0, mesh)
        self._batch = placement.shard_batch(workload.rows(), mesh)
        self._evaluate = Evaluator(classifier, image_input).step.pmapped
        views = dict(corners=(1, 2), transposed=(), flipped=(1,))
        zeros = {name: np.zeros((workload.batch, *shape), np.int32) for name, shape in views.items()}
        rows = {**workload.rows(), **zeros}
        self._views = {k: v.reshape(jax.local_device_count(), -1, *v.shape[1:]) for k, v in rows.items()}
        if jax.local_device_count() == 1:
            self._views = jax.device_put(self._views)
        self._square = np.ones((PEAK_SIDE, PEAK_SIDE), np.float32)
        self._product = jax.jit(lambda x: x @ x)

    def train(self) -> float:
        self._state, metrics = self._step(self._state, self._frozen, self._batch, self._key, self._lr)
        return float(jax.block_until_ready((self._state, metrics))[1].loss)

    def evaluate(self) -> tuple[np.ndarray, np.ndarray]:
        params = placement.local_replicas(partition.merge(self._frozen, *self._state.trainable.values()))
        prediction, confidence = jax.device_get(self._evaluate(params, self._views)[1])
        return prediction.reshape(-1), confidence.reshape(-1)

    def train_members(self, count: int) -> None:
        """Takes a step of so many trainings at once, from the present state, which stays."""
        state, key, lr = jax.tree.map(lambda x: jnp.stack([x] * count), (self._state, self._key, self._lr))
        jax.block_until_ready(self._of_members(state, self._frozen, self._batch, key, lr))

    def memory(self) -> str:
        """Gives the most memory of the device that was in use so far."""
        used = (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
        return "unknown" if used is None else f"{used / 2**30:.1f} GiB"

    def product(self) -> None:
        self._product(self._square).block_until_ready()

    def trained(self) -> dict[str, Any]:
        return jax.tree.map(np.array, self._state.trainable)
