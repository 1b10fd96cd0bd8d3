"""Whether the batches keep up with the steps: the program's own feeding, and a step that only sleeps.

    python -m lift_jax.bench.feeding [--rate 750] [--batch 64] [--steps 60] [--workers 2] [--fidelity exact]

JPEG files in memory go through the training loader's workers and onto the device as in a training. In place of the
step, whose speed is not the question, the "device" sleeps as long as a batch takes at --rate images a second, and the
host reads its result every `config.log_every` steps. It prints the rate from the files to the end of the steps, and
its ratio to that of the same steps on a batch that lies on the device already. The first steps, in which the workers
start, do not count. With 375 images a second of each core, 750 are right for two cores.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import numpy as np

from lift_jax import config as lift_config
from lift_jax.bench.data import HEIGHT, RESOLUTION, WIDTH, Photographs
from lift_jax.cluster import placement
from lift_jax.data import TrainLoader, data_defaults, train_loader
from lift_jax.data.dataset import Dataset
from lift_jax.data.resampling import FIDELITIES
from lift_jax.training.feeding import Feed


class Rates(NamedTuple):
    """Images a second: of the steps alone, and from the files to the end of the steps."""

    alone: float
    fed: float


class SleepingDevice:
    """Takes steps in the order in which they are handed to it, and sleeps in each; nobody waits for it unasked.

    Args:
        seconds: of a step.
    """

    def __init__(self, seconds: float):
        self._seconds = seconds
        self._queue = ThreadPoolExecutor(1)

    def step(self, batch: Any) -> Future[None]:
        """Hands it a batch, which has to arrive before the step begins."""
        return self._queue.submit(self._step, batch)

    def _step(self, batch: Any) -> None:
        jax.block_until_ready(batch)
        time.sleep(self._seconds)


def measure(loader: TrainLoader, rate: float, batch_size: int, warm: int) -> Rates:
    """Takes all steps of a loader.

    Args:
        loader: the training batches.
        rate: images a second of a step.
        batch_size: images of a batch.
        warm: steps at the start that do not count.
    """
    feed, device = Feed(loader, placement.make_mesh()), SleepingDevice(batch_size / rate)
    for _ in range(warm):
        batch, _ = feed.take()
        feed.prepare()
        device.step(batch).result()
    steps = loader.num_steps - warm

    def fed() -> Future[None]:
        taken = device.step(feed.take()[0])
        feed.prepare()
        return taken

    took = _seconds(fed, steps)
    alone = _seconds(lambda: device.step(batch), steps)
    loader.close()
    return Rates(steps * batch_size / alone, steps * batch_size / took)


def _seconds(step: Callable[[], Future[None]], steps: int) -> float:
    """Measures some steps, of which every so many-th is waited for, as the losses are read for the log."""
    every, start = lift_config.default().log_every, time.monotonic()
    for number in range(1, steps + 1):
        done = step()
        if number % every == 0 or number == steps:
            done.result()
    return time.monotonic() - start


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the rates, and what they are of."""
    parser = argparse.ArgumentParser(
        prog="python -m lift_jax.bench.feeding",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rate", type=float, default=750, help="images a second of the step (default 750)")
    parser.add_argument("--batch", type=int, default=64, help="images of a batch (default 64)")
    parser.add_argument("--steps", type=int, default=60, help="steps that count (default 60)")
    parser.add_argument("--workers", type=int, default=2, help="as config.data.num_workers (default 2)")
    parser.add_argument("--fidelity", default=data_defaults().fidelity, choices=FIDELITIES)
    given = parser.parse_args(arguments)
    for name, least in dict(rate=1, batch=1, steps=1, workers=0).items():
        if not getattr(given, name) >= least:
            parser.error(f"--{name} is {getattr(given, name)}; write {least} or more.")
    warm = 4 * max(1, given.workers)
    count = (warm + given.steps) * given.batch
    source = Photographs(count)
    data = Dataset("photographs", source, np.zeros(count, np.int32), ("photograph",))
    settings: dict[str, Any] = dict(seed=0, num_epochs=1, fidelity=given.fidelity, num_workers=given.workers)
    loader = train_loader(data, batch_size=given.batch, resolution=RESOLUTION, **settings)
    rates = measure(loader, given.rate, given.batch, warm)
    size = sum(map(len, source.files)) / len(source.files)
    print(
        f"{WIDTH} x {HEIGHT} pixels, {size / 1e3:.0f} kB a file, fidelity {given.fidelity}, {given.workers} workers: "
        f"{rates.fed:.0f} images a second from the files, {rates.fed / rates.alone:.3f} of the steps' own "
        f"{rates.alone:.0f}"
    )


if __name__ == "__main__":
    main()
