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

from lift_jax.cluster import placement
from lift_jax.models.image_input import ImageInput
from lift_jax.training import losses, optimizer
from lift_jax.training.hyperparameters import Hyperparameters
from lift_jax.training.state import initial_state
from lift_jax.training.step import TrainingStep

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
    image_input, counts = ImageInput(16, clip.mean, clip.std, jnp.float32), [300, 90, 40, 20, 9, 3, 1]

    def tx(numbers):
        return optimizer.make(numbers.lr, numbers.momentum, numbers.weight_decay)

    generator = np.random.default_rng(0)
    batch = {
        "image": generator.integers(0, 256, (16, 16, 16, 3), np.uint8),
        "label": generator.integers(0, 7, 16).astype(np.int32),
        "mask": np.arange(16) % 5 != 2,
    }
    report = {}
    for loss, method, fsdp in CASES:
        tuned = tune(clip, method, noise=0.1)
        start = tuned.parts.trainable
        values, ends = [], []
        for number in 1, jax.device_count():
            mesh = placement.make_mesh(jax.devices()[:number])
            frozen = (placement.shard if fsdp else placement.replicate)(tuned.parts.frozen, mesh)
            loss_over_batch = losses.make(loss, counts)
            step = TrainingStep(tuned.classifier, loss_over_batch, tx, image_input, mesh, accumulate=1, fsdp=fsdp)
            sharded, key, numbers = (
                placement.shard_batch(batch, mesh),
                jax.random.key(0),
                Hyperparameters(jnp.float32(0.1)),
            )
            new, metrics = jax.jit(step)(initial_state(tuned.parts, tx(numbers), mesh), frozen, sharded, key, numbers)
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
