"""Images a second of training and evaluation, beside the same computation in PyTorch and the machine's peak.

    python -m lift_jax.bench.step [--classes 8142] [--dim 256] [--batch 16] [--accumulate 4] [--depth 12]
        [--rounds 5]

A CLIP ViT-B/16 at 224 x 224 pixels with AdaptFormer and the cosine head, in float32, with random weights. The steps are
the package's own, from uint8 pixels to the updated parameters or to the predictions. Beside them the same weights in
transformers' CLIPVisionModel (see `lift_jax.bench.torch_step`), without gradients of frozen parameters. Each side is a
process of its own, and they take turns: a round is one training step and one evaluated batch of each. The peak is the
fastest large matrix product of either side in the same run.

With `--members`, the package's training step alone, of 1, 2, 4 and 8 members of a group, each with images of its own:
images a second over all members, and how long a step takes over so many steps of one, compilation apart. With
`--one-batch` they share their images, as members of one seed do, and with `--partial 3` AdaptFormer is in the last
three blocks alone.
"""

import argparse
import concurrent.futures
import contextlib
import importlib.util
import multiprocessing
import os
import statistics
import time

import jax

from lift_jax.bench import ideal, members
from lift_jax.bench.jax_step import JaxStep
from lift_jax.bench.workload import PEAK_SIDE, Side, Workload
from lift_jax.cluster import processes
from lift_jax.models.vit import VisionTransformer

OURS, PEER = "lift_jax", "PyTorch"
METHODS = ("train", "evaluate", "product")
RESOLUTION = 224


def side(name: str, workload: Workload) -> Side:
    """Makes a side by its name in the table."""
    if name == OURS:
        return JaxStep(workload)
    from lift_jax.bench.torch_step import TorchStep

    return TorchStep(workload)


class Apart:
    """Runs a side in a process of its own, so that neither's threads, memory and settings are the other's."""

    def __init__(self, name: str, workload: Workload):
        self._pool = concurrent.futures.ProcessPoolExecutor(
            1, multiprocessing.get_context("spawn"), initializer=_set_side, initargs=(name, workload)
        )
        self._pool.submit(int).result()  # ready before anything is measured

    def seconds(self, method: str) -> float:
        """Measures the seconds that a call of the method takes."""
        return self._pool.submit(_seconds, method).result()

    def close(self) -> None:
        """Ends the process."""
        self._pool.shutdown()


_side: Side


def _set_side(name: str, workload: Workload) -> None:
    global _side
    processes.start()
    jax.config.update("jax_enable_compilation_cache", False)  # the first step's time is the compiler's
    _side = side(name, workload)


def _seconds(method: str) -> float:
    start = time.perf_counter()
    getattr(_side, method)()
    return time.perf_counter() - start


def measure(sides: dict[str, Apart], rounds: int) -> dict[tuple[str, str], list[float]]:
    """Measures the seconds of each call by (side, method); the sides take turns."""
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
    parser.add_argument("--members", action="store_true", help="measure groups of trainings instead")
    parser.add_argument("--one-batch", action="store_true", help="with --members: all have the same images")
    parser.add_argument("--partial", type=int, default=0, help="with --members: tune so many of the last blocks")
    args = parser.parse_args()
    if (args.one_batch or args.partial) and not args.members:
        parser.error("--one-batch and --partial belong to --members; write that, too.")
    if not 0 <= args.partial <= args.depth:
        parser.error(f"--partial is {args.partial}; it is a whole number from 0 to --depth, {args.depth}.")
    if args.accumulate and args.batch % args.accumulate:
        parser.error(f"--accumulate {args.accumulate} does not divide --batch {args.batch}; take a divisor of it.")
    vision = VisionTransformer(patch_size=16, width=768, depth=args.depth, num_heads=12, mlp_dim=3072)
    workload = Workload(vision, RESOLUTION, args.dim, args.classes, args.batch, args.accumulate, args.partial)
    if args.members:
        print(members.table(workload, args.rounds, args.one_batch))
        return
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
