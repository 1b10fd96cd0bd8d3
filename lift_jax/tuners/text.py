"""The methods that tune CLIP's text side; LIFT+ (arXiv 2504.13282) has them as options."""

import functools
from collections.abc import Callable, Mapping

from lift_jax.models.sites import BlockTuners, TextTuner, TunerMaker
from lift_jax.models.text import TextTransformer
from lift_jax.models.text_head import TEXT
from lift_jax.state import Path, Rule
from lift_jax.tuners import selection
from lift_jax.tuners.clip_adapter import CLIPAdapter
from lift_jax.tuners.coop import CoOp
from lift_jax.tuners.methods import TEXT_PREFIX
from lift_jax.tuners.options import Options
from lift_jax.tuners.tuning import TextTuning

# LIFT+'s widths do not depend on the number of classes here.
DIM = 4
PROMPT_LENGTH = 2
CONTEXT_LENGTH = 4


def projections(path: Path) -> bool:
    """Both projections into the shared space."""
    return path[0] == TEXT and path[1] in ("visual_projection", "text_projection", "text_projection_bias")


def tower_options(options: Options) -> dict[str, object]:
    """The options of the tower's tuners, under the names that those of the vision tower have."""
    return {
        "dim": options.text_dim or DIM,
        "vpt_len": options.text_vpt_len or PROMPT_LENGTH,
        "scale": options.scale,
        "mask_ratio": 0.0,
        "mask_seed": options.mask_seed,
    }


def build(
    names: tuple[str, ...], options: Options, tower: TextTransformer, makers: Mapping[str, Callable[[int], TunerMaker]]
) -> tuple[TextTuning, dict[str, Rule]]:
    """The tuning of the text side, and which of its own parameters are trained.

    Args:
        names: those of the method's tuners that are on the text side.
        options: config.tuner.
        tower: the text tower.
        makers: for every tuner of a transformer what makes it for a given block.
    """
    of_blocks = [name.removeprefix(TEXT_PREFIX) for name in names if name.startswith(TEXT_PREFIX)]

    def tuners(block: int) -> BlockTuners:
        here = {name for name in of_blocks if name != "vpt_shallow" or block == 0}
        return {f"{TEXT_PREFIX}{name}": make(block) for name, make in makers.items() if name in here}

    context = (options.context_len or CONTEXT_LENGTH) if "coop" in names else 0
    head: dict[str, Callable[..., TextTuner]] = {}
    if context:
        head["coop"] = functools.partial(CoOp, context)
    if "clip_adapter" in names:
        head["clip_adapter"] = functools.partial(CLIPAdapter, options.text_dim or DIM)
    selections = {
        f"{TEXT_PREFIX}{name}": _of_tower(make(range(tower.depth)))
        for name, make in selection.SELECTIONS.items()
        if name in of_blocks
    }
    if "projection_tuning" in names:
        selections["projection_tuning"] = projections
    return TextTuning(tuners, head, context, bool(of_blocks or context)), selections


def _of_tower(rule: Rule) -> Rule:
    return lambda path: path[:2] == (TEXT, "tower") and rule(path[2:])
