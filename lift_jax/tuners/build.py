"""From a method to the tuners of each block and the rule of what is trained."""

from typing import Any

from lift_jax.errors import UserError
from lift_jax.models.partition import Rule
from lift_jax.models.resnet import ResNet
from lift_jax.models.sites import BlockTuners, no_tuners
from lift_jax.models.text import TextTransformer
from lift_jax.models.towers import Tower
from lift_jax.models.vit import VisionTransformer
from lift_jax.tuners import convnext, selection
from lift_jax.tuners.methods import Method
from lift_jax.tuners.sizes import sizes_in_vit
from lift_jax.tuners.spec import Place, TunerSpec
from lift_jax.tuners.specs import TUNERS
from lift_jax.tuners.text import tune_text
from lift_jax.tuners.tuning import Tuning


def build(method: Method, vision: Tower, num_classes: int, text: TextTransformer | None = None) -> Tuning:
    """Gives what a method does to a network.

    Args:
        method: what `lift_jax.tuners.resolve` gives.
        vision: the image tower.
        num_classes: number of classes; the automatic widths depend on it.
        text: the text tower that belongs to it, if there is one.

    Raises:
        UserError: if a tuner is not for such a network, or the range of blocks does not fit it.
    """
    if isinstance(vision, VisionTransformer):
        tuning = _tune_vit(method, vision, num_classes)
    else:
        tuning = _tune_resnet(method) if isinstance(vision, ResNet) else _tune_convnext(method)
    if not method.tunes_text:
        return tuning
    if text is None:
        names = ", ".join(name for name in method.tuners if name not in {spec.name for spec in method.image})
        raise UserError(
            f"config.method is {method.name!r}, but the backbone has no text tower for {names}; "
            "take a CLIP, or leave them out."
        )
    text_tuning, selections = tune_text(method, text, num_classes)
    return Tuning(tuning.tuners, {**tuning.selections, **selections}, text_tuning)


def _tune_vit(method: Method, vision: VisionTransformer, num_classes: int) -> Tuning:
    if _not_for("vit", method):
        raise UserError(
            f"config.method is {method.name!r}, but the backbone is a transformer, which has no batch normalisation; "
            "write ln_tuning."
        )
    blocks = selection.blocks(method.options.partial, vision.depth)
    sizes = sizes_in_vit(method, vision, num_classes, len(blocks))
    where = {"range": blocks, "first": range(1), "all": range(vision.depth)}

    def tuners(block: int) -> BlockTuners:
        here = [spec for spec in method.image if block in where[spec.blocks]]
        return {spec.name: spec.module(sizes, block) for spec in here if spec.module is not None}

    selections: dict[str, Rule] = {
        spec.name: spec.selects(where[spec.blocks]) for spec in method.image if spec.selects is not None
    }
    has_modules = any(spec.module is not None for spec in method.image)
    return Tuning(tuners if has_modules else no_tuners, selections)


def _tune_resnet(method: Method) -> Tuning:
    _check_tuners("resnet", "ResNet", method)
    if partial := method.options.partial:
        raise UserError(f"config.tuner.partial is {partial}, but a ResNet is tuned as a whole; leave it empty.")
    # The attention pool, where the modules act, asks for no size.
    sizes: Any = None
    makers = {spec.name: spec.module for spec in method.image if spec.module is not None}
    selections = {spec.name: spec.selects_in_resnet for spec in method.image if spec.selects_in_resnet is not None}
    return Tuning(lambda block: {name: make(sizes, block) for name, make in makers.items()}, selections)


def _tune_convnext(method: Method) -> Tuning:
    _check_tuners("convnext", "ConvNeXt", method)
    tuned = selection.blocks(method.options.partial, convnext.STAGES, "stages")
    selections = {
        spec.name: spec.selects_in_convnext(tuned if spec.blocks == "range" else range(convnext.STAGES))
        for spec in method.image
        if spec.selects_in_convnext is not None
    }
    return Tuning(no_tuners, selections)


def _check_tuners(place: Place, what: str, method: Method) -> None:
    """Checks that all tuners of a method act in a kind of convolutional network.

    Raises:
        UserError: if one does not.
    """
    for spec in _not_for(place, method):
        known = ", ".join(other.name for other in TUNERS if place in other.acts_in)
        whose = "vision transformers" if "vit" in spec.acts_in else "ResNets"
        raise UserError(
            f"config.method is {method.name!r}, but {spec.name} is for {whose} and the backbone is a {what}; write one "
            f"of head_only, gda, zero_shot, {known}, or take another backbone."
        )


def _not_for(place: Place, method: Method) -> list[TunerSpec]:
    return [spec for spec in method.image if place not in spec.acts_in]
