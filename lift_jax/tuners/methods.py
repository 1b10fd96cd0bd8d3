"""The names of the methods, and which of them contradict one another."""

import difflib

from lift_jax.errors import UserError
from lift_jax.tuners.options import RULES, Options

TUNERS = (
    "full_tuning",
    "bias_tuning",
    "ln_tuning",
    "bn_tuning",
    "mask",
    "mask_attn",
    "mask_mlp",
    "lora",
    "lora_mlp",
    "ssf_attn",
    "ssf_mlp",
    "ssf_ln",
    "adapter",
    "adaptformer",
    "vpt_shallow",
    "vpt_deep",
)
"""In the order in which they act at a site that several share."""

METHODS: dict[str, tuple[str, ...]] = {
    "zero_shot": (),
    "head_only": (),
    "lift": ("adaptformer",),
    "lift_plus": ("adaptformer",),
    "ssf": ("ssf_attn", "ssf_mlp"),
    **{name: (name,) for name in TUNERS},
}
"""A method's tuners. `zero_shot` has no training at all; `head_only` trains the head. "lora+ln_tuning" has both."""

_WIDTH = {"lora", "lora_mlp", "adapter", "adaptformer"}
_PROMPT = {"vpt_shallow", "vpt_deep"}
_MASK = {"mask", "mask_attn", "mask_mlp"}
_SELECTIONS = {"bias_tuning", "ln_tuning", "bn_tuning"}
_RANGED = set(TUNERS) - _SELECTIONS - {"vpt_shallow"}
_OF_WEIGHTS = {*_MASK, "lora", "lora_mlp", "ssf_attn", "ssf_mlp", "ssf_ln"}


def tuners_of(method: str) -> tuple[str, ...]:
    """The tuners of a method, or of several joined by "+", in the order in which they act.

    Raises:
        UserError: if a name is not known, or a method without tuners is combined.
    """
    parts = [part.strip() for part in method.split("+")]
    for part in parts:
        if part not in METHODS:
            near = difflib.get_close_matches(part, METHODS, 1)
            hint = f"did you mean {near[0]}? " if near else ""
            where = f"config.method is {method!r}" + ("" if part == method else f", of which {part!r}")
            raise UserError(f"{where} is not known; {hint}The known ones: {', '.join(METHODS)}.")
        if not METHODS[part] and len(parts) > 1:
            raise UserError(f"config.method is {method!r}, but {part} has no tuners and stands alone; leave it out.")
    chosen = {name for part in parts for name in METHODS[part]}
    return tuple(name for name in TUNERS if name in chosen)


def check(method: str, names: tuple[str, ...], options: Options) -> None:
    """Refuses what contradicts itself.

    Args:
        method: as the user wrote it.
        names: its tuners.
        options: config.tuner.

    Raises:
        UserError: if tuners exclude one another, an option is out of its range, or belongs to none of the tuners.
    """
    chosen, said = set(names), f"config.method is {method!r}"
    if chosen >= _PROMPT:
        raise UserError(f"{said}, but VPT is either shallow or deep; keep one of vpt_shallow and vpt_deep.")
    if len(chosen & _MASK) > 1:
        raise UserError(f"{said}; of {', '.join(sorted(_MASK))} keep one (mask covers both attention and MLP).")
    if "full_tuning" in chosen:
        useless = chosen & _OF_WEIGHTS | (
            set() if options.partial else chosen & {"bias_tuning", "ln_tuning", "bn_tuning"}
        )
        if useless:
            raise UserError(
                f"{said}, but full_tuning trains the weights that {' and '.join(sorted(useless))} would change; "
                "keep one of them."
            )
    if options.rules not in RULES:
        raise UserError(f"config.tuner.rules is {options.rules!r}; write {' or '.join(RULES)}.")
    for key in "dim", "vpt_len", "mask_seed":
        if options[key] < 0:
            raise UserError(f"config.tuner.{key} is {options[key]}; it must not be negative.")
    if not 0 <= options.mask_ratio <= 1:
        raise UserError(f"config.tuner.mask_ratio is {options.mask_ratio}; it is a share, from 0 (by the rule) to 1.")
    needs = {
        "dim": _WIDTH,
        "scale": {"adaptformer"},
        "vpt_len": _PROMPT,
        "mask_ratio": _MASK,
        "mask_seed": _MASK,
        "partial": _RANGED,
    }
    for key, users in needs.items():
        if options[key] not in (None, 0, "") and not chosen & users:
            ordered = ", ".join(name for name in TUNERS if name in users)
            raise UserError(f"config.tuner.{key} is {options[key]}, but {said} does not use it; it is for {ordered}.")
