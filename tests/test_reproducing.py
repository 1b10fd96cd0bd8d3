"""Every command of docs/reproducing.md is one that the program takes."""

import itertools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import clip_config, random_params, write_tokenizer
from PIL import Image

from lift_jax import config as lift_config
from lift_jax import tuners
from lift_jax.config.grid import parse
from lift_jax.errors import UserError
from lift_jax.models.resnet import ResNet
from lift_jax.models.text import TextTransformer
from lift_jax.models.vit import VisionTransformer
from lift_jax.run import run
from lift_jax.training import losses
from lift_jax.training.head_start import STARTS
from lift_jax.weights import huggingface

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
            grid = parse(word.removeprefix("--config.sweep="))
        else:
            assert word.startswith("--config."), word
            fixed.append(word.removeprefix("--config."))
    settings = {key: value for word in fixed for key, (value,) in parse(word.replace(" ", "\0")).items()}
    for values in itertools.product(*grid.values()):
        yield settings | dict(zip(grid, values, strict=True))


def check(settings: dict) -> None:
    config = lift_config.default()
    for key, value in settings.items():
        config.update_from_flattened_dict({key: value})
    config = lift_config.resolve(config)
    resnet = "RN" in config.backbone
    with_text = "vit_base_patch16_224" not in config.backbone
    tuners.build(
        tuners.resolve(config.method, config.tuner), RESNET if resnet else VIT, 1000, TEXT if with_text else None
    )
    losses.make(config.loss, np.arange(1, 6), tau=config.tau, scale=config.head_scale)
    assert config.head_init in STARTS or config.head_init.endswith("_shot")
    assert with_text or config.head_init != "text"


@pytest.mark.parametrize("line", arguments())
def test_command(line):
    for settings in combinations(line):
        check(settings)


def test_lines_that_evaluate_a_run(tmp_path):
    """In small, each with the last value of what it sweeps."""
    tower = clip_config(num_hidden_layers=1)
    huggingface.save(tmp_path / "clip", tower, random_params(tower))
    write_tokenizer(tmp_path / "clip" / "tokenizer.json")
    generator = np.random.default_rng(0)
    for place, count in itertools.product(("train/cat", "train/dog", "test/cat", "test/dog"), range(4)):
        if place.startswith("train") or count < 2:
            (tmp_path / "images" / place).mkdir(parents=True, exist_ok=True)
            image = Image.fromarray(generator.integers(0, 256, (20, 30, 3), np.uint8))
            image.save(tmp_path / "images" / place / f"{count}.png")

    def small(settings: dict):
        config = lift_config.default()
        config.update(
            backbone=str(tmp_path / "clip"),
            num_epochs=1,
            batch_size=4,
            eval_batch_size=8,
            report=False,
            zero_shot=False,
        )
        config.data.update(format="folder", root=str(tmp_path / "images"))
        for key, value in settings.items():
            config.update_from_flattened_dict({key: "train" if value == "TRAIN" else value})
        return config

    lines = [line for line in arguments() if "--mode eval" in line]
    assert len(lines) > 5
    for number, line in enumerate(lines):
        *_, chosen = combinations(line)
        trained = tmp_path / chosen.get("method", "lift")
        if not trained.exists():
            run(small({"method": trained.name}), trained)
        (checkpoint,) = (path for path in (trained / "checkpoints").iterdir() if path.name.isdigit())
        results = run(small(chosen), tmp_path / f"evaluation {number}", "eval", checkpoint)
        images = 8 if "data.test_list" in chosen else 4
        assert results["plain"]["num_examples"] == results["tte"]["num_examples"] == images


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
