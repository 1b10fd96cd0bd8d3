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

TEXT_PREFIX = "text_"
"""Before the name of a tuner that acts in the text tower."""

TEXT_TUNERS = ("projection_tuning", "clip_adapter", "coop", *(TEXT_PREFIX + n for n in TUNERS if n != "bn_tuning"))
"""Those that act on CLIP's text side, which then takes the head's place."""

METHODS: dict[str, tuple[str, ...]] = {
    "zero_shot": (),
    "head_only": (),
    "lift": ("adaptformer",),
    "lift_plus": ("adaptformer",),
    "ssf": ("ssf_attn", "ssf_mlp"),
    **{name: (name,) for name in (*TUNERS, *TEXT_TUNERS)},
    "text_ssf": ("text_ssf_attn", "text_ssf_mlp"),
}
"""A method's tuners. `zero_shot` has no training at all; `head_only` trains the head. "lora+ln_tuning" has both."""

_WIDTH = {"lora", "lora_mlp", "adapter", "adaptformer"}
_PROMPT = {"vpt_shallow", "vpt_deep"}
_MASK = {"mask", "mask_attn", "mask_mlp"}
_SELECTIONS = {"bias_tuning", "ln_tuning", "bn_tuning"}
_RANGED = set(TUNERS) - _SELECTIONS - {"vpt_shallow"}


def tuners_of(method: str) -> tuple[str, ...]:
    """The tuners of a method, or of several joined by "+", in the order in which they act.

    Raises:
        UserError: if a name is not known, or a method without tuners is combined.
    """
    parts = parts_of(method)
    for part in parts:
        if part not in METHODS:
            near = difflib.get_close_matches(part, METHODS, 1)
            hint = f"did you mean {near[0]}? The" if near else "the"
            where = f"config.method={method!r}" if part == method else f"config.method is {method!r}, of which {part!r}"
            raise UserError(f"{where} is not known; {hint} known ones: {_known()}.")
        if not METHODS[part] and len(parts) > 1:
            raise UserError(f"config.method is {method!r}, but {part} has no tuners and stands alone; leave it out.")
    chosen = {name for part in parts for name in METHODS[part]}
    return tuple(name for name in (*TUNERS, *TEXT_TUNERS) if name in chosen)


def parts_of(method: str) -> list[str]:
    """The methods that `method` joins by "+"."""
    return [part.strip() for part in method.split("+")]


def tunes_text(method: str) -> bool:
    """Whether the text side takes the head's place.

    Raises:
        UserError: as `tuners_of` does.
    """
    return any(name in TEXT_TUNERS for name in tuners_of(method))


def _known() -> str:
    own = [name for name in METHODS if not name.startswith(TEXT_PREFIX)]
    return f"{', '.join(own)}; and text_ before those that act in a transformer's blocks, such as text_lora"


def check(method: str, options: Options) -> None:
    """Refuses what contradicts itself, whatever the network.

    Args:
        method: as the user wrote it.
        options: config.tuner.

    Raises:
        UserError: if a name is not known, tuners exclude one another, or an option is out of its range or belongs to
            none of the tuners.
    """
    names = tuners_of(method)
    chosen, said = set(names), f"config.method is {method!r}"
    _check_together(said, chosen)
    in_text = {name.removeprefix(TEXT_PREFIX) for name in names if name.startswith(TEXT_PREFIX)}
    _check_together(said, in_text)
    if options.rules not in RULES:
        raise UserError(f"config.tuner.rules is {options.rules!r}; write {' or '.join(RULES)}.")
    for key in "dim", "vpt_len", "mask_seed", "text_dim", "text_vpt_len", "context_len":
        if options[key] < 0:
            raise UserError(f"config.tuner.{key} is {options[key]}; it must not be negative.")
    if not 0 <= options.mask_ratio <= 1:
        raise UserError(f"config.tuner.mask_ratio is {options.mask_ratio}; it is a share, from 0 (by the rule) to 1.")
    needs = {
        "dim": _WIDTH,
        "scale": {"adaptformer", "text_adaptformer"},
        "vpt_len": _PROMPT,
        "mask_ratio": _MASK,
        "mask_seed": _MASK | _in_text(_MASK),
        "partial": _RANGED,
        "text_dim": {"clip_adapter"} | _in_text(_WIDTH),
        "text_vpt_len": _in_text(_PROMPT),
        "context_len": {"coop"},
    }
    for key, users in needs.items():
        if options[key] not in (None, 0, "") and not chosen & users:
            ordered = ", ".join(name for name in (*TUNERS, *TEXT_TUNERS) if name in users)
            raise UserError(
                f"config.tuner.{key} is {options[key]}, which config.method={method} does not use; it is for {ordered}."
            )


def _in_text(names: set[str]) -> set[str]:
    return {TEXT_PREFIX + name for name in names}


def _check_together(said: str, chosen: set[str]) -> None:
    """Refuses tuners of one tower that exclude one another."""
    if chosen >= _PROMPT:
        raise UserError(f"{said}, but VPT is either shallow or deep; keep one of vpt_shallow and vpt_deep.")
    if len(chosen & _MASK) > 1:
        raise UserError(f"{said}; of {', '.join(sorted(_MASK))} keep one (mask covers both attention and MLP).")
    if "full_tuning" in chosen and chosen & _MASK:
        raise UserError(f"{said}, but full_tuning trains the weights that a mask would keep frozen; keep one of them.")
