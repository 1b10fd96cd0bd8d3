"""Chooses hyperparameters by held-out training images within a time, and trains on all images with what was chosen.

`lift_jax.run.halving` trains the candidates, `lift_jax.run.candidates` draws and compares them.
"""

from collections.abc import Collection, Sequence
from typing import Any

import jax
import ml_collections
import numpy as np
from etils import epath

from lift_jax import tuners
from lift_jax.data import RunData, validation
from lift_jax.data.shown import some
from lift_jax.data.validation import HeldOut
from lift_jax.errors import UserError, quiet
from lift_jax.evaluation.estimates import table
from lift_jax.run import Loaded, Results, check, run
from lift_jax.run.candidates import Judged, candidates, choose, has_width
from lift_jax.run.halving import CutData, Search
from lift_jax.run.several import MEMBERS, programs_compiled_once
from lift_jax.tuners.rules import bottleneck_dim
from lift_jax.workdir.logs import Logs

FOLDS = 3
"""Folds of the cross-validation, where a class has fewer than `LEAST` images."""

LEAST = 3
_RULE = "fraction:0.33:20"
"""Where no class has fewer: a mean over classes is as uncertain as its smallest ones, and more than 20 images of others
would only be missed in the training."""


def run_automatic(
    config: ml_collections.ConfigDict, workdir: epath.PathLike, by_hand: Collection[str] = (), members: int = MEMBERS
) -> Results:
    """Chooses learning rate, tau, weight decay, start of the head, width, and whether a tuner is trained at all.

    The trials are runs in the folder `auto` of the workdir; a search that was stopped goes on from them. `auto.json`
    has what the table says.

    Args:
        config: what is searched around.
        workdir: of the last training, which is an ordinary run.
        by_hand: keys set on the command line, which keep their values.
        members: how many candidates that one program can hold train at once.

    Returns:
        What `lift_jax.run.run` gives of the last training.

    Raises:
        UserError: for any mistake in what the user gave, if no image can be held out, or if all candidates diverge.
    """
    resolved = check(config)
    _check(resolved)
    base = _without_search(resolved)
    loaded, workdir = CutData(), epath.Path(workdir)
    with Logs(None):  # prints what is said of the data; the trials have logs of their own
        whole = loaded.data(check(base))
        cuts, said = cut(resolved, whole)
    quiet.say(said)
    width = _width(resolved, loaded, whole.train.num_classes) if has_width(resolved) else 0
    drawn = candidates(check(base), width, set(by_hand))
    with programs_compiled_once():
        search = Search(check(base), workdir, loaded, cuts, 60 * resolved.auto_minutes, members)
        judged = search.judged(drawn)
        chosen = choose(judged)
        verdict = _verdict(judged, chosen)
        quiet.say(f"{_table(judged)}\n{verdict}")
        search.write(judged_by=said, chosen=_row(chosen), verdict=verdict, trials=[_row(each) for each in judged])
        loaded.cut = None
        last = chosen.trial.candidate.apply(check(base))
        last.num_epochs = chosen.trial.epochs
        return run(last, workdir, loaded=loaded)


def _check(config: ml_collections.FrozenConfigDict) -> None:
    if jax.process_count() > 1:
        raise UserError("config.auto runs in one process alone; choose there, and write what it chose into the config.")
    method = tuners.resolve(config.method, config.tuner)
    if method.zero_shot or method.tunes_text:
        raise UserError(
            f"config.auto chooses how a head is trained, and config.method={config.method} has none of its own; write "
            "config.method=lift, or leave config.auto out."
        )
    if config.patience:
        raise UserError(
            f"config.patience is {config.patience}, but the training at the end of config.auto is on all images, of "
            "which none are held out to judge it by; leave it out."
        )
    if config.init_from:
        raise UserError(
            f"config.auto chooses by images that it holds out, and {config.init_from} (config.init_from) may have been "
            "trained on them; leave one of the two out."
        )


