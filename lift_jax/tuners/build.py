"""From the name of a method to the tuners of each block and the rule of what is trained."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

from lift_jax.errors import UserError
from lift_jax.models.resnet import ResNet
from lift_jax.models.sites import BlockTuners, LinearName, Tuner, TunerMaker
from lift_jax.models.text import TextTransformer
from lift_jax.models.vit import VisionTransformer
from lift_jax.tuners import resnet, rules, selection
from lift_jax.tuners import text as text_side
from lift_jax.tuners.adapter import Adapter
from lift_jax.tuners.adaptformer import AdaptFormer
from lift_jax.tuners.bottleneck import kaiming_normal, kaiming_uniform
from lift_jax.tuners.lora import LoRA, MLPLoRA
from lift_jax.tuners.mask import LAYERS, Mask
from lift_jax.tuners.methods import TEXT_TUNERS, TUNERS, check, parts_of, tuners_of
from lift_jax.tuners.options import Options
from lift_jax.tuners.ssf import LinearSSF, NormSSF
from lift_jax.tuners.tuning import Tuning
from lift_jax.tuners.vpt import VPT, prompt_normal, prompt_uniform


def build(
    method: str,
    options: Options,
    vision: VisionTransformer | ResNet,
    num_classes: int,
    text: TextTransformer | None = None,
) -> Tuning:
    """The tuning of `method` for a network.

    Args:
        method: a key of `METHODS`, or several joined by "+".
        options: config.tuner (`tuner_defaults`).
        vision: the network.
        num_classes: of the task; the automatic widths depend on it.
        text: the text tower that belongs to it, if there is one.

    Raises:
        UserError: if a name is not known, the tuners contradict one another, or an option is out of its range.
    """
    check(method, options)
    names = tuners_of(method)
    on_text = tuple(name for name in names if name in TEXT_TUNERS)
    tuning = _of_vision(method, tuple(name for name in names if name in TUNERS), options, vision, num_classes)
    if not on_text:
        return tuning
    if text is None:
        raise UserError(
            f"config.method is {method!r}, but the backbone has no text tower for {', '.join(on_text)}; "
            "take a CLIP, or leave them out."
        )
    makers = _makers(text_side.tower_options(options), text, num_classes, range(text.depth), plus=True)
    own, selections = text_side.build(on_text, options, text, makers)
    return Tuning(tuning.tuners, {**tuning.selections, **selections}, own)


def _of_vision(
    method: str, names: tuple[str, ...], options: Options, vision: VisionTransformer | ResNet, num_classes: int
) -> Tuning:
    if isinstance(vision, ResNet):
        return resnet.build(method, names, options)
    if "bn_tuning" in names:
        raise UserError(
            f"config.method is {method!r}, but the backbone is a transformer, which has no batch "
            "normalisation; write ln_tuning."
        )
    blocks = selection.blocks(options.partial, vision.depth)
    plus = options.rules == "lift_plus" or "lift_plus" in parts_of(method)
    widths = {key: options[key] for key in ("dim", "vpt_len", "scale", "mask_ratio", "mask_seed")}
    makers = _makers(widths, vision, num_classes, blocks, plus)

    def tuners(block: int) -> BlockTuners:
        here = {name for name in names if (block == 0 if name == "vpt_shallow" else block in blocks)}
        return {name: make(block) for name, make in makers.items() if name in here}

    selections = {name: make(blocks) for name, make in selection.SELECTIONS.items() if name in names}
    return Tuning(tuners, selections)


def _makers(
    options: Mapping[str, Any],
    network: VisionTransformer | TextTransformer,
    num_classes: int,
    blocks: range,
    plus: bool,
) -> dict[str, Callable[[int], TunerMaker]]:
    """For every tuner what makes it for a given block, in the order in which they act at a site that they share.

    The mask changes the weight; LoRA adds to the output; SSF scales the sum. Adapter changes the MLP's output, and
    AdaptFormer adds to that.
    """
    tuned = len(blocks)
    if plus:
        dim, rank = rules.bottleneck_dim(num_classes, tuned), rules.lora_rank_plus(num_classes, tuned)
        length, ratio = rules.prompt_length_plus(num_classes, tuned), rules.mask_ratio_plus
        down, prompt = kaiming_uniform, prompt_normal
    else:
        dim = rank = rules.bottleneck_dim(num_classes, network.depth)
        length, ratio = rules.PROMPT_LENGTH, lambda *_: rules.mask_ratio(num_classes, network.depth, network.width)
        down, prompt = kaiming_normal, prompt_uniform(network.patch_size, network.width)
    dim, rank, length = options["dim"] or dim, options["dim"] or rank, options["vpt_len"] or length

    def mask(layers: tuple[LinearName, ...], parts: rules.Parts) -> Callable[[int], TunerMaker]:
        share = options["mask_ratio"] or ratio(num_classes, tuned, network.width, parts)
        return lambda block: functools.partial(Mask, block, share, options["mask_seed"], layers, apart=plus)

    def same(tuner: type[Tuner], *arguments: Any) -> Callable[[int], TunerMaker]:
        return lambda block: functools.partial(tuner, *arguments)

    vpt = same(VPT, length, prompt, plus)
    return {
        "mask": mask(LAYERS, "all"),
        "mask_attn": mask(("attn_in", "attn_out"), "attn"),
        "mask_mlp": mask(("mlp_in", "mlp_out"), "mlp"),
        "lora": same(LoRA, rank),
        "lora_mlp": same(MLPLoRA, rank),
        "ssf_attn": same(LinearSSF, ("attn_in", "attn_out")),
        "ssf_mlp": same(LinearSSF, ("mlp_in", "mlp_out")),
        "ssf_ln": same(NormSSF),
        "adapter": same(Adapter, dim, down),
        "adaptformer": same(AdaptFormer, dim, options["scale"], down),
        "vpt_shallow": vpt,
        "vpt_deep": vpt,
    }
