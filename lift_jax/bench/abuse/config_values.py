"""Keys and values of the config, as they come from the command line."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from absl import flags

from lift_jax import command_line, tuners, weights
from lift_jax import config as lift_config
from lift_jax import main as program  # its flags
from lift_jax.bench.abuse.cases import Case, Grammar, Setting
from lift_jax.classifier import network as networks
from lift_jax.data import load_run_data, prompts
from lift_jax.run import check

assert program.main  # imported for its flags


class Key(NamedTuple):
    """The values that a key takes and refuses.

    Attributes:
        valid: a value, other than the default where there is another.
        refused: texts that must be refused.
    """

    valid: Any
    refused: Sequence[str]


_NO_NUMBER = ("abc", "", "--", "1,5", "None?", "1" * 400 + "x", "\0", "½")
_WHOLE = (*_NO_NUMBER, "nan", "inf", "1.5", "-1", "-100000000000", "1" + "0" * 22)
_REAL = (*_NO_NUMBER, "nan", "inf", "-inf", "1e400", "-1", "-1e-3", "-1e300")
_BOOL = ("maybe", "2", "", "nan", "yes please", "\0")
_WORD = ("x", "?", "nan", "0.5", "\0", "\udcff", "a" * 5000, "none,", "../..", "%s", "{}")
_PATH = ("/nope", "nope/nope", "\0", "http://example.org/x", "foo://bar", "x" * 5000, "\udcff", "~nobody_here/x")
_PROMPT = ("", "{", "}", "{}{}", "{0}", "a photo", "{name}", "/nope.json", "{}|", "a {} and a {")
_METHOD = (*_WORD, "", "lora+", "+lora", "lift_", "lora lora", "LIFT?")

KEYS: dict[str, Key] = {
    "method": Key("lora", _METHOD),
    "head": Key("linear", _WORD),
    "head_scale": Key(20.0, (*_REAL, "0", "1e39")),
    "head_init": Key("class_mean", (*_WORD, "-1_shot", "0_shot")),
    "init_from": Key("", _PATH),
    "head_alone": Key(False, _BOOL),
    "prompt": Key("a bad photo of a {}.", _PROMPT),
    "backbone": Key(None, (*_PATH, "", "ViT-B/16?", "hf-hub:nobody/nothing", "https://huggingface.co/nobody/nothing")),
    "resolution": Key(64, (*_WHOLE, "100000", "33", "1000000000")),
    "class_groups": Key("thirds", (*_WORD, "thresholds:", "thresholds:20,100", "thresholds:1.5,1", "thirds,")),
    "validation": Key(
        "fraction:0.3", (*_PATH, "balanced:", "balanced:0", "balanced:1000000", "fraction:1", "fraction:nan")
    ),
    "patience": Key(0, (*_WHOLE, "3")),
    "lr": Key(0.02, (*_REAL, "1e30")),
    "num_epochs": Key(3, (*_WHOLE, "0")),
    "interpolation": Key("bicubic", _WORD),
    "crop": Key("square", _WORD),
    "crop_schedule": Key("linear", _WORD),
    "batch_size": Key(12, (*_WHOLE, "0", "1000000000000")),
    "accumulate": Key(2, (*_WHOLE, "1000000000")),
    "momentum": Key(0.8, (*_REAL, "1.5", "1e30")),
    "weight_decay": Key(0.001, (*_REAL, "1e38")),
    "ema": Key(0.9, (*_REAL, "1", "1.5")),
    "schedule": Key("cosine_step", _WORD),
    "loss": Key("CE", _WORD),
    "tau": Key(0.5, (*_REAL, "1e30")),
    "seed": Key(3, _WHOLE),
    "dtype": Key("bfloat16", _WORD),
    "frozen_dtype": Key("int8", _WORD),
    "remat": Key("minimal", _WORD),
    "recipes.lift.lr": Key(0.03, _REAL),
    "recipes.lift.num_epochs": Key(4, (*_WHOLE, "0")),
    "recipes.lift.crop": Key("square", _WORD),
    "recipes.lift.interpolation": Key("bicubic", _WORD),
    "eval_batch_size": Key(16, (*_WHOLE, "0", "100000000")),
    "tuner_strength": Key(0.5, (*_REAL, "1.5", "1e30")),
    "tte.enabled": Key(False, _BOOL),
    "tte.mode": Key("tencrop", _WORD),
    "tte.expand": Key(8, (*_WHOLE, "100000")),
    "tte.views": Key(4, (*_WHOLE, "0", "10000000")),
    "log_every": Key(3, (*_NO_NUMBER, "nan", "1.5", "-1", "0")),
    "checkpoint_every": Key(3, (*_NO_NUMBER, "nan", "1.5", "-1")),
    "checkpoint_minutes": Key(2.0, _REAL),
    "keep": Key(3, (*_NO_NUMBER, "nan", "1.5", "-1", "0")),
    "fsdp": Key(True, _BOOL),
    "report": Key(False, _BOOL),
    "tuner.dim": Key(2, (*_WHOLE, "1000000", "1000000000")),
    "tuner.scale": Key(0.1, (*_NO_NUMBER, "nan", "inf", "-inf", "1e400")),
    "tuner.vpt_len": Key(3, (*_WHOLE, "1000000")),
    "tuner.mask_ratio": Key(0.1, (*_REAL, "1.5", "1e30")),
    "tuner.mask_seed": Key(3, _WHOLE),
    "tuner.partial": Key("2", ("x", "1:2:3", "3:1", "-1", "9", "0:99", "1.5", "\0", "nan")),
    "tuner.text_dim": Key(2, (*_WHOLE, "1000000")),
    "tuner.text_vpt_len": Key(2, (*_WHOLE, "1000000")),
    "tuner.context_len": Key(2, (*_WHOLE, "1000000")),
    "tuner.rules": Key("lift_plus", _WORD),
    "data.format": Key("folder", _WORD),
    "data.root": Key(None, (*_PATH, "")),
    "data.train_list": Key("", _PATH),
    "data.test_list": Key("", _PATH),
    "data.class_names": Key("", _PATH),
    "data.corrections": Key("", _PATH),
    "data.imbalance": Key(2, (*_WHOLE, "1.01")),
    "data.cap": Key(2, _WHOLE),
    "data.val_fraction": Key(0.4, (*_REAL, "1", "1.5", "0")),
    "data.sampler": Key("balanced", _WORD),
    "data.randaugment": Key(2, (*_WHOLE, "1000000")),
    "data.randaugment_magnitude": Key(5, (*_WHOLE, "31", "1000000")),
    "data.fidelity": Key("exact", _WORD),
    "data.test_fidelity": Key("close", _WORD),
    "data.num_workers": Key(1, (*_WHOLE, "1000000")),
    "data.skip_bad_images": Key(True, _BOOL),
    "data.exif_rotate": Key(True, _BOOL),
}
"""Of the keys whose every value can be judged."""

_TOGETHER = {
    "accumulate": "batch_size=8",
    "tuner.scale": "method=adaptformer",
    "tuner.dim": "method=lora",
    "tuner.partial": "method=lora",
    "tuner.vpt_len": "method=vpt_deep",
    "tuner.mask_ratio": "method=mask",
    "tuner.mask_seed": "method=mask",
    "tuner.text_dim": "method=text_lora",
    "tuner.text_vpt_len": "method=text_vpt_deep",
    "tuner.context_len": "method=coop",
    "tte.views": "tte.mode=random",
}
"""What must be set as well for a key to have an effect."""

_CHEAP = ("eval_batch_size=8", "tte.expand=4")


def parse(*words: str) -> list[str]:
    """Parses a command line as if it were the process's own, where the flags of the config look."""
    sys.argv = ["lift_jax", *words]
    return command_line.parse(sys.argv)