def _without_search(config: ml_collections.FrozenConfigDict) -> ml_collections.ConfigDict:
    """Gives the config of the last training: on all images, without a search."""
    plain = ml_collections.ConfigDict(config.to_dict())
    plain.update(auto=False, sweep="", validation="", patience=0)
    return plain


def cut(config: ml_collections.FrozenConfigDict, whole: RunData) -> tuple[list[HeldOut], str]:
    """Divides the training images into those that candidates train on and those that judge them.

    Args:
        config: the resolved config, with `validation` as the user has it.
        whole: the run's images, of which nothing is held out.

    Returns:
        The ways in which images are held out, each of which every candidate is trained and judged by; and a sentence.

    Raises:
        UserError: if no class can spare an image.
    """
    train, counts, seed = whole.train, whole.train_counts, config.seed
    if config.validation:
        cuts = [validation.hold_out(config.validation, train, seed)]
        return cuts, cuts[0].sentence
    cuts = validation.cross(train, FOLDS, seed) if counts.min() < LEAST else []
    if not cuts and counts.min() < LEAST:
        raise UserError(
            "config.auto needs images that can be held out, but no class has a training image to spare; add images, or "
            "leave config.auto out."
        )
    if cuts:
        small = some([train.class_names[label] for label in np.flatnonzero(counts < LEAST)])
        return cuts, (
            f"config.auto judges by cross-validation over {len(cuts)} folds, because classes have fewer than {LEAST} "
            f"training images ({small}). A class with a single image is trained on, and judges nothing."
        )
    cuts = [validation.hold_out(_RULE, train, seed)]
    return cuts, f"config.auto judges by config.validation={_RULE}. {cuts[0].sentence}"


def _width(config: ml_collections.FrozenConfigDict, loaded: Loaded, num_classes: int) -> int:
    """Gives the width of the config's tuner, by the papers' rule if the config leaves it open; 0 if it is not known."""
    vision: Any = loaded.backbone(config).vision
    depth = getattr(vision, "depth", 0)
    return config.tuner.dim or (bottleneck_dim(num_classes, depth) if depth else 0)


def _row(each: Judged) -> dict[str, Any]:
    """Gives what auto.json says of a trial; accuracies are in percent."""
    score, behind = (pair._asdict() if pair else None for pair in (each.score, each.behind))
    trial = each.trial
    return {
        "name": trial.candidate.name,
        **trial.candidate.values,
        "num_epochs": trial.epochs,
        "mean_acc": score,
        "best_is_better_by": behind,
    }


def _table(judged: Sequence[Judged]) -> str:
    """Formats a line for each trial, the best one first."""
    keys = list(judged[0].trial.candidate.values)
    head = ["trial", *keys, "epochs", "within noise", "held-out mean class", "best is better by"]
    rows = []
    for each in judged:
        cells = [str(each.trial.candidate.values[key]) for key in keys]
        noise = "diverged" if each.score is None else "yes" if each.within_noise else "no"
        rows.append(([each.trial.candidate.name, *cells, str(each.trial.epochs), noise], [each.score, each.behind]))
    return table(head, rows)


def _verdict(judged: Sequence[Judged], chosen: Judged) -> str:
    """Says what is within noise of what, and what was chosen."""
    alike = sum(each.within_noise for each in judged)
    values = {**chosen.trial.candidate.values, "num_epochs": chosen.trial.epochs}
    flags = " ".join(f"--config.{key}={value}" for key, value in values.items())
    why = "It is the best."
    if chosen is not judged[0]:
        why = (
            "It is the cheapest of those within noise of the best, and of these the nearest to the config's own values."
        )
    are = "is" if alike == 1 else "are"
    return (
        f"{alike} of {len(judged)} trials {are} within noise of the best (one standard error of the difference, the "
        f"best one among them). Chosen: {flags}. {why} It is now trained on all images."
    )
