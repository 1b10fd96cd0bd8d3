"""The tuning of CLIP's text side; LIFT+ (arXiv 2504.13282) has it as options."""

from lift_jax.models.partition import Path, Rule
from lift_jax.models.sites import BlockTuners
from lift_jax.models.text import TextTransformer
from lift_jax.models.text_head import TEXT
from lift_jax.tuners.methods import TEXT_PREFIX, Method
from lift_jax.tuners.sizes import sizes_in_text
from lift_jax.tuners.tuning import TextTuning


def tune_text(method: Method, tower: TextTransformer, num_classes: int) -> tuple[TextTuning, dict[str, Rule]]:
    """Gives the tuning of the text side, and which of its own parameters are trained.

    Args:
        method: a method that tunes the text side.
        tower: the text tower.
        num_classes: number of classes.
    """
    sizes, every = sizes_in_text(method, tower, num_classes), range(tower.depth)
    # VPT-shallow acts on the first block; the others on all, for config.tuner.partial is about the image tower.
    makers = {spec.name: spec.module for spec in method.text if spec.module is not None}
    first = {spec.name for spec in method.text if spec.blocks == "first"}

    def tuners(block: int) -> BlockTuners:
        here = {name: make for name, make in makers.items() if block == 0 or name not in first}
        return {f"{TEXT_PREFIX}{name}": make(sizes, block) for name, make in here.items()}

    selections: dict[str, Rule] = {
        f"{TEXT_PREFIX}{spec.name}": _of_tower(spec.selects(every)) for spec in method.text if spec.selects is not None
    }
    selections |= {spec.name: spec.selects(every) for spec in method.shared if spec.selects is not None}
    head = {spec.name: spec.module(sizes, 0) for spec in method.shared if spec.module is not None}
    context = sizes.context_length if "coop" in head else 0
    return TextTuning(tuners, head, context, bool(method.text or context)), selections


def _of_tower(rule: Rule) -> Rule:
    """Applies a rule about a tower's parameters to the whole paths of the text side."""

    def selects(path: Path) -> bool:
        return path[:2] == (TEXT, "tower") and rule(path[2:])

    return selects
