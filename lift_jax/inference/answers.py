"""From the probabilities of images to what a person is told of them."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Float

from lift_jax.data import TestLoader
from lift_jax.data.named_classes import SomeClasses
from lift_jax.errors import UserError
from lift_jax.inference.conformal import Thresholds
from lift_jax.inference.deciding import Rollup, cheapest
from lift_jax.inference.model import AnyPrior, Model
from lift_jax.inference.nearest import Search
from lift_jax.inference.predictions import Answer, Prediction
from lift_jax.inference.run_classifier import Outputs
from lift_jax.workdir.logs import Logs


@dataclasses.dataclass(frozen=True)
class Answers:
    """Makes predictions of probabilities; `answers` makes it for a model.

    Attributes:
        possible: which classes can occur.
        top_k: number of classes that a prediction lists.
        costs: what each answer costs for each true class (see `lift_jax.inference.deciding.cheapest`).
        rollup: the taxonomy of the classes.
        unknown: thresholds of images that are of no known class (see `lift_jax.inference.calibration.Calibration`).
        sets: thresholds of the classes that an image may be of.
        nearest: finds the training images that are most like an image.
    """

    possible: Bool[np.ndarray, " classes"]
    top_k: int
    costs: Float[np.ndarray, "classes classes"] | None = None
    rollup: Rollup | None = None
    unknown: Thresholds | None = None
    sets: Thresholds | None = None
    nearest: Search | None = None

    def rows(
        self, model: Model, loader: TestLoader, logs: Logs, *, prior: AnyPrior | None = None,
        only: SomeClasses | None = None,
    ) -> Iterator[Outputs]:  # fmt: skip
        """Yields what the answers are made of, batch by batch.

        Args:
            model, loader, logs, prior, only: see `lift_jax.inference.model.Model.stream`.

        Raises:
            UserError: if the energies are those of other answers than the calibrated ones.
        """
        energies = self.unknown is not None and self.unknown.score == "energy"
        if energies and (prior is not None or only is not None):
            raise UserError(
                "Unknown images of this run are told by the energy of the calibrated answers; leave `prior` and "
                "`only` out, or `unknown`."
            )
        features = self.nearest is not None
        return model.outputs(loader, logs, prior=prior, only=only, energies=energies, features=features)

    def __call__(
        self, paths: Sequence[str], probabilities: Float[np.ndarray, "n classes"],
        energies: Float[np.ndarray, " n"] | None = None, features: Float[np.ndarray, "n d"] | None = None,
    ) -> list[Prediction]:  # fmt: skip
        """Gives the prediction of each image.

        Args:
            paths: what the images are called.
            probabilities: their probabilities of the classes, a row for each.
            energies, features: see `rows`.
        """
        # A stable order, so that of equal probabilities the first class stands first, as in the evaluation.
        order = np.argsort(-probabilities, axis=1, kind="stable")[:, : self.top_k]
        rows = np.take_along_axis(probabilities, order, axis=1)
        nothing = [None] * len(rows)
        answers = nothing if self.costs is None else _cheapest(probabilities, self.costs, self.possible)
        rolled = nothing if self.rollup is None else self.rollup(probabilities)
        strange = nothing if self.unknown is None else self.unknown.unknown(probabilities, energies).tolist()
        members = nothing if self.sets is None else _members(probabilities, self.sets)
        alike = nothing if self.nearest is None or features is None else self.nearest(features)
        ranked = zip(paths, order.tolist(), rows.tolist(), strict=True)
        decided = zip(answers, rolled, strange, members, alike, strict=True)
        return [Prediction(*each, None, *decisions) for each, decisions in zip(ranked, decided, strict=True)]


def answers(
    model: Model, *, top_k: int = 5, prior: AnyPrior | None = None, only: SomeClasses | None = None,
    costs: Float[np.ndarray, "classes classes"] | None = None, rollup: Rollup | None = None,
    unknown: Thresholds | None = None, sets: Thresholds | None = None, nearest: Search | None = None,
) -> Answers:  # fmt: skip
    """Makes the answers that a model gives.

    Args:
        model: the run's classifier.
        top_k: number of classes of a prediction, at least 1; there are no more than can occur.
        prior, only: see `lift_jax.inference.model.Model.predict`.
        costs, rollup, unknown, sets, nearest: see `Answers`.

    Raises:
        UserError: if a class or prior is not known, or no class can occur.
    """
    possible = model.possible(prior, only)
    return Answers(possible, min(top_k, int(possible.sum())), costs, rollup, unknown, sets, nearest)


def _members(probabilities: Float[np.ndarray, "n classes"], sets: Thresholds) -> list[list[int]]:
    """Gives the labels of the classes in each image's set, the most probable first."""
    return [
        [label for label in np.argsort(-row, kind="stable").tolist() if inside[label]]
        for row, inside in zip(probabilities, sets.sets(probabilities), strict=True)
    ]


def _cheapest(
    probabilities: Float[np.ndarray, "n classes"],
    costs: Float[np.ndarray, "classes classes"],
    possible: Bool[np.ndarray, " classes"],
) -> list[Answer]:
    found = cheapest(probabilities, costs, possible)
    return [Answer(*each) for each in zip(found.labels.tolist(), found.costs.tolist(), strict=True)]
