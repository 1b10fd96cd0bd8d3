"""Whether runs have in common what their average needs: what their parameters mean, and the images that judge it."""

from collections.abc import Sequence
from typing import Any

import ml_collections

from lift_jax import tuners
from lift_jax.data import RunData, validation
from lift_jax.errors import UserError
from lift_jax.run.source import Source
from lift_jax.training import losses

_NOT_OF_IMAGES = (
    "cap", "exif_rotate", "fidelity", "num_workers", "randaugment", "randaugment_magnitude", "sampler",
    "skip_bad_images", "test_fidelity",
)  # fmt: skip
"""The keys of config.data that do not choose which images are held out."""


def check_alike(sources: Sequence[Source]) -> None:
    """Refuses runs whose parameters mean different things.

    Raises:
        UserError: if there are fewer than two, one is named twice, they have a tuner without an effect, or one differs
            from the first.
    """
    if len(sources) < 2:
        raise UserError("A soup is the average of several runs, but one folder is named; name two at least.")
    folders = [each.folder.resolve() for each in sources]
    for each, folder in zip(sources, folders, strict=True):
        if folders.count(folder) > 1:
            raise UserError(f"{each.folder} is named twice, and would count twice as much; name each run once.")
    first = sources[0]
    method = tuners.resolve(first.config.method, first.config.tuner)
    if name := tuners.without_effect(method):
        raise UserError(
            f"{first.folder} has the method {method.name}, whose {name} puts learnt tokens beside the network's own; "
            "these have no effect that could be averaged, so name runs of another method."
        )
    for other in sources[1:]:
        remedy = f"a soup is made of runs that agree in that with {first.folder}"
        other.check_same(first.identity, str(other.folder), remedy)
        for key in "resolution", "backbone_activation":
            if (there := other.config[key]) != (here := first.config[key]):
                raise UserError(
                    f"{other.folder} was made with another value of config.{key} ({there}, here {here}); {remedy}."
                )
        if _prior(other) != _prior(first):
            raise UserError(
                f"The logits of {other.folder}, of config.loss={other.config.loss}, have the {_prior(other)} prior in "
                f"them, and those of {first.folder}, of config.loss={first.config.loss}, the {_prior(first)} one; a "
                "soup is made of runs that agree in that."
            )


def _prior(given: Source) -> str:
    """Names the prior that the logits of a run take for granted."""
    return losses.spec(given.config.loss).prior(given.config.tau).known


def check_test_images(sources: Sequence[Source], data: Sequence[RunData]) -> None:
    """Refuses runs of which one may have been trained on test images of another.

    Args:
        sources: the runs.
        data: the images of each one.

    Raises:
        UserError: for the first run whose test images are others than those of the first.
    """

    def images(run_data: RunData) -> tuple[list[str], bytes]:
        test = run_data.test
        return [test.path(index) for index in range(len(test))], test.labels.tobytes()

    for other, its_data in zip(sources[1:], data[1:], strict=True):
        if its_data is not data[0] and images(its_data) != images(data[0]):
            raise UserError(
                f"The test images of {other.folder} are others than those of {sources[0].folder}, which may have been "
                "trained on them; name runs of one data set and, with config.data.val_fraction, of one config.seed."
            )


def same_held_out(sources: Sequence[Source]) -> bool:
    """Tells whether all runs have held out the same images."""
    first = sources[0].config
    return bool(first.validation) and not any(may_have_seen(each.config, first) for each in sources)


def may_have_seen(trained: ml_collections.FrozenConfigDict, config: ml_collections.FrozenConfigDict) -> bool:
    """Tells whether a run may have been trained on images that another config holds out."""

    def rule(config: ml_collections.FrozenConfigDict) -> tuple[Any, ...]:
        seed = config.seed if validation.is_drawn(config.validation) else None
        # A cap leaves out some of the images that are not held out.
        return config.validation, seed, {key: config.data[key] for key in config.data if key not in _NOT_OF_IMAGES}

    return bool(config.validation) and rule(trained) != rule(config)


def check_judged(sources: Sequence[Source]) -> None:
    """Refuses to choose among runs that have not held out the same images.

    Raises:
        UserError: with what to write.
    """
    if same_held_out(sources):
        return
    without = [each for each in sources if not each.config.validation]
    if without:
        raise UserError(
            f"--greedy chooses by held-out images, of which {without[0].folder} has none; train the runs with "
            "config.validation=balanced:5 or another rule, or leave --greedy out."
        )
    raise UserError(
        f"--greedy chooses by held-out images, but {sources[0].folder} and the others have held out different ones, "
        "which some of them were trained on; give all runs one config.validation and config.seed, or in "
        "config.validation a file that names the images."
    )