def prepared(key: str, arguments: Sequence[str]) -> Any:
    """Does what a run does with its config before it trains, and gives the value that a key has then."""
    parse("--config", "configs/folder.py", *arguments)
    config = check(flags.FLAGS.config)
    data = load_run_data(config)
    backbone = weights.load(config.backbone, config.resolution or None)
    method = tuners.resolve(config.method, config.tuner)
    networks.build(config, method, backbone, data.train.class_names)
    prompts.build(data.train.class_names, config.prompt)
    data.train_loader(backbone.resolution)
    for mode in ("plain", *((config.tte.mode,) if config.tte.enabled else ())):
        data.test_loader(backbone.resolution, mode)
    return lift_config.flatten(config)[key]


def _arguments(setting: Setting, key: str, text: str) -> list[str]:
    own = {"data.root": str(setting.photos), "backbone": str(setting.backbone), "data.val_fraction": "0.2"}
    pairs = [f"{name}={value}" for name, value in own.items() if name != key]
    pairs += [*_CHEAP, *([_TOGETHER[key]] if key in _TOGETHER else []), f"{key}={text}"]
    return [f"--config.{pair}" for pair in pairs]


def _valid(setting: Setting, key: str) -> Case:
    value = KEYS[key].valid
    if value is None:
        value = str({"backbone": setting.backbone, "data.root": setting.photos}[key])
    arguments = _arguments(setting, key, str(value))
    return Case(f"config.{key}={value!r}", lambda place: prepared(key, arguments), (value,))


