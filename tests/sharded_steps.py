"""One training step on all of some simulated devices and on one of them, as a process of its own.

Prints as JSON, for a loss of each form (a mean, a weighted mean, with a term of the batch) and for frozen weights whole
and in pieces, its values on one device and on all, and how far the weights moved and are apart.
"""

import json
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from conftest import make_clip, tune

from lift_jax import devices, losses, optimizer, state
from lift_jax.evaluate import Input
from lift_jax.state import TrainState
from lift_jax.train import make_step

CASES = [
    ("LA", "adaptformer", False),
    ("CB", "head_only", False),
    ("LADE", "head_only", False),
    ("LA", "adaptformer", True),
    ("LA", "mask", True),  # which changes kernels, so that a layer needs more of them than a product
    ("LADE", "head_only", True),
]


def main() -> None:
    """Trains a tiny CLIP on a batch of which some rows are padding, unequally many on each device."""
    with tempfile.TemporaryDirectory() as folder:
        clip = make_clip(Path(folder))
    pixels = Input(16, clip.mean, clip.std, jnp.float32)
    tx, counts = optimizer.make(0.1, 0.9, 5e-4), [300, 90, 40, 20, 9, 3, 1]
    generator = np.random.default_rng(0)
    batch = {
        "image": generator.integers(0, 256, (16, 16, 16, 3), np.uint8),
        "label": generator.integers(0, 7, 16).astype(np.int32),
        "mask": np.arange(16) % 5 != 2,
    }
    report = {}
    for loss, method, fsdp in CASES:
        tuned = tune(clip, method, noise=0.1)
        start = {state.TUNER: tuned.parts.tuner, state.HEAD: tuned.parts.head}
        values, ends = [], []
        for number in 1, jax.device_count():
            mesh = devices.make_mesh(jax.devices()[:number])
            frozen = (devices.shard if fsdp else devices.replicate)(tuned.parts.frozen, mesh)
            trainable = devices.replicate(start, mesh)
            train_state = TrainState(jnp.zeros((), jnp.int32), trainable, tx.init(trainable))
            step = make_step(
                tuned.classifier, losses.make(loss, counts), tx, pixels, accumulate=1, flip=False, fsdp=fsdp, mesh=mesh
            )
            new, metrics = jax.jit(step)(train_state, frozen, devices.shard_batch(batch, mesh), jax.random.key(0))
            values.append(float(metrics.loss))
            ends.append(jax.device_get(new.trainable))
        moved, apart = (
            max(jax.tree.leaves(jax.tree.map(lambda x, y: float(np.abs(x - y).max()), ends[0], other)))
            for other in (start, ends[1])
        )
        cut = sum(not x.is_fully_replicated for x in jax.tree.leaves(frozen))
        report[f"{loss}, {method}, {cut} arrays in pieces"] = {"values": values, "moved": moved, "apart": apart}
    print(json.dumps(report))


if __name__ == "__main__":
    main()
