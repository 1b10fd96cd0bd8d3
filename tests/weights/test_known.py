"""The table of well-known backbones and their short names."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from lift_jax import backbones, weights
from lift_jax.errors import UserError
from lift_jax.models import partition
from lift_jax.weights import activations, huggingface, known, source

PAGE = Path(__file__).parents[2] / "docs" / "backbones.md"


def test_the_page_has_the_table(capsys):
    assert backbones.main(["--markdown"]) == 0
    assert capsys.readouterr().out in PAGE.read_text(encoding="utf-8")
    assert backbones.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + len(known.BACKBONES)
    (line,) = (line for line in lines if line.startswith("dinov2-b "))
    assert re.fullmatch(r"dinov2-b +DINOv2 ViT-B/14 +86.6 +518 +apache-2.0 +class_mean.* facebook/dinov2-base", line)


def test_names_and_ids_are_of_one_model_each():
    assert len(known.SHORT) == len(known.MODELS) == len(known.BACKBONES)
    for model in known.BACKBONES:
        assert source.plain_name(model.hub) == model.hub == source.plain_name(model.short)
    assert source.plain_name("DINOv2-B") == "facebook/dinov2-base"
    assert source.plain_name("dinov2-b@abc") == "facebook/dinov2-base@abc"


def test_a_folder_of_a_short_name_is_taken(tmp_path, monkeypatch):
    (tmp_path / "bioclip").mkdir()
    monkeypatch.chdir(tmp_path)
    assert source.find("bioclip") == Path("bioclip")


@pytest.mark.parametrize(
    "name, meant",
    [
        ("dinov2b", r"dinov2-b \(facebook/dinov2-base\)"),
        ("PE-Core-L14", r"pe-l14 \(timm/PE-Core-L-14-336\)"),
        ("eva-02", r"eva02-b16 \(timm/eva02_base.*\) or eva02-l14"),
        ("metaclip-2", "metaclip2-h14"),
        ("dinov3-base", "dinov3-b|facebook/dinov3-vitb16"),
        ("bioclip2", r"bioclip-2 \(imageomics/bioclip-2\)"),
        ("DINOv3 ViT-L/16", r"facebook/dinov3-vitl16-pretrain-lvd1689m \(DINOv3 ViT-L/16\)"),
    ],
)
def test_near_misses(name, meant):
    with pytest.raises(UserError, match=rf"The backbone {name} does not exist.*such as .*({meant})"):
        weights.load(name)


V2 = dict(patch_size=14, image_size=518)
V3 = dict(num_register_tokens=4)
SIZES = {
    "dinov2-s": ("dinov2", V2 | dict(hidden_size=384, num_attention_heads=6)),
    "dinov2-l": ("dinov2", V2 | dict(hidden_size=1024, num_hidden_layers=24, num_attention_heads=16)),
    "dinov2-b-reg": ("dinov2_with_registers", V2),
    "dinov3-s-plus": ("dinov3_vit", V3 | dict(use_gated_mlp=True, hidden_act="silu")),
    "aimv2-l14": ("aimv2_vision_model", dict(use_head=False)),
    "dinov3-b": ("dinov3_vit", V3 | dict(hidden_size=768, intermediate_size=3072, num_attention_heads=12)),
}


@pytest.mark.parametrize("name", SIZES)
def test_numbers_of_parameters(name):
    kind, config = SIZES[name]
    layout = huggingface.MODEL_TYPES[kind](config)
    images = jnp.zeros((1, layout.resolution, layout.resolution, 3))
    count = partition.count(jax.eval_shape(layout.vision.init, jax.random.key(0), images)["params"])
    model = next(model for model in known.BACKBONES if model.short == name)
    assert model.image == round(count / 1e6, 1) and model.pixels == layout.resolution


def test_activations_of_the_known_clips():
    """Those whose files do not tell it are known by their names (open_clip's registry)."""
    quick = {model.short for model in known.BACKBONES if activations.from_name(model.hub) == "quick_gelu"}
    families = {"metaclip-b16", "metaclip-l14", "metaclip-h14", "metaclip2-h14", "dfn-b16", "dfn-l14", "dfn-h14"}
    assert quick == families | {model.short for model in known.BACKBONES if model.hub.startswith("openai/")}
