"""Every command of docs/reproducing.md is one that the program takes."""

import itertools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from lift_jax import config as lift_config
from lift_jax import losses, sweep, tuners
from lift_jax.errors import UserError
from lift_jax.initialize import STARTS
from lift_jax.models.resnet import ResNet
from lift_jax.models.text import TextTransformer
from lift_jax.models.vit import VisionTransformer

PAGE = Path(__file__).parents[1] / "docs" / "reproducing.md"
FLAGS = {"--config", "--workdir", "--mode", "--checkpoint"}
VIT = VisionTransformer(patch_size=16, width=768, depth=12, num_heads=12, mlp_dim=3072)
RESNET = ResNet(layers=(3, 4, 6, 3), stem_width=64, width=1024, num_heads=32)
TEXT = TextTransformer(49408, 77, width=512, depth=12, num_heads=8, mlp_dim=2048)


def arguments() -> list[str]:
    rows = (line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("|"))
    return [code for row in rows for code in re.findall(r"`(--[^`]*)`", row.rsplit("|", 2)[1])]


def combinations(line: str) -> Iterator[dict]:
    """The settings of every run that a line starts; of a key that is wrong a UserError."""
    fixed, grid = [], {}
    words = iter(shlex.split(line))
    for word in words:
        if word in FLAGS:
            next(words)
        elif word.startswith("--config.sweep="):
            grid = sweep.parse(word.removeprefix("--config.sweep="))
        else:
            assert word.startswith("--config."), word
            fixed.append(word.removeprefix("--config."))
    settings = {key: value for word in fixed for key, (value,) in sweep.parse(word.replace(" ", "\0")).items()}
    for values in itertools.product(*grid.values()):
        yield settings | dict(zip(grid, values, strict=True))


def check(settings: dict) -> None:
    config = lift_config.default()
    for key, value in settings.items():
        config.update_from_flattened_dict({key: value})
    config = lift_config.resolve(config)
    resnet = "RN" in config.backbone
    with_text = "vit_base_patch16_224" not in config.backbone
    tuners.build(config.method, config.tuner, RESNET if resnet else VIT, 1000, TEXT if with_text else None)
    losses.make(config.loss, np.arange(1, 6), tau=config.tau, scale=config.head_scale)
    assert config.head_init in STARTS or config.head_init.endswith("_shot")
    assert with_text or config.head_init != "text"


@pytest.mark.parametrize("line", arguments())
def test_command(line):
    for settings in combinations(line):
        check(settings)


def test_the_check_finds_mistakes():
    assert len(arguments()) > 50
    for wrong in (
        "--config.sweep='seeds=0,1'",
        "--config.learning_rate=0.1",
        "--config.method=lyft",
        "--config.tte.mode=six",
    ):
        with pytest.raises(UserError):
            for settings in combinations(wrong):
                check(settings)
