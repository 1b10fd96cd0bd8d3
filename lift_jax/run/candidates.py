"""The candidates among which `config.auto` chooses, and the choice among what was measured of them."""

import dataclasses
import itertools
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import ml_collections
import numpy as np
from jaxtyping import Float, Int

from lift_jax import tuners
from lift_jax.evaluation.estimates import ClassMean, class_mean
from lift_jax.tuners import tuner_defaults

HEAD_ONLY = "head_only"

EACH = 8
"""Candidates of head-only training, and of each width of the tuner."""

_STREAM = 0x6175746F  # keeps the order of the candidates apart from what else is chosen by the same seed


@dataclasses.dataclass(frozen=True)
class Candidate:
    """What a training would have other than the config.

    Attributes:
        name: of the folders of its trials.
        values: by the whole names of the config's keys, the same keys for all candidates of a search.
        width: of its tuner; 0 where the head alone is trained, so that of two candidates the narrower one is cheaper.
        drawn: how many of the values that are drawn are others than the config's own.
    """

    name: str
    values: Mapping[str, Any]
    width: int
    drawn: int = 0

    def apply(self, config: ml_collections.FrozenConfigDict) -> ml_collections.ConfigDict:
        """Gives the resolved config with the values of the candidate."""
        changed = ml_collections.ConfigDict(config.to_dict())
        if self.values["method"] != config.method:  # the options of its tuners are none of the other method
            changed.tuner = tuner_defaults()
            changed.tuner.rules = config.tuner.rules
        changed.update_from_flattened_dict(dict(self.values))
        return changed


def candidates(config: ml_collections.FrozenConfigDict, width: int, fixed: Collection[str]) -> list[Candidate]:
    """Draws candidates: of each method and width the config's own values, and others around them by chance.

    Args:
        config: the resolved config, whose seed draws them.
        width: of the tuner as the config has it; 0 if its tuners have no width.
        fixed: keys that keep the value of the config.
    """
    around: dict[str, tuple[Any, ...]] = {
        "lr": (config.lr, _rounded(config.lr / 3), _rounded(config.lr * 3)),
        "tau": (config.tau, _rounded(config.tau / 2), _rounded(config.tau * 1.5)) if config.loss == "LA" else (),
        "weight_decay": (config.weight_decay, min(100.0, _rounded(config.weight_decay * 10))),
        "head_init": (config.head_init, "class_mean"),
    }
    around = {
        key: tuple(dict.fromkeys(values)) if values and key not in fixed else (config[key],)
        for key, values in around.items()
    }
    generator = np.random.default_rng([_STREAM, config.seed])
    found: list[Candidate] = []
    for method, dim, own_width in _methods(config, width, fixed):
        product = [dict(zip(around, values, strict=True)) for values in itertools.product(*around.values())]
        order = [0, *(1 + generator.permutation(len(product) - 1))][:EACH]
        for index in order:
            values = {"method": method, "tuner.dim": dim, **product[index]}
            drawn = sum(product[index][key] != own for key, own in product[0].items())
            found.append(Candidate(f"{len(found):02d}-{method}", values, own_width, drawn))
    return found


def _methods(config: ml_collections.FrozenConfigDict, width: int, fixed: Collection[str]) -> list[tuple[str, int, int]]:
    """Gives the methods with their `tuner.dim` and width; a tuner without a width counts as one of width 1."""
    if config.method == HEAD_ONLY:
        return [(HEAD_ONLY, 0, 0)]
    found = [] if "method" in fixed else [(HEAD_ONLY, 0, 0)]
    if width >= 4 and "tuner.dim" not in fixed:
        found.append((config.method, width // 4, width // 4))
    return [*found, (config.method, config.tuner.dim, max(1, width))]


def has_width(config: ml_collections.FrozenConfigDict) -> bool:
    """Tells whether the config's method has a tuner that reads `config.tuner.dim`."""
    return any("dim" in spec.options for spec in tuners.resolve(config.method, config.tuner).image)


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")


class Trial(NamedTuple):
    """What was measured of a candidate.

    Attributes:
        candidate: what was trained.
        epochs: how long.
        right: for each held-out image 100 if it was predicted right, else 0; None if the training has diverged.
    """

    candidate: Candidate
    epochs: int
    right: Float[np.ndarray, " n"] | None


class Judged(NamedTuple):
    """A trial beside the best one.

    Attributes:
        trial: the trial.
        score: its mean class accuracy in percent; None if it has diverged.
        behind: by how much the best one is better, over the same images; None if it has diverged.
    """

    trial: Trial
    score: ClassMean | None
    behind: ClassMean | None

    @property
    def within_noise(self) -> bool:
        """Whether the best one is not better by more than the standard error of the difference."""
        if self.behind is None:
            return False
        # A difference of a single image is as large as its error, but for the rounding.
        return self.behind.mean <= self.behind.error * (1 + 1e-9)


def judge(trials: Sequence[Trial], labels: Int[np.ndarray, " n"]) -> list[Judged]:
    """Compares trials with the best of them, over the same held-out images; the best one comes first.

    Args:
        trials: at least one that has not diverged.
        labels: the classes of the held-out images.
    """
    scored = [(trial, None if trial.right is None else class_mean(trial.right, labels)) for trial in trials]
    ordered = sorted(
        scored, key=lambda each: (each[1] is None, -each[1].mean if each[1] else 0, each[0].candidate.width)
    )
    best = ordered[0][0].right
    assert best is not None
    return [
        Judged(trial, score, None if trial.right is None else class_mean(best - trial.right, labels))
        for trial, score in ordered
    ]


def choose(judged: Sequence[Judged]) -> Judged:
    """Chooses the cheapest of those within noise of the best: head-only, then the narrowest tuner.

    Of these the one that differs least from the config, which somebody meant, where another one is better by chance;
    then the best.
    """

    def order(each: Judged) -> tuple[int, int]:
        return each.trial.candidate.width, each.trial.candidate.drawn

    return min((each for each in judged if each.within_noise), key=order)


def promoted(trials: Sequence[Trial], labels: Int[np.ndarray, " n"]) -> list[Candidate]:
    """Gives the candidates of the next rung: the better third, and the best one of each width, the best first.

    So a cheap candidate cannot lose to a better one by noise before both are fully trained.
    """
    judged = [each for each in judge(trials, labels) if each.score is not None]
    third = -(-len(judged) // 3)
    widths: set[int] = set()
    found = []
    for place, each in enumerate(judged):
        if place < third or each.trial.candidate.width not in widths:
            found.append(each.trial.candidate)
        widths.add(each.trial.candidate.width)
    return found
