"""The trainings of `lift_jax.bench.decisions`, and what is measured after each."""

import dataclasses
import functools
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import ml_collections
import numpy as np
from jaxtyping import Bool, Float, Int

from lift_jax import data
from lift_jax.bench import altered_data
from lift_jax.bench.decision_figures import Flipped, Found, Known, Unknown
from lift_jax.data import Dataset, corrections, validation
from lift_jax.errors import UserError, quiet
from lift_jax.evaluation import metrics
from lift_jax.inference.calibrating import calibrate
from lift_jax.inference.choices import LEAST
from lift_jax.inference.load import load
from lift_jax.inference.model import Model
from lift_jax.inference.reviewing import review
from lift_jax.inference.unknown_scores import Score
from lift_jax.run import Loaded, check, run
from lift_jax.run.several import programs_compiled_once
from lift_jax.workdir import one_label
from lift_jax.workdir.logs import Logs

HELD_OUT = "balanced:2"
"""The images that calibrate a run whose config holds out none."""

REVIEWED = "gda"
"""The method of the run whose labels are reviewed: it takes no steps, and any backbone has it."""


def measure(
    config: Mapping[str, Any],
    methods: Sequence[str],
    seeds: int,
    *,
    unknown_classes: int = 10,
    flipped: float = 0.05,
    coverage: float = 0.9,
    say: Callable[[str], None] = print,
) -> Found:
    """Trains each method twice with each seed, and measures what is decided after it.

    Args:
        config: the entries of a config (see `lift_jax.config.default`).
        methods: as in `config.method`.
        seeds: their number; they begin with 0.
        unknown_classes: the number of classes that are left out of the second training.
        flipped: the share of the training labels that are flipped.
        coverage: the probability with which a prediction set holds the true class.
        say: gets a sentence after each training.

    Raises:
        UserError: for any mistake in the config or the arguments, before anything is trained if that can be known.
    """
    if not methods:
        raise UserError("--methods names no method; write one or more with commas between, such as head_only,lift.")
    if not 0 < coverage < 1:
        raise UserError(f"--coverage is {coverage}; write a number between 0 and 1, such as 0.9.")
    found, loaded = Found({}, {}, [], unknown_classes, flipped, coverage), Loaded()
    with programs_compiled_once(), quiet.hushed():
        for seed in range(seeds):
            with tempfile.TemporaryDirectory(prefix="lift_jax-decisions-") as folder:
                trainings = Trainings(config, seed, Path(folder), loaded)
                for method in methods:
                    trainings.prepared(method)
                trainings.without(methods[0], unknown_classes)
                found.flipped.append(trainings.flipped(flipped))
                say(f"seed {seed}, flipped labels: average precision {found.flipped[-1].average_precision:.3f}")
                for method in methods:
                    known = trainings.known(method, coverage)
                    found.known.setdefault(method, []).append(known)
                    before, after = known.before["accuracy"], known.after["accuracy"]
                    say(f"seed {seed}, {method}: accuracy {before:.1f} %, calibrated {after:.1f} %")
                    unknown = trainings.unknown(method, unknown_classes)
                    found.unknown.setdefault(method, []).append(unknown)
                    area = unknown.areas(unknown.after)[unknown.chosen]
                    say(f"seed {seed}, {method}, {unknown_classes} classes left out: AUROC {area:.3f}, calibrated")
    return found


