"""What people write as `config.backbone`: taken where it can be one thing alone, else a sentence says what to write."""

import os
import re
import shutil
from pathlib import Path

import layouts
import pytest

from lift_jax import weights
from lift_jax.errors import UserError
from lift_jax.weights import huggingface, known, source


def _sentence(name, pattern=""):
    with pytest.raises(UserError, match=pattern) as caught:
        weights.load(name)
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")
    return str(caught.value)


@pytest.mark.parametrize(
    "name, plain",
    [
        ("hf-hub:laion/CLIP-ViT-B-16-laion2B-s34B-b88K", "laion/CLIP-ViT-B-16-laion2B-s34B-b88K"),
        ("hf_hub:timm/vit_base_patch16_224.augreg_in21k", "timm/vit_base_patch16_224.augreg_in21k"),
        ("hf://openai/clip-vit-base-patch16", "openai/clip-vit-base-patch16"),
        ("https://huggingface.co/openai/clip-vit-base-patch16", "openai/clip-vit-base-patch16"),
        ("https://huggingface.co/openai/clip-vit-base-patch16/", "openai/clip-vit-base-patch16"),
        ("https://huggingface.co/openai/clip-vit-base-patch16/tree/main", "openai/clip-vit-base-patch16"),
        ("https://huggingface.co/openai/clip-vit-base-patch16/tree/refs1", "openai/clip-vit-base-patch16@refs1"),
        ("https://hf.co/openai/clip-vit-base-patch16/blob/0123abc/config.json", "openai/clip-vit-base-patch16@0123abc"),
        ("http://www.huggingface.co/o/n?library=timm#files", "o/n"),
        ("openai/clip-vit-base-patch16@v1", "openai/clip-vit-base-patch16@v1"),
        ("/some/folder", "/some/folder"),
        ("gs://bucket/clip", "gs://bucket/clip"),
        ("quickstart", "quickstart"),
    ],
)
def test_what_stands_around_a_hub_id(name, plain):
    assert source.plain_name(name) == plain


@pytest.mark.parametrize(
    "name",
    ["hf-hub:", "hf-hub:clip", "hf://", "https://huggingface.co", "https://huggingface.co/openai",
     "https://huggingface.co/datasets/someone/photos", "https://huggingface.co/spaces/a/b", "hf-hub:/x/y"],
)  # fmt: skip
def test_what_is_no_model_of_the_hub(name):
    _sentence(name, rf"config\.backbone is {re.escape(name)}\W.*write .*OWNER/NAME")


@pytest.mark.parametrize("name", ["", "   "])
def test_an_empty_name_is_not_the_current_folder(name, tmp_path, monkeypatch):
    huggingface.save_backbone(tmp_path, layouts.clip())
    monkeypatch.chdir(tmp_path)
    _sentence(name, r"config\.backbone is empty; name a folder, .* a hub id such as openai/")
    assert weights.load(".").hash == layouts.clip().hash


SPELLINGS = {
    "ViT-B/16": "openai/clip-vit-base-patch16 (CLIP ViT-B/16) or timm/vit_base_patch16_224.augreg_in21k_ft_in1k",
    "CLIP-ViT-B/16": "openai/clip-vit-base-patch16 (CLIP ViT-B/16)",
    "CLIP-ViT-B-16": "openai/clip-vit-base-patch16 (CLIP ViT-B/16)",
    "clip-vit-base-patch16": "openai/clip-vit-base-patch16 (CLIP ViT-B/16)",
    "ViT-B-32": "openai/clip-vit-base-patch32 (CLIP ViT-B/32)",
    "ViT-L/14@336px": "openai/clip-vit-large-patch14-336 (CLIP ViT-L/14@336)",
    "IN21K-ViT-B/16": "timm/vit_base_patch16_224.augreg_in21k_ft_in1k (ImageNet-21K ViT-B/16)",
    "vit_base_patch16_224.augreg_in21k": "timm/vit_base_patch16_224.augreg_in21k",
    "OpenCLIP-ViT-H-14": "laion/CLIP-ViT-H-14-laion2B-s32B-b79K",
    "siglip-so400m-patch14-384": "google/siglip-so400m-patch14-384",
    "siglip2-base-patch16-224": "google/siglip2-base-patch16-224",
    "CLIP-RN50": "PATH/RN50.pt (CLIP ResNet-50)",
    "resnet101": "PATH/RN101.pt (CLIP ResNet-101)",
    "clip": "openai/clip-vit-base-patch16",
    "my model": "openai/clip-vit-base-patch16",
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_spellings(name):
    assert _sentence(name, f"The backbone {name} does not exist").count(f"such as {SPELLINGS[name]}") == 1


def test_every_model_is_found_by_what_the_readme_calls_it():
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:openai|timm|laion|google)/[\w.-]+)`", readme))
    assert len(named) > 10 and named <= set(known.MODELS)
    for model, label in known.MODELS.items():
        assert f" {model} ({label})" in known.hint(label)


def test_paths_as_people_write_them(tmp_path, monkeypatch):
    huggingface.save_backbone(tmp_path / "my models" / "clip", layouts.clip())
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MODELS", str(tmp_path / "my models"))
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "my models" / "clip"
    names = ["~/my models/clip", "$MODELS/clip", "${MODELS}/clip", f"file://{folder}", f"file://localhost{folder}"]
    for name in [*names, "my models/clip", "./my models/clip/"]:
        assert weights.load(name).hash == layouts.clip().hash
    # A folder that is there is not asked of the hub.
    shutil.copytree(folder, tmp_path / "someone" / "clip")
    assert weights.load("someone/clip").hash == layouts.clip().hash


@pytest.mark.parametrize(
    "name, pattern",
    [
        ("https://example.org/clip.pt", r"config\.backbone is https://example.org/clip\.pt, which is on the web"),
        ("http://example.org", r"which is on the web"),
        ("ftp://example.org/clip", r"ftp:// is not known"),
        ("a\0b", r"config\.backbone is 'a\\x00b', which has a NUL"),
        ("x" * 5000, r"The backbone xxx.*… cannot be opened \(File name too long\)"),
        ("models/\ud800/clip", r"The backbone models/\\ud800/clip does not exist"),
        ("a\nb", r"The backbone a\\nb does not exist"),
        ("~/nowhere/at/all", r"The backbone ~/nowhere/at/all does not exist"),
        ("$NOT_SET/clip/x", r"The backbone \$NOT_SET/clip/x does not exist"),
    ],
)
def test_names_that_are_none(name, pattern):
    _sentence(name, pattern)


def test_a_device_and_a_pipe_are_no_backbones(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for place in "/dev/zero", str(tmp_path / "pipe"):
        _sentence(place, f"The backbone {place} is not a folder")
