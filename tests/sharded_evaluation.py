"""Evaluates a classifier on one of some simulated devices and in pieces on all of them, as a process of its own.

Prints as JSON whether the predictions are the same, how far the confidences are apart, and how much of the parameters
the program on several devices is given; then the same of two heads on one backbone without tuners, whole and in pieces.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from conftest import Tuned, make_clip, tune

from lift_jax.cluster import placement
from lift_jax.evaluation.device_step import over_mesh
from lift_jax.evaluation.evaluator import Evaluator
from lift_jax.models import partition
from lift_jax.models.image_input import ImageInput
from lift_jax.workdir.logs import Logs


class OneBatch:
    """A loader of a single batch."""

    num_views = 1

    def __init__(self, batch: dict[str, np.ndarray]):
        self._batch = {**batch, "index": np.arange(len(batch["label"]), dtype=np.int32)}
        self.num_examples = int(batch["mask"].sum())

    def __iter__(self):
        return iter([self._batch])


def of_two_heads(tuned: Tuned, image_input: ImageInput, batch: dict[str, np.ndarray]) -> dict[str, Any]:
    """Evaluates a network and one of the opposite head, together, with their backbone whole and in pieces."""
    mesh, quiet = placement.make_mesh(), Logs(None, enabled=False)
    evaluator = Evaluator(tuned.classifier, image_input)
    loader: Any = OneBatch(batch)
    found = []
    for place in placement.replicate, placement.shard:
        frozen = place(tuned.parts.frozen, mesh)
        heads = [placement.replicate(jax.tree.map(lambda x, s=s: s * x, tuned.parts.head), mesh) for s in (1, -1)]
        params = [partition.merge(frozen, head) for head in heads]
        found.append([rows for _, rows in evaluator.of_several(params, loader, [quiet] * 2, "")])
    pairs = list(zip(*found, strict=True))
    return {
        "same predictions of two heads": all(np.array_equal(a.prediction, b.prediction) for a, b in pairs),
        "confidences of two heads apart": max(float(np.abs(a.confidence - b.confidence).max()) for a, b in pairs),
        "heads differ": not np.array_equal(found[0][0].prediction, found[0][1].prediction),
    }


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
    report |= of_two_heads(tune(clip, "head_only"), image_input, batch)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
