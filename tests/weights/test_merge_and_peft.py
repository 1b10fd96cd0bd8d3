"""A run's result outside of this program: merged into a plain backbone, and as an adapter of peft."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from comparison import assert_close, features, random_images, t
from conftest import make_clip, tune

from lift_jax import weights
from lift_jax.errors import UserError
from lift_jax.models import partition
from lift_jax.models.vit import VisionTransformer
from lift_jax.weights import huggingface, merge, peft

LINEAR = ["lora", "lora+lora_mlp", "ssf_attn+ssf_mlp+ssf_ln", "bias_tuning", "ln_tuning", "mask"]
LINEAR += ["mask+lora+ssf_attn+ssf_mlp+ssf_ln", "full_tuning"]


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return make_clip(tmp_path_factory.mktemp("clip"))


def _tuned(backbone, method, **options):
    """A run of `method` with parameters that differ from the start: its network, parameters and features."""
    tuned = tune(backbone, method, noise=0.1, **options)
    images = random_images(2, backbone.resolution)
    with jax.default_matmul_precision("highest"):
        return tuned, np.asarray(tuned.features(jnp.asarray(images))), images


@pytest.mark.parametrize("method", LINEAR)
def test_merged(clip, method, tmp_path):
    options = dict(mask_ratio=0.3) if "mask" in method else {}
    tuned, expected, images = _tuned(clip, method, **options)
    params = partition.merge(*tuned.parts)["backbone"]
    merged = merge.merge(clip, tuned.classifier.backbone, params)
    huggingface.save_backbone(tmp_path, merged)
    backbone = weights.load(str(tmp_path))
    assert backbone.hash == merged.hash != clip.hash
    assert isinstance(backbone.vision, VisionTransformer)
    difference = np.abs(features(clip, images) - expected).max()
    assert difference > 1e-3  # the tuning matters
    assert_close(features(backbone, images), expected)


@pytest.mark.parametrize("method", ["adapter", "adaptformer", "vpt_deep", "lora+adaptformer"])
def test_what_is_not_linear_is_not_merged(clip, method):
    tuned, _, _ = _tuned(clip, method)
    with pytest.raises(UserError, match="cannot be merged"):
        merge.merge(clip, tuned.classifier.backbone, partition.merge(*tuned.parts)["backbone"])


@pytest.mark.parity
@pytest.mark.parametrize("method", ["lora", "lora+lora_mlp"])
def test_peft_reads_the_adapter(clip, method, tmp_path):
    library = pytest.importorskip("peft", reason="peft is not installed (tests/requirements-parity-light.txt)")
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    import torch

    tuned, expected, images = _tuned(clip, method, dim=2)
    huggingface.save_backbone(tmp_path / "base", clip)
    peft.save(tmp_path / "adapter", clip, tuned.parts.tuner["backbone"])
    base = transformers.CLIPModel.from_pretrained(tmp_path / "base")
    model = library.PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    with torch.no_grad():
        assert_close(expected, model.base_model.model.vision_model(t(images)).pooler_output)


def test_an_adapter_names_the_pinned_revision_of_its_base(clip, tmp_path):
    tuned = tune(clip, "lora", dim=2)
    peft.save(tmp_path, dataclasses.replace(clip, name="someone/clip@v2"), tuned.parts.tuner["backbone"])
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == ("someone/clip", "v2")


def test_other_tuners_are_no_adapter(clip, tmp_path):
    tuned, _, _ = _tuned(clip, "lora+bias_tuning", dim=2)
    with pytest.raises(UserError, match="not LoRA"):
        peft.save(tmp_path, clip, tuned.parts.tuner["backbone"])
