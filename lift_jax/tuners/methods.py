"""What `config.method` asks for: its names, which of them contradict one another, and the value it is resolved to."""

import dataclasses
import difflib

import ml_collections

from lift_jax.errors import UserError
from lift_jax.tuners.options import RULES, Options
from lift_jax.tuners.spec import TunerSpec
from lift_jax.tuners.specs import TUNERS

TEXT_PREFIX = "text_"
"""Before the name of a tuner that acts in the text tower's blocks."""

_ZERO_SHOT, _GDA, _HEAD_ONLY, _LIFT_PLUS = "zero_shot", "gda", "head_only", "lift_plus"
_IMAGE = {spec.name: spec for spec in TUNERS if {"vit", "resnet", "convnext"} & set(spec.acts_in)}
_SHARED = {spec.name: spec for spec in TUNERS if "shared" in spec.acts_in}
_TEXT = {TEXT_PREFIX + spec.name: spec for spec in TUNERS if "text" in spec.acts_in}
_ORDER = (*_IMAGE, *_SHARED, *_TEXT)

METHODS: dict[str, tuple[str, ...]] = {
    _ZERO_SHOT: (),
    _GDA: (),
    _HEAD_ONLY: (),
    "lift": ("adaptformer",),
    _LIFT_PLUS: ("adaptformer",),
    "ssf": ("ssf_attn", "ssf_mlp"),
    **{name: (name,) for name in _ORDER},
    "text_ssf": ("text_ssf_attn", "text_ssf_mlp"),
}
"""The tuners of each method. `zero_shot` has no training at all, `gda` a head in closed form; `head_only` trains it."""

_TEXT_OPTIONS = {"dim": "text_dim", "vpt_len": "text_vpt_len", "scale": "scale", "mask_seed": "mask_seed"}
"""What the options of a tuner are called that acts in the text tower; a mask's share follows the rule there."""


@dataclasses.dataclass(frozen=True)
class Method:
    """A method, resolved once; nothing else of the program looks at its name.

    Attributes:
        name: what the user wrote, such as "lora+ln_tuning".
        zero_shot: whether nothing is trained and the class names alone make the classifier.
        closed_form: whether the head is computed from training images (`lift_jax.training.gaussian`), without steps.
        image: the tuners of the image tower, in the order in which they act.
        shared: the tuners of CLIP's text side outside of the tower's blocks.
        text: the tuners of the text tower's blocks.
        plus: whether widths, starts and recipe are LIFT+'s.
        options: config.tuner, frozen.
    """

    name: str
    zero_shot: bool
    closed_form: bool
    image: tuple[TunerSpec, ...]
    shared: tuple[TunerSpec, ...]
    text: tuple[TunerSpec, ...]
    plus: bool
    options: Options

    @property
    def tunes_text(self) -> bool:
        """Whether CLIP's text side is tuned and takes the head's place."""
        return bool(self.shared or self.text)

    @property
    def recipe(self) -> str:
        """The key of `config.recipes` whose learning rate, epochs and crops the method takes."""
        return "lift_plus" if self.plus else "lift"

    @property
    def tuners(self) -> tuple[str, ...]:
        """The names of all its tuners, in the order in which they act."""
        return tuple(self.specs)

    @property
    def specs(self) -> dict[str, TunerSpec]:
        """What is known of each of its tuners, by their names, in the order in which they act."""
        others = {spec.name: spec for spec in (*self.image, *self.shared)}
        return others | {TEXT_PREFIX + spec.name: spec for spec in self.text}


def resolve(method: str, options: Options) -> Method:
    """Resolves a method's name, or several joined by "+".

    Args:
        method: `config.method`, such as "lift" or "lora+ln_tuning".
        options: `config.tuner`.

    Raises:
        UserError: if a name is not known, tuners exclude one another, or an option belongs to none of the tuners.
    """
    parts = [part.strip() for part in method.split("+")]
    _check_names(method, parts)
    chosen = {name for part in parts for name in METHODS[part]}
    image, shared, text = (
        tuple(spec for name, spec in table.items() if name in chosen) for table in (_IMAGE, _SHARED, _TEXT)
    )
    for specs in image, text:
        _check_together(f"config.method is {method!r}", specs)
    if options.rules not in RULES:
        raise UserError(f"config.tuner.rules is {options.rules!r}; write {' or '.join(RULES)}.")
    plus = options.rules == "lift_plus" or _LIFT_PLUS in parts
    frozen = ml_collections.FrozenConfigDict(options)  # equal methods have equal hashes
    resolved = Method(method, parts == [_ZERO_SHOT], parts == [_GDA], image, shared, text, plus, frozen)
    _check_options(resolved)
    return resolved


def _check_names(method: str, parts: list[str]) -> None:
    for part in parts:
        if part not in METHODS:
            near = difflib.get_close_matches(part, METHODS, 1)
            hint = f"did you mean {near[0]}? The" if near else "the"
            where = f"config.method={method!r}" if part == method else f"config.method is {method!r}, of which {part!r}"
            known = ", ".join(name for name in METHODS if not name.startswith(TEXT_PREFIX))
            raise UserError(
                f"{where} is not known; {hint} known ones: {known}; and text_ before those that act in a transformer's "
                "blocks, such as text_lora."
            )
        if not METHODS[part] and len(parts) > 1:
            raise UserError(f"config.method is {method!r}, but {part} has no tuners and stands alone; leave it out.")


def _check_together(said: str, specs: tuple[TunerSpec, ...]) -> None:
    """Refuses tuners of one tower that exclude one another."""
    families: dict[str, list[str]] = {}
    for spec in specs:
        if spec.family:
            families.setdefault(spec.family, []).append(spec.name)
    for names in families.values():
        if len(names) > 1:
            raise UserError(f"{said}, but {' and '.join(names)} exclude one another; keep one of them.")
    if "mask" in families and "full_tuning" in {spec.name for spec in specs}:
        raise UserError(f"{said}, but full_tuning trains the weights that a mask would keep frozen; keep one of them.")


def _check_options(method: Method) -> None:
    """Refuses an option of config.tuner that no tuner of the method reads."""
    options = method.options
    readers = _readers()
    for key, names in readers.items():
        if options[key] not in (None, 0, "") and not set(names) & set(method.tuners):
            raise UserError(
                f"config.tuner.{key} is {options[key]}, which config.method={method.name} does not use; it is for "
                f"{', '.join(names)}."
            )


def _readers() -> dict[str, list[str]]:
    """Returns the names of the tuners that read each option of config.tuner, in the order of the table."""
    readers: dict[str, list[str]] = {}
    for name in _ORDER:
        if name in _TEXT:
            keys = [_TEXT_OPTIONS[key] for key in _TEXT[name].options if key in _TEXT_OPTIONS]
        else:
            spec = _IMAGE.get(name) or _SHARED[name]
            keys = [*spec.options, *(["partial"] if name in _IMAGE and spec.blocks == "range" else [])]
        for key in keys:
            readers.setdefault(key, []).append(name)
    return readers
