"""The order in which an epoch visits the examples."""

import numpy as np
from jaxtyping import Int

from lift_jax.errors import UserError

SAMPLERS = ("shuffle", "balanced", "square_root", "class_aware")


class EpochOrder:
    """Draws the order of each epoch, from (seed, epoch) alone.

    - "shuffle": every example once.
    - "balanced": each draw takes a class uniformly, then one of its examples uniformly (Kang et al. 2020).
    - "square_root": the same, with the class's probability proportional to the square root of its size.
    - "class_aware": the classes in turn, each round in a new random order, and of each class its examples in a random
      order without repetition until all were seen (Shen et al. 2016).

    All draw as many examples as there are.

    Args:
        labels: int [examples].
        num_classes: number of classes, each with at least one example.
        sampler: one of `SAMPLERS`.
        seed: of all epochs.

    Raises:
        UserError: an unknown sampler.
    """

    def __init__(self, labels: Int[np.ndarray, " examples"], num_classes: int, sampler: str, seed: int):
        if sampler not in SAMPLERS:
            raise UserError(f"config.data.sampler is {sampler!r}; write one of {', '.join(SAMPLERS)}.")
        self._labels = labels
        self._num_classes = num_classes
        self._sampler = sampler
        self._seed = seed
        self._last: tuple[int, np.ndarray] | None = None

    def __call__(self, epoch: int) -> Int[np.ndarray, " examples"]:
        """Gives the indices of the examples, int [examples], in the order of the epoch."""
        last = self._last  # Read once: several threads may be at the border of two epochs.
        if last is None or last[0] != epoch:
            self._last = last = (epoch, self._draw(np.random.default_rng((self._seed, 0, epoch))))
        return last[1]

    def _draw(self, rng: np.random.Generator) -> np.ndarray:
        count = len(self._labels)
        if self._sampler == "shuffle":
            return rng.permutation(count)
        sizes = np.bincount(self._labels, minlength=self._num_classes)
        starts = np.cumsum(sizes) - sizes
        by_class = np.argsort(self._labels, kind="stable")
        if self._sampler == "class_aware":
            rounds = -(-count // self._num_classes)
            classes = np.concatenate([rng.permutation(self._num_classes) for _ in range(rounds)])[:count]
            order = np.empty(count, np.int64)
            for label in range(self._num_classes):
                places = np.flatnonzero(classes == label)
                members = by_class[starts[label] : starts[label] + sizes[label]]
                passes = [rng.permutation(members) for _ in range(-(-len(places) // len(members)))]
                order[places] = np.concatenate(passes)[: len(places)] if passes else []
            return order
        weights = np.sqrt(sizes) if self._sampler == "square_root" else np.ones(self._num_classes)
        classes = rng.choice(self._num_classes, count, p=weights / weights.sum())
        return by_class[starts[classes] + (rng.random(count) * sizes[classes]).astype(np.int64)]
