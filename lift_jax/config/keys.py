"""What is known of every key of the config: its range, and whether it may change in a workdir that has been used."""

import dataclasses
import difflib
import math
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from lift_jax.errors import UserError

Kind = Literal["free", "evaluation", "extendable", "fixed"]
"""When a key may differ from that of the run in a workdir.

free: at any time, because no result depends on it, or because what it names is checked by its content.
evaluation: with --mode eval, whose results are then written anew together.
extendable: it may grow, and the training goes on.
fixed: never, because the results would no longer be the run's.
"""

_SEED = 2**31 - 1

_ALSO_CALLED = {
    "learning_rate": "lr",
    "epochs": "num_epochs",
    "model": "backbone",
    "dataset": "data.name",
    "image_size": "resolution",
    "wd": "weight_decay",
}
"""What other programs call some keys."""


@dataclasses.dataclass(frozen=True)
class Key:
    """One key of the config.

    Attributes:
        kind: whether it may change in a used workdir.
        low, high: the smallest and the largest value of a number, both allowed; None for keys that are no numbers.
        choices: the values that there are; empty for keys with others.
        open_low, open_high: whether the bound itself is not allowed.
    """

    kind: Kind = "fixed"
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    open_low: bool = False
    open_high: bool = False

    def check(self, name: str, value: Any) -> None:
        """Refuses a value that is none of the choices, or outside of the range.

        Args:
            name: the key.
            value: its value; None is right where a key has no value yet.

        Raises:
            UserError: with the key, the value, and what it may be.
        """
        if value is None:
            return
        if self.choices and value not in self.choices:
            raise UserError(f"config.{name} is {value!r}; write one of {', '.join(self.choices)}.")
        if self.low is None or self.high is None:
            return
        above = self.low < value if self.open_low else self.low <= value
        below = value < self.high if self.open_high else value <= self.high
        if not (math.isfinite(value) and above and below):
            what = "a whole number" if isinstance(value, int) else "a number"
            low = f"above {self.low:,g}" if self.open_low else f"from {self.low:,g}"
            high = f"below {self.high:,g}" if self.open_high else f"{self.high:,.15g}"
            raise UserError(f"config.{name} is {value!r}; it is {what} {low} to {high}.")


def _whole(low: int, high: int, kind: Kind = "fixed") -> Key:
    return Key(kind, low, high)


_LR = Key(low=0, high=100)
_EPOCHS = Key("extendable", 1, 100_000)
_INTERPOLATION = Key(choices=("bilinear", "bicubic"))
_CROP = Key(choices=("random_resized", "square"))

