"""calibration.json: how the answers of a run are calibrated, and what that has brought.

`python -m lift_jax.calibrate` writes the file into a run's folder (see `lift_jax.inference.calibrating`). It belongs to
the parameters that it was made with, and is refused with any others.
"""

from typing import Annotated, Any, Literal

import jax
import ml_collections
import numpy as np
import pydantic
from etils import epath
from jaxtyping import Int

from lift_jax.classifier.network import Network
from lift_jax.data.shown import shown
from lift_jax.errors import UserError
from lift_jax.files import write_json
from lift_jax.inference import conformal
from lift_jax.inference.adjustment import Adjustment
from lift_jax.inference.conformal import Thresholds
from lift_jax.inference.unknown_scores import Score
from lift_jax.models.partition import merge
from lift_jax.weights import Backbone
from lift_jax.weights.backbone import content_hash
from lift_jax.workdir import schema

FILE = "calibration.json"
REMEDY = (
    "calibrate again with python -m lift_jax.calibrate --workdir RUN, or leave the calibration out with --raw (in "
    "Python raw=True)"
)

Group = Annotated[int, pydantic.Field(ge=0, le=2)]
Probability = Annotated[float, pydantic.Field(ge=0, le=1)]
Energies = Annotated[list[list[float]], pydantic.Field(min_length=3, max_length=3)]
ByGroup = Annotated[list[list[Probability]], pydantic.Field(min_length=3, max_length=3)]


class Owner(pydantic.BaseModel):
    """What a calibration belongs to.

    Attributes:
        backbone_hash: the hash of the backbone's weights.
        trained_hash: the hash of what the run has trained; that of nothing for a zero-shot classifier.
        prompt: `config.prompt`, which the zero-shot classifier is made of.
        class_names: the names of the classes in label order.
    """

    model_config = schema.STRICT
    backbone_hash: str
    trained_hash: str
    prompt: str
    class_names: Annotated[list[str], pydantic.Field(min_length=1)]


class Estimated(pydantic.BaseModel):
    """An estimate and its standard error; null where there were too few images."""

    model_config = schema.STRICT
    mean: float | None
    error: Annotated[float, pydantic.Field(ge=0)] | None


class Tried(pydantic.BaseModel):
    """What was tried (see `lift_jax.inference.cross_fitting.Step`); the gains are for all classes, then by group."""

    model_config = schema.STRICT
    name: Literal["mix", "pretraining_prior", "gaussians", "tau", "temperatures"]
    tried: Adjustment
    gains: Annotated[list[Estimated], pydantic.Field(min_length=4, max_length=4)]
    kept: bool


class Measures(pydantic.BaseModel):
    """How good the answers are; means over classes, for all of them and for those of many, medium and few.

    Attributes:
        accuracy: the mean class accuracy in percent.
        likelihood: the negative log-likelihood in nats.
        calibration_error: the expected calibration error in percent.
        bins: of the reliability diagram of all classes: the weight of each bin of confidence, and the mean confidence
            and accuracy in it, from 0 to 1.
    """

    model_config = schema.STRICT
    accuracy: list[float | None]
    likelihood: list[float | None]
    calibration_error: list[float | None]
    bins: list[list[float]]


class HeldOut(pydantic.BaseModel):
    """The held-out images.

    Attributes:
        source: where they come from.
        counts: how many there are of each class.
        confidences: the calibrated probability of the class that each is taken for, by the group of that class.
        true_probabilities: the calibrated probability of its true class, by the group of that class.
        energies: the energy of each (see `lift_jax.inference.unknown_scores`), by the group of the class that it is
            taken for; None in files of older versions.
    """

    model_config = schema.STRICT
    source: str
    counts: list[Annotated[int, pydantic.Field(ge=0)]]
    confidences: ByGroup
    true_probabilities: ByGroup
    energies: Energies | None = None


