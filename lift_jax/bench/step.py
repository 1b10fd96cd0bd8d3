"""Images a second of training and evaluation, beside the same computation in PyTorch and the machine's peak.

    python -m lift_jax.bench.step [--classes 8142] [--dim 256] [--batch 16] [--accumulate 4] [--depth 12]
        [--rounds 5]

A CLIP ViT-B/16 at 224 x 224 pixels with AdaptFormer and the cosine head, in float32, with random weights. The steps are
those of `lift_jax.train` and `lift_jax.evaluate`, from uint8 pixels to the updated parameters or to the predictions.
Beside them the same weights in transformers' CLIPVisionModel (see `lift_jax.bench.torch_step`), without gradients of
frozen parameters. Each side is a process of its own, and they take turns: a round is one training step and one
evaluated batch of each. The peak is the fastest large matrix product of either side in the same run.
"""

import argparse
import concurrent.futures
import contextlib
import dataclasses
import functools
import importlib.util
import multiprocessing
import os
import statistics
import time
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from lift_jax import devices, losses, optimizer, state
from lift_jax.bench import ideal
from lift_jax.evaluate import Evaluator, Input
from lift_jax.models.heads import Classifier, CosineHead
from lift_jax.models.vit import VisionTransformer
from lift_jax.state import TrainState
from lift_jax.train import make_step
from lift_jax.tuners.adaptformer import AdaptFormer
from lift_jax.weights.huggingface import CLIP_MEAN, CLIP_STD

LR, MOMENTUM, WEIGHT_DECAY = 0.01, 0.9, 5e-4
OURS, PEER = "lift_jax", "PyTorch"
METHODS = ("train", "evaluate", "product")
RESOLUTION = 224
PEAK_SIDE = 2048
"""Rows and columns of the matrices whose product is taken for the peak."""


