"""From which score on an image is said to be of a class, for images that may be of several."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from lift_jax.data.groups import GROUPS
from lift_jax.errors import UserError
from lift_jax.evaluation.ranking import best_threshold

LEAST = 5
"""Images that a class needs for a threshold of its own."""

OWN, GROUP, ALL = "own", "group", "all"
"""Whose images a threshold was chosen by: those of the class, of the classes of its group, or of all classes."""


class Thresholds(NamedTuple):
    """The threshold of each class.

    Attributes:
        values: the score from which on an image is said to be of the class.
        chosen_by: for each class `OWN`, `GROUP` or `ALL`.
    """

    values: Float[np.ndarray, " classes"]
    chosen_by: list[str]

    def of(self, scores: Float[np.ndarray, "n classes"]) -> Bool[np.ndarray, "n classes"]:
        """Says of which classes each image is."""
        return scores >= self.values

    @property
    def sentence(self) -> str:
        """Says how many classes share a threshold, and why."""
        own = self.chosen_by.count(OWN)
        shared = len(self.chosen_by) - own
        said = f"{own:,} of {len(self.chosen_by):,} classes have a threshold of their own"
        if not shared:
            return f"{said}."
        group, every = self.chosen_by.count(GROUP), self.chosen_by.count(ALL)
        parts = [f"{group:,} that of their group (many, medium, few)"] if group else []
        parts += [f"{every:,} that of all classes"] if every else []
        return f"{said}; {' and '.join(parts)}, since fewer than {LEAST} of these images are of the class."


def choose(
    labels: Bool[np.ndarray, "n classes"],
    scores: Float[np.ndarray, "n classes"],
    groups: Int[np.ndarray, " classes"],
    least: int = LEAST,
) -> Thresholds:
    """Chooses the thresholds with the largest F1.

    A class of fewer than `least` images shares one threshold with all such classes of its group, chosen for the F1 over
    all pairs of an image and a class of the group; and if these have fewer than `least` images together, over all pairs
    of an image and a class.

    Args:
        labels: of which classes each image is.
        scores: the logits.
        groups: the group of each class (see `lift_jax.data.groups.GROUPS`).
        least: images that a class needs.

    Raises:
        UserError: if no image is of any class.
    """
    counts = labels.sum(axis=0)
    if not counts.any():
        raise UserError(
            "No image that thresholds could be chosen by has a label; hold out others with config.validation."
        )
    values, chosen_by = np.empty(len(counts)), [OWN] * len(counts)
    few = counts < least
    for group in range(len(GROUPS)):
        members = groups == group
        if (few & members).any():
            enough = counts[members].sum() >= least
            pooled = members if enough else np.ones_like(members)
            values[few & members] = best_threshold(labels[:, pooled].ravel(), scores[:, pooled].ravel())
            for label in np.flatnonzero(few & members).tolist():
                chosen_by[label] = GROUP if enough else ALL
    for label in np.flatnonzero(~few).tolist():
        values[label] = best_threshold(labels[:, label], scores[:, label])
    return Thresholds(values, chosen_by)
