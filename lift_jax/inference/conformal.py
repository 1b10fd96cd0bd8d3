"""Thresholds of scores that hold for a stated share of images like the held-out ones (split conformal).

Vovk, Gammerman and Shafer 2005, "Algorithmic Learning in a Random World", section 4.5: with thresholds of each group of
classes, so that few classes are not given up for the many.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from lift_jax.errors import UserError
from lift_jax.inference.choices import LEAST
from lift_jax.inference.unknown_scores import Score


@dataclasses.dataclass(frozen=True)
class Thresholds:
    """The lowest probability, or the lowest energy, for each class.

    Attributes:
        lowest: by class.
        score: what it is the lowest of.
    """

    lowest: Float[np.ndarray, " classes"]
    score: Score = "probability"

    def unknown(
        self, probabilities: Float[np.ndarray, "n classes"], energies: Float[np.ndarray, " n"] | None = None
    ) -> Bool[np.ndarray, " n"]:
        """Says which images are of no known class: those whose score is below the threshold of the most probable class.

        Args:
            probabilities: of the images.
            energies: see `lift_jax.inference.model.Model.scored`; needed only where they are the score.

        Raises:
            UserError: if they are needed and not there.
        """
        scores = probabilities.max(axis=1) if self.score == "probability" else energies
        if scores is None:
            raise UserError(
                "Unknown images of this run are told by the energy; give the energies that Model.scored yields with "
                "the probabilities."
            )
        return scores < self.lowest[probabilities.argmax(axis=1)]

    def sets(self, probabilities: Float[np.ndarray, "n classes"]) -> Bool[np.ndarray, "n classes"]:
        """Says which classes each image may be of: those from their threshold on, and in any case the most probable."""
        members = probabilities >= self.lowest
        members[np.arange(len(members)), probabilities.argmax(axis=1)] = True
        return members


def thresholds(
    held_out: Sequence[Sequence[float]], groups: Int[np.ndarray, " classes"], share: float, what: str,
    score: Score = "probability",
) -> Thresholds:  # fmt: skip
    """Finds the thresholds that at most a share of images falls below.

    A new image that comes as the n held-out ones did is below their k-th smallest value with a probability of at most k
    / (n + 1).

    A group with fewer than `LEAST` images, or too few for the share, has the threshold of all images.

    Args:
        held_out: the scores of the held-out images, by group.
        groups: the group of each class.
        share: what may fall below, above 0 and below 1.
        what: how an error message begins, such as "--unknown is 0.05".
        score: what the scores are.

    Raises:
        UserError: if there are too few held-out images for so small a share.
    """
    everything = [value for values in held_out for value in values]
    if _rank(len(everything), share) < 1:
        raise UserError(
            f"{what}, but the calibration has {len(everything):,} images, which takes at least {_fewest(share):,}; "
            "calibrate the run with more images."
        )
    lowest = [
        _smallest(values if len(values) >= LEAST and _rank(len(values), share) >= 1 else everything, share)
        for values in held_out
    ]
    return Thresholds(np.asarray(lowest)[groups], score)


def _rank(count: int, share: float) -> int:
    return math.floor(share * (count + 1) + 1e-9)


def _fewest(share: float) -> int:
    return math.ceil(1 / share - 1e-9) - 1


def _smallest(values: Sequence[float], share: float) -> float:
    return sorted(values)[_rank(len(values), share) - 1]