@dataclasses.dataclass(frozen=True)
class Workload:
    """What both sides compute: AdaptFormer of width `dim` in every block of `vision`, and a cosine head.

    A training step takes the batch in `accumulate` micro-batches, which divide it; 0 is each side's own way: PyTorch
    takes it as a whole, the package in as many as `lift_jax.micro_batches` says.
    """

    vision: VisionTransformer
    resolution: int
    dim: int
    num_classes: int
    batch: int
    accumulate: int = 0

    @property
    def classifier(self) -> Classifier:
        tuned = self.vision.clone(tuners=lambda block: {"adaptformer": functools.partial(AdaptFormer, self.dim)})
        return Classifier(tuned, CosineHead(self.num_classes))

    @property
    def class_counts(self) -> np.ndarray:
        return np.arange(self.num_classes, 0, -1)

    def parts(self) -> state.Parts:
        """Random parameters, the same in every process; none has a special value such as 0."""
        images = jax.ShapeDtypeStruct((1, self.resolution, self.resolution, 3), np.float32)
        shapes = jax.eval_shape(self.classifier.init, jax.random.key(0), images)["params"]
        generator = np.random.default_rng(0)

        def draw(path: Any, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
            centre = 1 if path[-1].key == "scale" else 0
            return centre + 0.03 * generator.standard_normal(leaf.shape, np.float32)

        params = jax.tree_util.tree_map_with_path(draw, shapes)
        return state.split(params, lambda path: "tuner_adaptformer" in path)

    def rows(self) -> dict[str, np.ndarray]:
        """A batch as the training loader gives it."""
        generator = np.random.default_rng(1)
        return {
            "image": generator.integers(0, 256, (self.batch, self.resolution, self.resolution, 3), np.uint8),
            "label": generator.integers(0, self.num_classes, self.batch).astype(np.int32),
            "mask": np.ones(self.batch, bool),
        }


class Side(Protocol):
    """One of the two programs that are compared."""

    def train(self) -> float:
        """Takes a step; returns its loss."""
        ...

    def evaluate(self) -> tuple[np.ndarray, np.ndarray]:
        """Predicted classes of the batch and their probabilities."""
        ...

    def product(self) -> None:
        """The matrix product by which the peak is measured."""
        ...

    def trained(self) -> dict[str, Any]:
        """A copy of the parameters that are trained, in the form of `TrainState.trainable`."""
        ...


class JaxStep:
    """The package's own steps."""

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


def side(name: str, workload: Workload) -> Side:
    """A side by its name in the table."""
    if name == OURS:
        return JaxStep(workload)
    from lift_jax.bench.torch_step import TorchStep

    return TorchStep(workload)


class Apart:
    """A side in a process of its own, so that neither's threads, memory and settings are the other's."""

    def __init__(self, name: str, workload: Workload):
        self._pool = concurrent.futures.ProcessPoolExecutor(
            1, multiprocessing.get_context("spawn"), initializer=_set_side, initargs=(name, workload)
        )
        self._pool.submit(int).result()  # ready before anything is measured

    def seconds(self, method: str) -> float:
        """How long a call of the method takes."""
        return self._pool.submit(_seconds, method).result()

    def close(self) -> None:
        """Ends the process."""
        self._pool.shutdown()


_side: Side


def _set_side(name: str, workload: Workload) -> None:
    global _side
    devices.start()
    jax.config.update("jax_enable_compilation_cache", False)  # the first step's time is the compiler's
    _side = side(name, workload)


def _seconds(method: str) -> float:
    start = time.perf_counter()
    getattr(_side, method)()
    return time.perf_counter() - start


def measure(sides: dict[str, Apart], rounds: int) -> dict[tuple[str, str], list[float]]:
    """Seconds of each call by (side, method), the sides taking turns."""
    took = {(name, method): [] for name in sides for method in METHODS}
    for _ in range(rounds):
        for method in METHODS:
            for name, each in sides.items():
                took[name, method].append(each.seconds(method))
    return took


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", type=int, default=8142)
    parser.add_argument("--dim", type=int, default=256, help="bottleneck width")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--accumulate", type=int, default=0, help="micro-batches of a training step, on both sides")
    parser.add_argument("--depth", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    if args.accumulate and args.batch % args.accumulate:
        parser.error(f"--accumulate {args.accumulate} does not divide --batch {args.batch}; take a divisor of it.")
    vision = VisionTransformer(patch_size=16, width=768, depth=args.depth, num_heads=12, mlp_dim=3072)
    workload = Workload(vision, RESOLUTION, args.dim, args.classes, args.batch, args.accumulate)
    names = [OURS]
    if importlib.util.find_spec("torch") and importlib.util.find_spec("transformers"):
        names.append(PEER)
    else:
        print("torch and transformers are not installed, so nothing is compared with them.")
    print(
        f"ViT-B/16, {args.depth} blocks, AdaptFormer {args.dim}, {args.classes:,} classes, batch {args.batch}, "
        f"micro-batches {args.accumulate or 'automatic'}, float32"
    )
    huge = "glibc.malloc.hugetlb=1" in os.environ.get("GLIBC_TUNABLES", "")
    print(f"{os.cpu_count()} cores, huge pages for malloc {'on' if huge else 'off'}")
    with contextlib.ExitStack() as processes:
        sides = {name: processes.enter_context(contextlib.closing(Apart(name, workload))) for name in names}
        for name, each in sides.items():
            first = {method: each.seconds(method) for method in METHODS}
            print(f"{name}: first training step {first['train']:.1f} s, first evaluation {first['evaluate']:.1f} s")
        took = measure(sides, args.rounds)

    rates = {name: 2 * PEAK_SIDE**3 / min(took[name, "product"]) for name in sides}
    peak = max(rates.values())
    print(f"peak {peak / 1e9:.0f} GFLOP/s; " + ", ".join(f"{name} {rate / 1e9:.0f}" for name, rate in rates.items()))
    least = ideal.adaptformer(vision, RESOLUTION, args.dim, args.classes)
    for method, operations in (("train", least.total), ("evaluate", least.forward)):
        print(f"{method:24s}best    median  images a second")
        for name in sides:
            times = took[name, method]
            best, median = args.batch / min(times), args.batch / statistics.median(times)
            share = best * operations / peak
            print(f"  {name:20s}{best:6.2f}    {median:6.2f}  {share:4.0%} of the peak, {1 / share:.2f} times its time")
        if PEER in sides:
            ratios = [pick(took[PEER, method]) / pick(took[OURS, method]) for pick in (min, statistics.median)]
            print(f"  {'PyTorch time / ours':20s}{ratios[0]:6.2f}    {ratios[1]:6.2f}")


if __name__ == "__main__":
    main()