def a_value(random: Random, setting: Setting) -> Case:
    """Gives a key a value that it does not take."""
    key = random.choice(list(KEYS))
    text = random.choice(KEYS[key].refused)
    arguments = _arguments(setting, key, text)
    # Where a path or a name is wrong, the sentence may say it instead of the key.
    names = (f"config.{key}", text) if len(text) > 2 and "\0" not in text and text.isascii() else (f"config.{key}",)
    names = names if text in (*_PATH, *KEYS["backbone"].refused) else names[:1]
    return Case(
        f"config.{key}={text[:60]!r}", lambda place: prepared(key, arguments), (), names, (), _valid(setting, key)
    )


def a_key(random: Random, setting: Setting) -> Case:
    """Misspells a key by a slip of the keyboard."""
    key = random.choice([key for key in KEYS if "." not in key and KEYS[key].valid not in (None, "")])
    at = random.randrange(1, len(key))
    slips: list[Callable[[], str]] = [
        lambda: key[:at] + key[at + 1 :],
        lambda: key[:at] + random.choice("abcxyz_") + key[at:],
        lambda: f"data.{key}",
        lambda: f"{key}.{key}",
        lambda: key.upper(),
        lambda: f"optimizer.{key}",
    ]
    wrong = random.choice(slips)()
    if wrong in KEYS or not wrong:
        wrong = f"{key}{key}"
    arguments = [*_arguments(setting, "", "")[:-1], f"--config.{wrong}={KEYS[key].valid}"]
    return Case(f"config.{wrong}", lambda place: prepared(key, arguments), (), (wrong,), (), _valid(setting, key))


def a_prompt_that_breaks(random: Random, setting: Setting) -> Case:
    """Puts braces into a template of prompts, or takes them out, at random."""
    text = list("a photo of a {}.")
    for _ in range(random.randrange(1, 4)):
        text.insert(random.randrange(len(text)), random.choice("{{}}"))
    template = "".join(text)
    arguments = _arguments(setting, "prompt", template)
    # What is left may be a good template by chance; then it is taken as it is.
    right = (template,) if template.count("{") == template.count("{}") == 1 else ()
    say = f"config.prompt={template!r}"
    return Case(
        say, lambda place: prepared("prompt", arguments), right, ("config.prompt",), (), _valid(setting, "prompt")
    )


def a_config_file(random: Random, setting: Setting) -> Case:
    """Gives something else for a config file."""
    body = random.choice([
        b"", b"def get_config(:\n", b"config = 1\n", b"def get_config():\n    return 5\n", b"\xff\xfe\0", b"\0",
        b"def get_config():\n    raise ValueError('no')\n", b"import nothing_of_this_name\n", b"[" * 100000,
        b"from lift_jax import config as c\ndef get_config():\n    d = c.default()\n    d.lr = 'x'\n    return d\n",
        b"from lift_jax import config as c\ndef get_config():\n    d = c.default()\n    d.lrr = 1\n    return d\n",
        b"from lift_jax import config as c\ndef get_config():\n    d = c.default()\n    d.tau = [1]\n    return d\n",
    ])  # fmt: skip

    def attempt(place: Path) -> Any:
        (place / "spoilt_config.py").write_bytes(body)
        parse("--config", str(place / "spoilt_config.py"))
        return check(flags.FLAGS.config).seed

    def twin(place: Path) -> Any:
        good = (
            "from lift_jax import config as c\ndef get_config():\n    d = c.default()\n    d.seed = 7\n    return d\n"
        )
        (place / "good_config.py").write_text(good)
        parse("--config", str(place / "good_config.py"))
        return check(flags.FLAGS.config).seed

    valid = Case("a config file", twin, (7,))
    return Case(f"a config file of {body[:60]!r}", attempt, (), ("spoilt_config.py", "lrr"), (), valid)


GRAMMAR = Grammar(
    "config_values", (a_value, a_value, a_key, a_value, a_value, a_prompt_that_breaks, a_value, a_config_file)
)