class Calibration(pydantic.BaseModel):
    """A calibration of a run.

    Attributes:
        owner: what it belongs to.
        held_out: the images that it was chosen by.
        class_groups: the group of each class, as an index into `lift_jax.data.groups.GROUPS`.
        adjustment: what is done to the logits.
        shared: the groups whose temperature is that of all images, since few images are taken for them.
        steps: what was tried.
        before, after: how good the answers were without it, and with it on images that chose nothing.
        gaussians: the hash of the Gaussians that are mixed in (see `lift_jax.inference.gaussian_file`); None for none.
        separation: how well the scores tell images of unknown classes (see
            `lift_jax.inference.unknown_scores.separation`); None where it was not measured.
    """

    model_config = schema.STRICT
    format: Literal[1] = 1
    owner: Owner
    held_out: HeldOut
    class_groups: list[Group]
    adjustment: Adjustment
    shared: list[Group]
    steps: list[Tried]
    before: Measures
    after: Measures
    gaussians: Annotated[str, pydantic.Field(pattern="^[0-9a-f]{64}$")] | None = None
    separation: dict[Score, Probability] | None = None

    @pydantic.model_validator(mode="after")
    def _has_one_entry_for_each_class(self) -> "Calibration":
        names = len(self.owner.class_names)
        by_class = {
            "class_groups": self.class_groups,
            "held_out.counts": self.held_out.counts,
            "adjustment.pretraining_prior": self.adjustment.pretraining_prior,
        }
        for key, values in by_class.items():
            if values is not None and len(values) != names:
                raise ValueError(f"its {key} has {len(values)} entries for {names} class_names")
        return self

    @pydantic.model_validator(mode="after")
    def _names_the_gaussians_that_it_mixes_in(self) -> "Calibration":
        if self.adjustment.gaussians and self.gaussians is None:
            raise ValueError("its adjustment.gaussians is above 0, but it names no gaussians")
        return self

    @property
    def groups(self) -> Int[np.ndarray, " classes"]:
        """The group of each class."""
        return np.asarray(self.class_groups)

    @property
    def unknown_score(self) -> Score:
        """The score that tells unknown images better."""
        found = self.separation
        if found is None or self.held_out.energies is None or found.get("energy", 0) <= found.get("probability", 1):
            return "probability"
        return "energy"

    def unknown(self, share: float) -> Thresholds:
        """Gives the thresholds below which at most a share of images of the known classes is called unknown.

        They are those of the score that tells unknown images better.

        Raises:
            UserError: if the share is not between 0 and 1, or there were too few held-out images for it.
        """
        _check_share(share, "--unknown", "the share of known images that may be called unknown, such as 0.05")
        score = self.unknown_score
        scores = self.held_out.energies if score == "energy" else self.held_out.confidences
        assert scores is not None
        return conformal.thresholds(scores, self.groups, share, f"--unknown is {share}", score)

    def sets(self, coverage: float) -> Thresholds:
        """Gives the thresholds of sets of classes that hold the true one with a probability of at least `coverage`.

        Raises:
            UserError: if the coverage is not between 0 and 1, or there were too few held-out images for it.
        """
        _check_share(coverage, "--coverage", "the probability with which a set holds the true class, such as 0.9")
        probabilities = self.held_out.true_probabilities
        return conformal.thresholds(probabilities, self.groups, 1 - coverage, f"--coverage is {coverage}")


def _check_share(share: float, flag: str, meaning: str) -> None:
    if not 0 < share < 1:
        raise UserError(f"{flag} is {share}; write a number between 0 and 1: {meaning}.")


def owner(config: ml_collections.FrozenConfigDict, network: Network, backbone: Backbone) -> Owner:
    """Gives what a calibration of a network belongs to."""
    return owner_of(config, network, backbone.hash)


def owner_of(config: ml_collections.FrozenConfigDict, network: Network, backbone_hash: str) -> Owner:
    """Gives what a calibration of a network belongs to, by the hash of its backbone's weights."""
    # The parameters of a zero-shot head are computed, and to the last bit differently on another device.
    trained = {} if network.method.zero_shot else merge(*network.parts.trainable.values())
    return Owner(
        backbone_hash=backbone_hash,
        trained_hash=content_hash(jax.device_get(trained)),
        prompt=config.prompt,
        class_names=list(network.class_names),
    )


def write(folder: epath.PathLike, calibration: Calibration) -> epath.Path:
    """Writes a calibration into a run's folder, and returns its file."""
    file = epath.Path(folder) / FILE
    write_json(file, calibration.model_dump(mode="json"))
    return file


def parse(content: Any, file: epath.PathLike, own: Owner) -> Calibration:
    """Checks what was read from a file.

    Args:
        content: what JSON of the file says.
        file: the file, for messages.
        own: what a calibration must belong to.

    Raises:
        UserError: if it is no calibration, or that of something else.
    """
    found = schema.check(content, Calibration, file, REMEDY)
    for key, here in own.model_dump().items():
        there = getattr(found.owner, key)
        if there != here:
            raise UserError(
                f"{file} is a calibration of another run or checkpoint: its owner.{key} is {_difference(there, here)}; "
                f"{REMEDY}."
            )
    return found


def read(folder: epath.PathLike, own: Owner) -> Calibration:
    """Reads the calibration from a run's folder, where there must be one; for the errors see `parse`."""
    file = epath.Path(folder) / FILE
    return parse(schema.read_json(file, REMEDY), file, own)


def _difference(there: Any, here: Any) -> str:
    """Says what stands there and here, of lists where they first differ."""
    if isinstance(there, list) and len(there) == len(here):
        there, here = next(pair for pair in zip(there, here, strict=True) if pair[0] != pair[1])
    return f"{_short(there)}, here {_short(here)}"


def _short(value: Any) -> str:
    if isinstance(value, list):
        return f"{len(value):,} names"
    return f"'{shown(value)}'" if len(value) <= 60 else f"{value[:12]}…"
