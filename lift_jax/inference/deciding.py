"""From probabilities to an answer: another prior, the cheapest answer, or the most specific rank that is sure enough.

All of it works on arrays [images, classes] of probabilities in float32 or float64, and computes in float64.
`lift_jax.inference.decision_files` reads the tables that people write for it.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from lift_jax.data import named_classes
from lift_jax.data.shown import and_more, shown
from lift_jax.errors import UserError

_ROUNDING = 1e-9
"""What a sum of float64 probabilities may miss a threshold by."""

_SHOWN = 10
"""Classes of an estimated prior that a sentence names."""


def prior_weights(
    prior: Mapping[str, float] | Float[np.ndarray, " classes"],
    class_names: Sequence[str],
    possible: Bool[np.ndarray, " classes"],
    what: str = "The prior",
) -> Float[np.ndarray, " classes"]:
    """Gives the weight of each class, float64; those that are not possible have a weight of 0.

    Args:
        prior: a weight for each possible class, by its name or in label order; NaN stands for none.
        class_names: the names of all classes, in label order.
        possible: the classes that can occur.
        what: how an error message begins, such as the file.

    Raises:
        UserError: if a possible class has no weight, or one that is below 0 or infinite; or a name is no class.
    """
    if isinstance(prior, Mapping):
        weights = np.full(len(class_names), np.nan)
        weights[named_classes.find(list(prior), class_names, what)] = list(prior.values())
    else:
        weights = np.asarray(prior, np.float64)
    if weights.shape != (len(class_names),):
        raise UserError(
            f"{what} has the shape {list(weights.shape)}, but the run has {len(class_names)} classes; give a weight "
            "for each class."
        )
    weights = np.where(possible, weights, 0)
    if (absent := np.flatnonzero(np.isnan(weights))).size:
        raise UserError(
            f"{what} has no weight for the class '{shown(class_names[absent[0]])}'{and_more(absent, 1)}; write one for "
            "each class, 0 where it cannot occur."
        )
    if (wrong := np.flatnonzero((weights < 0) | np.isinf(weights))).size:
        raise UserError(
            f"{what} has the weight {weights[wrong[0]]} for the class '{shown(class_names[wrong[0]])}'; give a "
            "number of at least 0."
        )
    return weights


class PriorEstimate(NamedTuple):
    """How frequent the classes are among some images.

    Attributes:
        prior: the share of each class, float64, with a sum of one.
        iterations: how many times it was improved.
        converged: whether the last iteration changed no share by more than the tolerance.
    """

    prior: Float[np.ndarray, " classes"]
    iterations: int
    converged: bool

    def sentence(self, class_names: Sequence[str]) -> str:
        """Tells the iterations and the most frequent classes."""
        order = np.argsort(-self.prior, kind="stable")
        shares = ", ".join(f"{shown(class_names[c])} {100 * self.prior[c]:.1f} %" for c in order[:_SHOWN])
        rest = len(order) - _SHOWN
        more = f", and {rest:,} more with {100 * self.prior[order[_SHOWN:]].sum():.1f} %" if rest > 0 else ""
        ended = "" if self.converged else " (which was too few to settle)"
        return f"The prior estimated in {self.iterations:,} iterations{ended}: {shares}{more}."


def estimate_prior(
    probabilities: Float[np.ndarray, "n classes"], tolerance: float = 1e-6, most_iterations: int = 1000
) -> PriorEstimate:
    """Estimates how frequent the classes are among the images that probabilities are given for.

    This is the EM algorithm of Saerens, Latinne and Decaestecker (2002, "Adjusting the outputs of a classifier to new a
    priori probabilities", eq. 2.9). It starts from the uniform prior, and no iteration lowers the likelihood.

    Args:
        probabilities: the posterior under a uniform prior; each row has a sum of one.
        tolerance: the largest change of a share at which it ends.
        most_iterations: after how many iterations it ends in any case.
    """
    rows = np.asarray(probabilities, np.float64)
    prior = np.full(rows.shape[1], 1 / rows.shape[1])
    for iteration in range(1, most_iterations + 1):
        # A prior that is 0 for all that a row takes for possible cannot arise: the row itself has kept it above 0.
        improved = prior * (rows.T @ (1 / (rows @ prior))) / len(rows)
        improved /= improved.sum()
        change = np.abs(improved - prior).max()
        prior = improved
        if change <= tolerance:
            return PriorEstimate(prior, iteration, True)
    return PriorEstimate(prior, most_iterations, False)


def reweighted(
    probabilities: Float[np.ndarray, "n classes"], prior: Float[np.ndarray, " classes"]
) -> Float[np.ndarray, "n classes"]:
    """Puts a prior in the place of the uniform one, by Bayes' rule; the dtype is that of the probabilities.

    Args:
        probabilities: the posterior under a uniform prior.
        prior: the share of each class; in each row, a class with a probability above 0 must have a share above 0.
    """
    joint = probabilities * np.asarray(prior, np.float64)
    return (joint / joint.sum(axis=1, keepdims=True)).astype(probabilities.dtype)


class Answers(NamedTuple):
    """The cheapest answer for each image.

    Attributes:
        labels: the class that is answered.
        costs: what the answer is expected to cost, float64.
    """

    labels: Int[np.ndarray, " n"]
    costs: Float[np.ndarray, " n"]


def cheapest(
    probabilities: Float[np.ndarray, "n classes"],
    costs: Float[np.ndarray, "classes classes"],
    possible: Bool[np.ndarray, " classes"] | None = None,
) -> Answers:
    """Finds the answers that minimise the expected cost; of equally cheap ones, the first class.

    Args:
        probabilities: of the classes.
        costs: `costs[c, a]` is what the answer a costs where c is the truth.
        possible: the classes that may be answered, None for all.
    """
    expected = np.asarray(probabilities, np.float64) @ np.asarray(costs, np.float64)
    if possible is not None:
        expected[:, ~possible] = np.inf
    labels = expected.argmin(axis=1)
    return Answers(labels, np.take_along_axis(expected, labels[:, None], axis=1)[:, 0])


class Rank(NamedTuple):
    """A rank of a taxonomy.

    Attributes:
        name: such as "genus".
        groups: the names of its groups, such as those of the genera.
        members: the group of each class, as an index into `groups`.
    """

    name: str
    groups: tuple[str, ...]
    members: Int[np.ndarray, " classes"]


class RolledUp(NamedTuple):
    """What can be said of an image.

    Attributes:
        rank: the rank's name; None if no rank was sure enough.
        name: the group's name; None if no rank was sure enough.
        probability: that of the group, or the highest one of the coarsest rank.
    """

    rank: str | None
    name: str | None
    probability: float


@dataclasses.dataclass(frozen=True)
class Rollup:
    """Answers with the most specific rank that is sure enough.

    Attributes:
        ranks: from the classes themselves to the coarsest rank; each group lies within one group of the next rank.
        threshold: the probability that a group must reach, above 0 and at most 1.
    """

    ranks: tuple[Rank, ...]
    threshold: float = 0.8

    def __post_init__(self) -> None:
        if not 0 < self.threshold <= 1:
            raise UserError(
                f"The threshold of the roll-up is {self.threshold}; write a probability above 0 and at most 1, such as "
                "0.8, with --threshold."
            )

    def best(
        self, probabilities: Float[np.ndarray, "n classes"]
    ) -> tuple[Int[np.ndarray, "n ranks"], Float[np.ndarray, "n ranks"]]:
        """Gives the most probable group of each rank, and its probability, which never falls towards coarser ranks."""
        rows = np.asarray(probabilities, np.float64)
        rows = rows / rows.sum(axis=1, keepdims=True)  # so that all classes together pass a threshold of 1
        labels, sums = [], []
        for rank in self.ranks:
            order = np.argsort(rank.members, kind="stable")
            starts = np.searchsorted(rank.members[order], np.arange(len(rank.groups)))
            grouped = np.add.reduceat(rows[:, order], starts, axis=1)
            labels.append(grouped.argmax(axis=1))
            sums.append(grouped.max(axis=1))
        return np.stack(labels, axis=1), np.stack(sums, axis=1)

    def __call__(self, probabilities: Float[np.ndarray, "n classes"]) -> list[RolledUp]:
        """Gives the answer for each image."""
        answers = []
        for groups, sums in zip(*self.best(probabilities), strict=True):
            sure = np.flatnonzero(sums >= self.threshold - _ROUNDING)
            if not sure.size:
                answers.append(RolledUp(None, None, float(sums[-1])))
                continue
            rank, place = self.ranks[sure[0]], sure[0]
            answers.append(RolledUp(rank.name, rank.groups[groups[place]], float(sums[place])))
        return answers
