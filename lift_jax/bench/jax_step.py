"""The package's own steps for `lift_jax.bench.step`."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lift_jax import devices, losses, optimizer, state
from lift_jax.bench.workload import LR, MOMENTUM, PEAK_SIDE, WEIGHT_DECAY, Workload
from lift_jax.evaluate import Evaluator, Input
from lift_jax.state import TrainState
from lift_jax.train import make_step
from lift_jax.weights.huggingface import CLIP_MEAN, CLIP_STD


class JaxStep:
    """The steps of `lift_jax.train` and `lift_jax.evaluate` with the workload's parameters and batch."""

    def __init__(self, workload: Workload):
        mesh = devices.make_mesh()
        parts = devices.replicate(workload.parts(), mesh)
        pixels = Input(workload.resolution, CLIP_MEAN, CLIP_STD, np.float32)
        tx = optimizer.make(LR, MOMENTUM, WEIGHT_DECAY)
        loss = losses.make("LA", workload.class_counts)
        step = make_step(workload.classifier, loss, tx, pixels, accumulate=workload.accumulate, flip=False)
        self._step = jax.jit(step, donate_argnums=0)
        self._frozen = parts.frozen
        trainable: Any = {state.TUNER: parts.tuner, state.HEAD: parts.head}
        self._state = TrainState(
            devices.replicate(jnp.zeros((), jnp.int32), mesh),
            trainable,
            devices.replicate(jax.jit(tx.init)(trainable), mesh),
        )
        self._key = devices.replicated_key(0, mesh)
        self._batch = devices.shard_batch(workload.rows(), mesh)
        self._evaluate = Evaluator(workload.classifier, pixels).step
        views = dict(corners=(1, 2), transposed=(), flipped=(1,))
        zeros = {name: np.zeros((workload.batch, *shape), np.int32) for name, shape in views.items()}
        rows = {**workload.rows(), **zeros}
        self._views = {k: v.reshape(jax.local_device_count(), -1, *v.shape[1:]) for k, v in rows.items()}
        self._square = np.ones((PEAK_SIDE, PEAK_SIDE), np.float32)
        self._product = jax.jit(lambda x: x @ x)

    def train(self) -> float:
        self._state, metrics = self._step(self._state, self._frozen, self._batch, self._key)
        return float(jax.block_until_ready((self._state, metrics))[1].loss)

    def evaluate(self) -> tuple[np.ndarray, np.ndarray]:
        params = devices.local_replicas(state.merge(self._frozen, *self._state.trainable.values()))
        prediction, confidence = jax.device_get(self._evaluate(params, self._views)[1])
        return prediction.reshape(-1), confidence.reshape(-1)

    def product(self) -> None:
        self._product(self._square).block_until_ready()

    def trained(self) -> dict[str, Any]:
        return jax.tree.map(np.array, self._state.trainable)
