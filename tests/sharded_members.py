"""Two steps of several trainings on two simulated devices beside each one's own on one, as a process of its own.

Prints as JSON, for members and batches that the devices divide in different ways: whether each device has whole
members, how far the weights moved, and how far those of a member are from those of its lone training.
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
from lift_jax.training import hyperparameters, losses, optimizer
from lift_jax.training.hyperparameters import Hyperparameters
from lift_jax.training.members_step import MembersStep
from lift_jax.training.state import initial_state
from lift_jax.training.step import TrainingStep

CASES = [("LA", 4, True), ("LA", 3, True), ("LA", 2, False), ("LADE", 2, True)]
"""Loss, number of members, and whether each has a batch of its own."""


def rows(seed: int) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    return {
        "image": generator.integers(0, 256, (16, 16, 16, 3), np.uint8),
        "label": generator.integers(0, 7, 16).astype(np.int32),
        "mask": np.arange(16) % 5 != 2,
    }


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        clip = make_clip(Path(folder))
    tuned = tune(clip, "adaptformer", noise=0.1)
    image_input = ImageInput(16, clip.mean, clip.std, jnp.float32)

    def tx(numbers):
        return optimizer.make(numbers.lr, numbers.momentum, numbers.weight_decay)

    report, numbers = [], [Hyperparameters(0.05 * (1 + index)) for index in range(4)]
    for name, count, own_batches in CASES:
        loss = losses.make(name, [300, 90, 40, 20, 9, 3, 1])
        seeds = range(count) if own_batches else [0]

        def of(mesh, loss=loss):
            step = TrainingStep(tuned.classifier, loss, tx, image_input, mesh, accumulate=1, mirrored=True)
            return step, placement.replicate(tuned.parts.frozen, mesh), initial_state(tuned.parts, tx(numbers[0]), mesh)

        one, both = (placement.make_mesh(jax.devices()[:number]) for number in (1, 2))
        step, frozen, state = of(both)
        group = MembersStep(step, frozen, state)
        states, update = (
            group.stacked([state] * count, own_batches),
            group.compiled((16, 16, 16, 3), count, own_batches),
        )
        batches = [placement.shard_batch(rows(seed), both) for seed in seeds]
        keys = [placement.replicated_key(seed, both) for seed in seeds]
        numbers_of_all = hyperparameters.stacked(numbers[:count], both)
        active = placement.replicate(np.ones(count, bool), both)
        for _ in range(2):
            states, _ = update(states, frozen, batches, keys, numbers_of_all, active)
        whole = not any(array.is_fully_replicated for array in jax.tree.leaves(states))
        step, frozen, state = of(one)
        lone, moved, apart = jax.jit(step), [], []
        for index in range(count):
            seed, own = seeds[index % len(seeds)], state
            for _ in range(2):
                batch, key = placement.shard_batch(rows(seed), one), placement.replicated_key(seed, one)
                own, _ = lone(own, frozen, batch, key, numbers[index].placed(one))
            ends = [jax.device_get(each.trainable) for each in (own, group.taking(states, index)(), state)]
            for other, into in (ends[1], apart), (ends[2], moved):
                into += jax.tree.leaves(jax.tree.map(lambda x, y: float(np.abs(x - y).max()), ends[0], other))
        report.append({"whole": whole, "moved": max(moved), "apart": max(apart)})
    print(json.dumps(report))


if __name__ == "__main__":
    main()
