"""Weights that no training leaves: each is refused with the name of the array, and its valid twin is read."""

import json

import jax
import jax.numpy as jnp
import layouts
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from lift_jax import weights
from lift_jax.errors import UserError
from lift_jax.models.resnet import ResNet
from lift_jax.weights import huggingface, open_clip
from lift_jax.weights.backbone import Backbone, content_hash

PATCHES = "vision_model.embeddings.patch_embedding.weight"


def _spoil(folder, name, change):
    file = folder / "model.safetensors"
    arrays = safetensors.numpy.load_file(file)
    arrays[name] = change(arrays[name])
    safetensors.numpy.save_file(arrays, file)


@pytest.fixture
def folder(tmp_path):
    huggingface.save_backbone(tmp_path / "clip", layouts.clip())
    return tmp_path / "clip"


def _sentence(place, pattern):
    with pytest.raises(UserError, match=pattern) as caught:
        weights.load(str(place))
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64", "bool", "complex64"])
def test_numbers_that_are_not_floating(folder, dtype):
    _spoil(folder, "logit_scale", lambda x: x.astype(dtype))
    _sentence(folder, f"logit_scale in .*model.safetensors (is of the type {dtype}|cannot be read)")


@pytest.mark.parametrize("dtype", ["float16", "float64", ml_dtypes.bfloat16])
def test_other_floating_types_are_read(folder, dtype):
    _spoil(folder, PATCHES, lambda x: x.astype(dtype))
    expected = layouts.clip().params["vision"]["patch_embedding"].astype(dtype).astype(np.float32)
    np.testing.assert_array_equal(weights.load(str(folder)).params["vision"]["patch_embedding"], expected)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
def test_numbers_that_are_none(folder, value):
    def change(x):
        x[0, 0, 0, 0] = value
        return x

    _spoil(folder, PATCHES, change)
    _sentence(folder, f"{PATCHES} in .* not finite, or beyond all bounds")


def test_numbers_that_float32_does_not_hold(folder):
    _spoil(folder, PATCHES, lambda x: x.astype(np.float64) * 1e200)
    _sentence(folder, f"{PATCHES} in .* not finite, or beyond all bounds")


@pytest.mark.parametrize("value", [0, 1])
@pytest.mark.parametrize(
    "name, tower",
    [(PATCHES, "image"), ("text_model.embeddings.token_embedding.weight", "text")],
)
def test_a_tower_that_was_not_trained(folder, value, name, tower):
    _spoil(folder, name, lambda x: np.full_like(x, value))
    _sentence(folder, f"The {tower} tower of the backbone .* every number of .*embedding is {value}")


@pytest.mark.parametrize("layout", ["transformers' ViT", "AugReg", "timm"])
def test_all_zeros(tmp_path, layout):
    name, make, save = layouts.LAYOUTS[layout]
    empty = make()
    params = jax.tree.map(np.zeros_like, dict(empty.params))
    save(tmp_path / name, Backbone("", empty.vision, params, empty.resolution, empty.mean, empty.std, None, None, ""))
    _sentence(tmp_path / name, f"image tower of the backbone {tmp_path / name} was not trained")


def test_a_block_of_zeros_may_be(folder):
    name = "vision_model.encoder.layers.1.mlp.fc2.weight"
    _spoil(folder, name, np.zeros_like)
    assert not weights.load(str(folder)).params["vision"]["block_1"]["mlp_out"]["kernel"].any()


@pytest.mark.parametrize("value", [1000.0, -1000.0])
def test_a_scale_that_is_none(folder, value):
    _spoil(folder, "logit_scale", lambda x: np.full_like(x, value))
    _sentence(folder, f"logit_scale of the backbone .* is {value:g}")


@pytest.mark.parametrize("variance", [-0.5, 0.5])
def test_a_negative_variance(tmp_path, variance):
    vision, clip = ResNet((1, 1, 1, 1), stem_width=2, width=24, num_heads=1), layouts.clip()
    shapes = jax.eval_shape(vision.init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))["params"]
    tower = jax.tree.map(lambda x: np.linspace(0.1, 1, x.size, dtype=np.float32).reshape(x.shape), shapes)
    tower["bn_1"]["var"][0] = variance
    params = {name: x for name, x in clip.params.items() if name != "visual_projection"} | {"vision": tower}
    resnet = Backbone("RN", vision, params, 64, clip.mean, clip.std, clip.text, None, content_hash(params))
    open_clip.save_backbone(tmp_path, resnet)
    if variance > 0:
        assert weights.load(str(tmp_path)).hash == resnet.hash
    else:
        _sentence(tmp_path, r"bn_1/var of the backbone .* negative numbers")


SIZES = [1.0, "12", 0, -1, 5, True, None, 10**12, 2**70, [1], {}]


@pytest.mark.parametrize("value", SIZES)
@pytest.mark.parametrize("key", ["num_attention_heads", "hidden_size", "num_hidden_layers", "patch_size", "image_size"])
def test_a_size_that_is_none(folder, key, value):
    config = json.loads((folder / "config.json").read_text())
    config["vision_config"][key] = value
    (folder / "config.json").write_text(json.dumps(config))
    _sentence(folder, rf"({key} in vision_config of|do not fit) .*config\.json")


@pytest.mark.parametrize("layout", ["transformers' CLIP", "open_clip", "timm"])
def test_missing_arrays_are_named(tmp_path, layout):
    folder = layouts.write(layout, tmp_path)
    file = next(folder.glob("*.safetensors"))
    arrays = safetensors.numpy.load_file(file)
    name = next(name for name in sorted(arrays) if name.endswith("mlp.fc1.bias") or name.endswith("mlp.c_fc.bias"))
    del arrays[name]
    safetensors.numpy.save_file(arrays, file)
    _sentence(folder, rf"The arrays in {file} do not fit .*json, because {name} is missing")


def test_shapes_that_contradict_are_named(folder):
    _spoil(folder, PATCHES, lambda x: x[:, :, :4, :4].copy())
    _sentence(folder, rf"because {PATCHES} is \(64, 3, 4, 4\) instead of \(64, 3, 8, 8\)")