@dataclasses.dataclass(frozen=True)
class Trainings:
    """The trainings of one seed, and the images that they have in common.

    Attributes:
        config: the entries of a config (see `lift_jax.config.default`).
        seed: of the trainings, of the classes that are left out, and of the labels that are flipped.
        folder: an empty folder.
        loaded: what the trainings share.
    """

    config: Mapping[str, Any]
    seed: int
    folder: Path
    loaded: Loaded

    def prepared(self, method: str) -> ml_collections.ConfigDict:
        """Gives the config of a training, with held-out images to calibrate by.

        Raises:
            UserError: for a mistake in the config, or images that cannot be held out or calibrate nothing.
        """
        chosen = ml_collections.ConfigDict(dict(self.config))
        chosen.update(method=method, seed=self.seed, sweep="", report=False, zero_shot=False, tracker="")
        one_label.require(chosen, "lift_jax.bench.decisions", "write config.task=multiclass")
        chosen.validation = chosen.validation or HELD_OUT
        check(chosen)
        if not validation.is_drawn(chosen.validation):
            raise UserError(
                f"config.validation is {chosen.validation}, a file; the images of trainings without some classes are "
                f"listed anew, so write balanced:K or fraction:F, such as {HELD_OUT}."
            )
        self._check_held_out(chosen)
        return chosen

    def without(self, method: str, count: int) -> ml_collections.ConfigDict:
        """Gives the config of a training without `count` classes; for the errors see `prepared` and `left_out`."""
        config, (left_out, _) = self.prepared(method), self.left_out(count)
        train, test = (altered_data.without(split, left_out) for split in self._splits)
        altered_data.use(config, train, test, self.folder / "without.csv")
        self._check_held_out(config)
        return config

    def _check_held_out(self, config: ml_collections.ConfigDict) -> None:
        """Refuses to hold out too few images to calibrate by."""
        own = self.loaded.data(check(config))
        if own.validation is not None and len(own.validation) < LEAST:
            raise UserError(
                f"config.validation={config.validation} holds out {len(own.validation)} images of "
                f"{own.train.num_classes:,} classes, and a calibration takes at least {LEAST}; write a larger number, "
                "such as config.validation=fraction:0.3."
            )

    def known(self, method: str, coverage: float) -> Known:
        """Trains on all classes, and calibrates."""
        config = self.prepared(method)
        with tempfile.TemporaryDirectory(dir=self.folder) as workdir:
            results = run(config, workdir, loaded=self.loaded)
            calibrated = calibrate(workdir).calibration
            test = self.loaded.data(check(config)).test
            index, probabilities, _ = _answers(load(workdir), test)
        labels, best = test.labels[index], probabilities.argmax(axis=1)
        counts = metrics.count_rows(labels, best, probabilities.max(axis=1), test.num_classes)
        sets = calibrated.sets(coverage).sets(probabilities)
        return Known(
            before=results.get("tte", results["plain"]),
            after=metrics.summarize(counts, class_groups=calibrated.groups),
            covered=100 * float(sets[np.arange(len(labels)), labels].mean()),
            size=float(sets.sum(axis=1).mean()),
        )

    def unknown(self, method: str, count: int) -> Unknown:
        """Trains without `count` classes, and calibrates."""
        config, test, (_, is_known) = self.without(method, count), self._splits[1], self.left_out(count)
        with tempfile.TemporaryDirectory(dir=self.folder) as workdir:
            run(config, workdir, loaded=self.loaded)
            chosen = calibrate(workdir).calibration.unknown_score
            before, after = (_answers(load(workdir, raw=raw), test) for raw in (True, False))
        return Unknown(is_known[before.index], before.scores, after.scores, chosen)

    def flipped(self, share: float) -> Flipped:
        """Flips a share of the training labels, and reviews them."""
        config = self.prepared(REVIEWED)
        config.update(validation="", patience=0)  # the review takes all training images
        given = self._given[0]
        labels = altered_data.flip(given.labels, given.num_classes, share, self.seed)
        train, test = self._splits
        with tempfile.TemporaryDirectory(dir=self.folder) as workdir:
            flipped = dataclasses.replace(train, labels=labels)
            altered_data.use(config, flipped, test, self.folder / "flipped.csv")
            run(config, workdir, loaded=self.loaded)
            suspected = review(workdir).suspected
        places = {corrections.name(train, index, str(self.folder)): index for index in range(len(train))}
        suspicion = np.zeros(len(train), np.int64)
        suspicion[[places[each.image] for each in suspected]] = np.arange(len(suspected), 0, -1)
        return Flipped(labels != train.labels, suspicion)

    def left_out(self, count: int) -> tuple[Int[np.ndarray, " left_out"], Bool[np.ndarray, " n"]]:
        """Draws the classes that the second training does without, and tells which test images are of known ones.

        Raises:
            UserError: if too few classes remain, or the known or the others have no test images.
        """
        _, test = self._given
        classes = altered_data.draw_classes(test.num_classes, count, self.seed)
        is_known = ~np.isin(test.labels, classes)
        if len(np.unique(is_known)) < 2:
            side = "unknown" if is_known.all() else "known"
            raise UserError(
                f"With --unknown-classes={count} and the seed {self.seed}, no test image is of {side} classes; write "
                "another number, or test on images of more classes."
            )
        return classes, is_known

    @functools.cached_property
    def _given(self) -> tuple[Dataset, Dataset]:
        """The training and the test split."""
        return data.load(ml_collections.ConfigDict(dict(self.config)).data, self.seed)

    @functools.cached_property
    def _splits(self) -> list[Dataset]:
        """Both splits with images that are all files."""
        named = zip(self._given, ("train", "test"), strict=True)
        return [altered_data.stored(split, self.folder / name) for split, name in named]


class _Answers(NamedTuple):
    """The answers for the images that can be read.

    Attributes:
        index: of the images in their data set, ascending.
        probabilities, energies: see `lift_jax.inference.model.Model.scored`.
    """

    index: Int[np.ndarray, " n"]
    probabilities: Float[np.ndarray, "n classes"]
    energies: Float[np.ndarray, " n"]

    @property
    def scores(self) -> dict[Score, Float[np.ndarray, " n"]]:
        """The scores that tell unknown images."""
        return {"probability": self.probabilities.max(axis=1), "energy": self.energies}


def _answers(model: Model, images: Dataset) -> _Answers:
    batches = model.scored(model.loader(images), Logs(None, enabled=False))
    columns = [np.concatenate(column) for column in zip(*batches, strict=True)]
    order = np.argsort(columns[0])
    return _Answers(*(column[order] for column in columns))
