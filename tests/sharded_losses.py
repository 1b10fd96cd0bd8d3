"""One training step on all of some simulated devices and on one of them, as a process of its own.

Prints as JSON, for a loss of each form (a mean, a weighted mean, with a term of the batch), its values on one device
and on all, and how far the head's weights moved and are apart.
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


def main() -> None:
    """Trains the head of a tiny CLIP, on a batch of which some rows are padding, unequally many on each device."""
    with tempfile.TemporaryDirectory() as folder:
        clip = make_clip(Path(folder))
    tuned, pixels = tune(clip, "head_only"), Input(16, clip.mean, clip.std, jnp.float32)
    tx, counts = optimizer.make(0.1, 0.9, 5e-4), [300, 90, 40, 20, 9, 3, 1]
    generator = np.random.default_rng(0)
    batch = {
        "image": generator.integers(0, 256, (16, 16, 16, 3), np.uint8),
        "label": generator.integers(0, 7, 16).astype(np.int32),
        "mask": np.arange(16) % 5 != 2,
    }
    report = {}
    for name in "LA", "CB", "LADE":
        values, heads = [], []
        for number in 1, jax.device_count():
            mesh = jax.sharding.Mesh(np.array(jax.devices()[:number]), (devices.DATA,))
            frozen, trainable = devices.replicate(
                (tuned.parts.frozen, {state.TUNER: tuned.parts.tuner, state.HEAD: tuned.parts.head}), mesh
            )
            start = TrainState(jnp.zeros((), jnp.int32), trainable, tx.init(trainable))
            step = make_step(
                tuned.classifier, losses.make(name, counts), tx, pixels, accumulate=1, flip=False, mesh=mesh
            )
            new, metrics = jax.jit(step)(start, frozen, devices.shard_batch(batch, mesh), jax.random.key(0))
            values.append(float(metrics.loss))
            heads.append(np.asarray(new.trainable[state.HEAD]["head"]["kernel"]))
        moved, apart = (
            float(np.abs(heads[0] - other).max()) for other in (tuned.parts.head["head"]["kernel"], heads[1])
        )
        report[name] = {"values": values, "moved": moved, "apart": apart}
    print(json.dumps(report))


if __name__ == "__main__":
    main()
