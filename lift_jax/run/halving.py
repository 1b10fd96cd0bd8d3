"""Successive halving over candidates (Jamieson and Talwalkar 2016), whose trials are runs that share what they can.

Many candidates train for a quarter of the epochs, the better third of them for half, and the better third of these for
all. Each rung has an equal part of the time, and so has the last training, which comes after them. How long the trials
take is measured, and those that would not fit into the time are left out.
"""

import dataclasses
import time
from collections.abc import Sequence
from typing import Any, Literal

import ml_collections
import numpy as np
import pydantic
from etils import epath

from lift_jax.data import RunData
from lift_jax.data.validation import HeldOut
from lift_jax.errors import DivergedError, UserError, quiet
from lift_jax.evaluation.estimates import class_mean
from lift_jax.files import write_json
from lift_jax.run import Loaded, check
from lift_jax.run.candidates import Candidate, Judged, Trial, judge, promoted
from lift_jax.run.several import groups, refuse_others, run_group
from lift_jax.workdir import schema

FILE, TRIALS = "auto.json", "auto"
_PARTS = (4, 2, 1)
"""A rung trains for this part of the epochs."""


class _File(pydantic.BaseModel):
    """What a search that goes on reads of auto.json; the rest is for people.

    Attributes:
        format: of the file.
        seconds: that were spent so far.
        closed: number of rungs that have got all the time that they get.
        diverged: folders of the trials that have diverged.
    """

    model_config = schema.STRICT | pydantic.ConfigDict(extra="ignore")
    format: Literal[1] = 1
    seconds: float = pydantic.Field(default=0.0, ge=0)
    closed: int = pydantic.Field(default=0, ge=0)
    diverged: list[str] = []


class CutData(Loaded):
    """Data of which the trials see a cut alone: they train on its one part and are tested on the other.

    The images of the test set are not among them, so that nothing can be chosen by these.
    """

    cut: HeldOut | None = None

    def data(self, config: ml_collections.FrozenConfigDict) -> RunData:
        """Gives the data of a trial, or of the last training if there is no cut."""
        whole = super().data(config)
        if self.cut is None:
            return whole
        return dataclasses.replace(whole, train=self.cut.train, test=self.cut.validation)


