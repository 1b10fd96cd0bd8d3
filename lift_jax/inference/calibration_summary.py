"""What a calibration has chosen and what that brings, in words."""

import numpy as np

from lift_jax.inference.calibration import Calibration, Estimated, Tried
from lift_jax.inference.cross_fitting import FOLDS, LEAST
from lift_jax.text import aligned

GROUP_NAMES = ("many", "medium", "few")

_NAMES = {
    "mix": "mix with zero-shot: accuracy",
    "pretraining_prior": "zero-shot without its prior: accuracy",
    "gaussians": "mix with Gaussians: accuracy",
    "tau": "strength of the prior: accuracy",
    "temperatures": "temperature: log-likelihood",
}
_NO_GAIN = "no gain beyond its standard error"
_NO_GAINS = {"mix": f"{_NO_GAIN} over the run or zero-shot alone"}


def describe(made: Calibration) -> str:
    """Writes what a calibration has chosen and what that brings."""
    header = ["", "value", "all classes", *GROUP_NAMES, ""]
    tried = [
        [_NAMES[step.name], _value(step), *(_gain(step.name, each) for each in step.gains), _verdict(step)]
        for step in made.steps
    ]
    measured = [["", "all classes", *GROUP_NAMES]]
    for name, values in ("before", made.before), ("after", made.after):
        measured.append([f"{name}: mean class accuracy, %", *(_shown(each, 1) for each in values.accuracy)])
        measured.append([f"{name}: calibration error, %", *(_shown(each, 1) for each in values.calibration_error)])
        measured.append([f"{name}: negative log-likelihood", *(_shown(each, 3) for each in values.likelihood)])
    return "\n\n".join(
        [_images(made), aligned([header, *tried]), aligned(measured), *_shared(made), *_separation(made)]
    )


def _images(made: Calibration) -> str:
    counts = made.held_out.counts
    return (
        f"Chosen by {sum(counts):,} images of {np.count_nonzero(counts):,} classes ({made.held_out.source}); gains are "
        f"those on {FOLDS} folds that chose nothing, and every class counts the same."
    )


def _shared(made: Calibration) -> list[str]:
    """Says for which groups there were too few images."""
    lines = []
    if scarce := [name for name, each in zip(GROUP_NAMES, made.after.accuracy[1:], strict=True) if each is None]:
        has_prior = any(step.name == "pretraining_prior" for step in made.steps)
        shares = ", and their classes have one share of the pre-training prior in common" if has_prior else ""
        lines.append(
            f"Fewer than {LEAST} images are of {' and '.join(scarce)}: what this does to them is not measured{shares}."
        )
    if made.shared:
        names = " and ".join(GROUP_NAMES[group] for group in made.shared)
        lines.append(f"There are fewer than {LEAST} images of {names}: the temperature there is that of all images.")
    return lines


def _separation(made: Calibration) -> list[str]:
    """Says what tells unknown images, and how well."""
    if made.separation is None:
        return []
    found = {name: f"{value:.3f}" for name, value in made.separation.items()}
    name = {"energy": "energy", "probability": "highest probability"}[made.unknown_score]
    return [
        f"Unknown images are told by the {name}: with classes left out of the known ones, the area under the ROC curve "
        f"is {found.get('energy', '-')} for the energy and {found.get('probability', '-')} for the probability."
    ]


def _value(step: Tried) -> str:
    if step.name == "temperatures":
        return "/".join(f"{each:.2f}" for each in step.tried.temperatures)
    if step.name == "pretraining_prior" and step.tried.pretraining_prior is None:
        return "none"
    if step.name in ("mix", "pretraining_prior"):
        return f"mix {step.tried.mix:g}" if step.tried.run else "zero-shot alone"
    return f"{getattr(step.tried, step.name):g}"


def _verdict(step: Tried) -> str:
    return "kept" if step.kept else _NO_GAINS.get(step.name, _NO_GAIN)


def _gain(name: str, gain: Estimated) -> str:
    if gain.mean is None or gain.error is None:
        return "-"
    digits = 3 if name == "temperatures" else 1
    return f"{gain.mean:+.{digits}f} ± {gain.error:.{digits}f}"


def _shown(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