KEYS: Mapping[str, Key] = {
    "method": Key(),
    "tuner.rules": Key(choices=("lift", "lift_plus")),
    "tuner.partial": Key(),
    "tuner.dim": _whole(0, 16_384),
    "tuner.scale": Key(low=-1000, high=1000),
    "tuner.vpt_len": _whole(0, 4096),
    "tuner.mask_ratio": Key(low=0, high=1),
    "tuner.mask_seed": _whole(0, _SEED),
    "tuner.text_dim": _whole(0, 16_384),
    "tuner.text_vpt_len": _whole(0, 1024),
    "tuner.context_len": _whole(0, 1024),
    "head": Key(choices=("cosine", "linear", "l2_norm", "layer_norm")),
    "head_scale": Key(low=0, high=10_000, open_low=True),
    "head_init": Key(),
    "init_from": Key(),
    "head_alone": Key(),
    "prompt": Key(),
    "task": Key(choices=("multiclass", "multilabel")),
    "backbone": Key("free"),  # its weights are compared by their hash
    "backbone_activation": Key(),
    "resolution": _whole(0, 2048),
    "features_dir": Key("free"),  # features are looked up by the content of images and weights
    "features_dtype": Key(choices=("float32", "float16")),
    "cache_views": _whole(0, 1000),
    "data.name": Key(),
    "data.format": Key(),
    "data.root": Key("free"),  # the data may have moved; classes and counts are compared
    "data.train_list": Key(),
    "data.test_list": Key("evaluation"),
    "data.class_names": Key(),
    "data.corrections": Key(),
    "data.imbalance": _whole(0, 1_000_000),
    "data.cap": _whole(0, 1_000_000_000),
    "data.permute_classes": _whole(0, _SEED),
    "data.level": Key(),
    "data.val_fraction": Key(low=0, high=1, open_high=True),
    "data.label_column": Key(),
    "data.group_column": Key(),
    "data.sampler": Key(),
    "data.randaugment": _whole(0, 100),
    "data.randaugment_magnitude": _whole(0, 30),
    "data.fidelity": Key(),
    "data.test_fidelity": Key("evaluation"),
    "data.num_workers": _whole(0, 1024, "free"),
    "data.skip_bad_images": Key("evaluation"),
    "data.exif_rotate": Key(),
    "class_groups": Key("evaluation"),
    "validation": Key(),
    "patience": _whole(0, 10**6),
    "lr": _LR,
    "num_epochs": _EPOCHS,
    "interpolation": _INTERPOLATION,
    "crop": _CROP,
    "crop_schedule": Key(choices=("min", "linear", "convex", "concave", "max")),
    "batch_size": _whole(1, 65_536),
    "accumulate": _whole(0, 65_536, "free"),  # sums in another order
    "momentum": Key(low=0, high=1, open_high=True),
    "weight_decay": Key(low=0, high=100),
    "ema": Key(low=0, high=1, open_high=True),
    "schedule": Key(choices=("cosine_epoch", "cosine_step")),
    "loss": Key(),
    "tau": Key(low=0, high=100),
    "seed": _whole(0, _SEED),
    "dtype": Key("evaluation", choices=("auto", "float32", "bfloat16")),
    "frozen_dtype": Key(choices=("auto", "bfloat16", "fp8", "int8")),
    "matmul_precision": Key("free", choices=("auto", "default", "high", "highest")),  # rounds products otherwise
    "remat": Key("free", choices=("none", "minimal", "full")),
    **{
        f"recipes.{name}.{key}": dataclasses.replace(value, kind="free")  # lr, num_epochs and so on have their values
        for name in ("lift", "lift_plus")
        for key, value in (("lr", _LR), ("num_epochs", _EPOCHS), ("interpolation", _INTERPOLATION), ("crop", _CROP))
    },
    "zero_shot": Key("free"),
    "eval_batch_size": _whole(1, 16_384, "free"),
    "tuner_strength": Key("evaluation", 0, 1),
    "tte.enabled": Key("evaluation"),
    "tte.mode": Key("evaluation", choices=("fivecrop", "tencrop", "random")),
    "tte.expand": _whole(0, 1024, "evaluation"),
    "tte.views": _whole(1, 1000, "evaluation"),
    "log_every": _whole(1, 10**9, "free"),
    "tracker": Key("free"),
    "checkpoint_every": _whole(0, 10**9, "free"),
    "checkpoint_minutes": Key("free", 0, 10**6),
    "keep": _whole(1, 10**6, "free"),
    "fsdp": Key("free"),
    "report": Key("free"),
    "sweep": Key("free"),
    "auto": Key("free"),
    "auto_minutes": Key("free", 0, 10**6, open_low=True),
}
"""Every key of the config, by its whole name."""


def check(values: Mapping[str, Any]) -> None:
    """Refuses values that are outside of their keys' ranges.

    Args:
        values: by the whole names of their keys (see `lift_jax.config.flatten`).

    Raises:
        UserError: for the first one.
    """
    for name, value in values.items():
        if name in KEYS:
            KEYS[name].check(name, value)


def without_effect(names: Iterable[str]) -> set[str]:
    """Gives those keys on which no result depends."""
    return {name for name in names if KEYS[name].kind == "free"} - {"backbone", "data.root"}


def nearest_key(key: str, keys: Iterable[str]) -> str:
    """Finds the key, with its path, that is most like `key`: by the whole path, or by its last part alone."""
    keys, last = list(keys), key.rpartition(".")[2]
    if _ALSO_CALLED.get(last) in keys:
        return _ALSO_CALLED[last]
    leaves = {k.rpartition(".")[2]: k for k in keys}
    for cutoff in 0.6, 0.0:
        close = difflib.get_close_matches(key, keys, 1, cutoff)
        of_leaves = difflib.get_close_matches(last, leaves, 1, max(cutoff, 0.6))
        if close or of_leaves:
            return close[0] if close else leaves[of_leaves[0]]
    return keys[0]