class Search:
    """Trains candidates, rung by rung.

    Args:
        config: the resolved config of the last training.
        workdir: its folder.
        loaded: gives the data of the trials.
        cuts: the ways in which images are held out.
        seconds: the time of all trials and the last training.
        members: how many trials train at once.
    """

    def __init__(
        self,
        config: ml_collections.FrozenConfigDict,
        workdir: epath.Path,
        loaded: CutData,
        cuts: Sequence[HeldOut],
        seconds: float,
        members: int,
    ):
        self._config, self._workdir, self._loaded, self._cuts = config, workdir, loaded, cuts
        self._seconds, self._members = seconds, members
        self._labels = np.concatenate([each.validation.labels for each in cuts])
        file = workdir / FILE
        known = (
            schema.read(file, _File, "remove it, and the search goes on from its trials") if file.is_file() else None
        )
        self._state = known or _File()
        self._began = time.monotonic() - self._state.seconds
        self._slowest = 0.0  # seconds of a trial's epoch

    def judged(self, drawn: Sequence[Candidate]) -> list[Judged]:
        """Trains the candidates, and compares all their trials."""
        lengths = sorted({max(1, self._config.num_epochs // part) for part in _PARTS})
        trials: list[Trial] = []
        alive = list(drawn)
        for rung, epochs in enumerate(lengths):
            reached = self._rung(alive, epochs, rung, deadline=self._seconds * (rung + 1) / (len(lengths) + 1))
            if all(trial.right is None for trial in reached):
                raise UserError(
                    f"All candidates of config.auto have diverged; write a lower config.lr than {self._config.lr:g} "
                    "and another --workdir."
                )
            trials += reached
            alive = promoted(reached, self._labels)
            self._state.closed = max(self._state.closed, rung + 1)
            self.write()
        return judge(trials, self._labels)

    def _rung(self, alive: Sequence[Candidate], epochs: int, rung: int, deadline: float) -> list[Trial]:
        """Trains candidates for so many epochs, as many as the time allows; of each program at least the first one.

        What is left of the time is divided among the programs that are left, so that every width is tried.
        """
        quiet.say(
            f"config.auto: {epochs} of {self._config.num_epochs} epochs of {_candidates(len(alive))}, with the mean "
            "class accuracy of each on the held-out images:"
        )
        by_folder = {self._folder(candidate, epochs): candidate for candidate in alive}
        plan = {folder: self._trial(candidate, epochs) for folder, candidate in by_folder.items()}
        reached: list[Trial] = []
        programs = groups(plan, self._members)
        for number, group in enumerate(programs):
            done = [folder for folder, config in group.items() if self._is_done(folder, config)]
            seconds = (deadline - self._spent()) / (len(programs) - number)
            is_closed = rung < self._state.closed and (reached or done)
            most = 0 if is_closed else self._fitting(seconds, epochs, at_least=0 if done else 1)
            left = [folder for folder in group if folder not in done][:most]
            if left:
                self._train({folder: group[folder] for folder in left}, epochs)
            trials = [
                Trial(by_folder[folder], epochs, self._right(folder)) for folder in group if folder in (*done, *left)
            ]
            for trial in trials:
                quiet.say(self._line(trial))
            reached += trials
        if len(reached) < len(alive):
            quiet.say(f"config.auto: {_candidates(len(alive) - len(reached))} left out for lack of time.")
        return reached

    def _line(self, trial: Trial) -> str:
        """Formats what is told of a trial when it ends."""
        score = None if trial.right is None else class_mean(trial.right, self._labels)
        said = "diverged" if score is None else f"{score.mean:.1f} ± {score.error:.1f} %"
        values = " ".join(f"{key}={value}" for key, value in trial.candidate.values.items() if key != "method")
        return f"  {trial.candidate.name}: {said} with {values}"

    def _fitting(self, seconds: float, epochs: int, at_least: int) -> int | None:
        """Gives how many trials fit into a time; None for all, as long as it is not known what one takes."""
        return max(at_least, int(seconds / (self._slowest * epochs))) if self._slowest else None

    def _train(self, left: dict[epath.Path, ml_collections.ConfigDict], epochs: int) -> None:
        began = self._spent()
        for number, each in enumerate(self._cuts):
            self._loaded.cut = each
            fold = {self._part(folder, number): config for folder, config in left.items()}
            todo = {folder: config for folder, config in fold.items() if not self._has_ended(folder)}
            with quiet.hushed():  # a thousand lines, which are in the log files of the trials
                ended = run_group(todo, "train", None, self._loaded) if todo else {}
            diverged = [folder.name for folder, result in ended.items() if isinstance(result, DivergedError)]
            self._state.diverged = sorted({*self._state.diverged, *diverged})
        self._slowest = max(self._slowest, (self._spent() - began) / (epochs * len(left)))
        self.write()

    def _spent(self) -> float:
        return time.monotonic() - self._began

    def _trial(self, candidate: Candidate, epochs: int) -> ml_collections.ConfigDict:
        """Gives the config of a trial: its images are those that `CutData` gives, with one view each."""
        config = candidate.apply(self._config)
        config.update(num_epochs=epochs, report=False, zero_shot=False, keep=1, checkpoint_every=10**9)
        config.tracker = "tensorboard"  # what is followed elsewhere is the last training
        config.tte.enabled = False
        return config

    def _folder(self, candidate: Candidate, epochs: int) -> epath.Path:
        return self._workdir / TRIALS / f"epochs={epochs}" / candidate.name

    def _part(self, folder: epath.Path, number: int) -> epath.Path:
        return folder if len(self._cuts) == 1 else folder.parent / f"{folder.name},fold={number}"

    def _is_done(self, folder: epath.Path, config: ml_collections.ConfigDict) -> bool:
        parts = [self._part(folder, number) for number in range(len(self._cuts))]
        for part in parts:
            if (part / "eval.json").is_file():
                refuse_others(part, check(config))
        return all(map(self._has_ended, parts))

    def _has_ended(self, part: epath.Path) -> bool:
        return (part / "eval.json").is_file() or part.name in self._state.diverged

    def _right(self, folder: epath.Path) -> np.ndarray | None:
        """Reads which held-out images a trial predicted right; None if it has diverged."""
        columns = []
        for number, each in enumerate(self._cuts):
            part = self._part(folder, number)
            if not (part / "eval.json").is_file():
                return None
            with (part / "predictions.npz").open("rb") as opened, np.load(opened) as rows:
                right = np.zeros(len(each.validation))
                right[rows["index"]] = 100.0 * (rows["prediction"] == rows["label"])
            columns.append(right)
        return np.concatenate(columns)

    def write(self, **more: Any) -> None:
        """Writes auto.json."""
        self._state.seconds = self._spent()
        self._workdir.mkdir(parents=True, exist_ok=True)
        write_json(self._workdir / FILE, {**self._state.model_dump(), "limit": self._seconds, **more})


def _candidates(count: int) -> str:
    return "1 candidate" if count == 1 else f"{count} candidates"
