"""Evaluates a classifier on one of some simulated devices and in pieces on all of them, as a process of its own.

Prints as JSON whether the predictions are the same, how far the confidences are apart, and how much of the parameters
the program on several devices is given.
"""

import json
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from conftest import make_clip, tune

from lift_jax.cluster import placement
from lift_jax.evaluation.device_step import over_mesh
from lift_jax.evaluation.evaluator import Evaluator
from lift_jax.models import partition
from lift_jax.models.image_input import ImageInput


def main() -> None:
    """Evaluates a tiny CLIP on a batch of one view an image, some of which is padding."""
    with tempfile.TemporaryDirectory() as folder:
        clip = make_clip(Path(folder))
    tuned, image_input = tune(clip, "adaptformer", noise=0.1), ImageInput(16, clip.mean, clip.std, jnp.float32)
    generator = np.random.default_rng(0)
    batch = {
        "image": generator.integers(0, 256, (8, 16, 16, 3), np.uint8),
        "corners": np.zeros((8, 1, 2), np.int32),
        "transposed": np.zeros(8, bool),
        "flipped": np.zeros((8, 1), bool),
        "label": generator.integers(0, 7, 8).astype(np.int32),
        "mask": np.arange(8) != 5,
    }
    step = Evaluator(tuned.classifier, image_input).step.step
    counts, (prediction, confidence) = jax.jit(step)(partition.merge(*tuned.parts), batch)

    mesh = placement.make_mesh()
    frozen = placement.shard(tuned.parts.frozen, mesh)
    params = partition.merge(frozen, *placement.replicate(tuned.parts.trainable, mesh).values())
    sharded = over_mesh(step, jax.tree.map(lambda x: x.sharding.spec, params), mesh)
    inputs = placement.shard_batch(batch, mesh)
    all_counts, (all_predictions, all_confidences) = sharded(params, inputs)
    memory = sharded.lower(params, inputs).compile().memory_analysis()
    sums = jax.tree.map(lambda x: np.asarray(x).sum(axis=0), all_counts)
    same = np.array_equal(prediction, all_predictions) and np.array_equal(counts.correct, sums.correct)
    report = {
        "same predictions": bool(same and np.array_equal(counts.total, sums.total)),
        "confidences apart": float(np.abs(np.asarray(confidence) - np.asarray(all_confidences)).max()),
        "bytes on a device": memory.argument_size_in_bytes - sum(x.nbytes for x in batch.values()) // mesh.size,
        "bytes in all": sum(x.nbytes for x in jax.tree.leaves(params)),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
