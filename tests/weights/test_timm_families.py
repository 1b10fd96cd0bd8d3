"""timm's families by lists of their arrays' names and shapes, recorded from timm 1.0 at one block of width 64."""

import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from lift_jax import weights
from lift_jax.errors import UserError
from lift_jax.models.convnext import ConvNeXt
from lift_jax.models.rotary import axial_angles, rotate
from lift_jax.models.vit import VisionTransformer
from lift_jax.weights import arrays, cache, huggingface, timm_convnext, timm_vit

SHAPES = json.loads((Path(__file__).parent / "timm_shapes.json").read_text())
POOLS = {"vit_small_patch16_dinov3": "token", "eva02_base_patch16_clip_224": "token"}
POOLS |= dict.fromkeys(("vit_base_patch16_siglip_224", "vit_pe_core_base_patch16_224"), "map")

OPTIONS = {
    "vit_base_patch16_siglip_224": dict(pool="attention", epsilon=1e-6, activation="gelu"),
    "vit_base_patch16_siglip_gap_224": dict(pool="mean", has_class=False),
    "eva02_base_patch16_clip_224": dict(inner_norms=True, gated=True, rope_theta=1e4, has_positions=True),
    "vit_small_patch16_dinov3": dict(rope_theta=100, has_positions=False, num_registers=4, layer_scale=True),
    "vit_small_plus_patch16_dinov3": dict(gated=True, pool="mean", has_class=True, epsilon=1e-5),
    "vit_small_patch16_dinov3_qkvb": dict(gated=False, layer_scale=True),
    "aimv2_large_patch14_224": dict(rms=True, gated=True, patch_norm=True, pool="mean", has_class=False),
    "vit_pe_core_base_patch16_224": dict(pre_norm=True, pool="attention", has_class=True, pool_heads=8),
}


HEAD = "pre_logits.fc", "fc"
"""A classification head of a ConvNeXt's, which is left out."""


def _write(folder, name, global_pool=None, **changes):
    generator = np.random.default_rng(0)
    flat = {key: generator.normal(size=shape).astype(np.float32) for key, shape in SHAPES[name].items()}
    side = 28 if "patch14" in name else 32
    pool = global_pool or POOLS.get(name, "avg")
    content = dict(architecture=name, global_pool=pool, model_args=dict(num_heads=1))
    content |= dict(pretrained_cfg=dict(input_size=[3, side, side], mean=[0.5] * 3, std=[0.5] * 3))
    (folder / "config.json").write_text(json.dumps(content))
    safetensors.numpy.save_file(flat | changes, folder / "model.safetensors")
    return flat


@pytest.mark.parametrize("name", OPTIONS)
def test_every_array_has_its_place(tmp_path, name):
    flat = _write(tmp_path, name)
    backbone = weights.load(str(tmp_path))
    found = {key: getattr(backbone.vision, key) for key in OPTIONS[name]}
    assert found == OPTIONS[name]
    # Back by the same table, every array of the image tower is what it was.
    family = timm_vit.family_of(name)
    assert family is not None and isinstance(backbone.vision, VisionTransformer)
    back = arrays.write(timm_vit.table(backbone.vision, backbone.resolution, flat, family), backbone.params)
    assert flat.keys() - back.keys() <= {"head.weight", "head.bias"}
    for key, array in back.items():
        np.testing.assert_array_equal(array, flat[key])


def test_a_convnext_has_its_places_and_an_orbax_checkpoint_gives_them_back(tmp_path):
    name = "convnext_large_mlp"
    flat = _write(tmp_path, name)
    backbone = weights.load(str(tmp_path), 64)
    expected = ConvNeXt((1, 1, 2, 1), (8, 16, 24, 32), None, 1e-6)
    assert backbone.vision == expected and backbone.text is None
    back = arrays.write(timm_convnext.table(expected), backbone.params)
    assert flat.keys() - back.keys() == {f"head.{part}.{leaf}" for part in HEAD for leaf in ("weight", "bias")}
    for key, array in back.items():
        np.testing.assert_array_equal(array, flat[key])
    cache.save(tmp_path / "orbax", backbone)
    again = weights.load(str(tmp_path / "orbax"))
    assert again.hash == backbone.hash and again.vision == backbone.vision and again.resolution == 64


def test_a_convnext_needs_its_configuration(tmp_path):
    _write(tmp_path, "convnext_large_mlp")
    flat = safetensors.numpy.load_file(tmp_path / "model.safetensors")
    name = "stages.3.blocks.0.norm.weight"
    safetensors.numpy.save_file(
        {key: array for key, array in flat.items() if key != name}, tmp_path / "model.safetensors"
    )
    with pytest.raises(UserError, match=rf"model\.safetensors: {name} is missing; take the file from"):
        weights.load(str(tmp_path))
    flat = _write(tmp_path, "convnext_large_mlp", global_pool="max")
    with pytest.raises(UserError, match=r"global_pool in .* is 'max', so the ConvNeXt has another result .* convnext_"):
        weights.load(str(tmp_path))
    safetensors.numpy.save_file(flat, tmp_path / "alone.safetensors")
    (tmp_path / "config.json").unlink()
    with pytest.raises(UserError, match=r"alone\.safetensors holds a ConvNeXt by timm's names, .* config\.json into"):
        weights.load(str(tmp_path / "alone.safetensors"))


@pytest.mark.parametrize("name", ["eva02_base_patch16_clip_224", "vit_pe_core_base_patch16_224"])
def test_transformers_has_no_such_model(tmp_path, name):
    _write(tmp_path, name)
    with pytest.raises(UserError, match=r"transformers has no model like .*orbax"):
        huggingface.save_backbone(tmp_path / "copy", weights.load(str(tmp_path)))
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize(
    "name, nearest",
    [
        ("eva02_base_patch14_224", "eva02_base_patch16_clip_224"),
        ("vit_pe_spatial_base_patch16_512", "vit_pe_core_base_patch16_224"),
        ("vit_base_patch16_rope_ape_224", "vit_base_patch16_224"),
        ("resnet50", None),
    ],
)
def test_an_architecture_that_is_near_is_named(tmp_path, name, nearest):
    _write(tmp_path, "eva02_base_patch16_clip_224")
    file = tmp_path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | dict(architecture=name)))
    with pytest.raises(UserError, match=rf"architecture in .* is '{name}', .* nearest such as {nearest or ''}"):
        weights.load(str(tmp_path))


def test_an_array_of_a_near_model_is_named(tmp_path):
    _write(tmp_path, "eva02_base_patch16_clip_224", **{"blocks.0.gamma_1": np.ones(64, np.float32)})
    with pytest.raises(UserError, match=r"blocks\.0\.gamma_1"):
        weights.load(str(tmp_path))


@pytest.mark.parametrize("x_first", [False, True])
def test_neighbouring_channels_are_turned_together(x_first):
    """Queries and keys have the products of a file's own order, in which channels 2 i and 2 i + 1 are a pair."""
    heads, quarter = 2, 3
    size, width = 4 * quarter, 4 * quarter * heads
    generator = np.random.default_rng(0)
    q, k = generator.normal(size=(2, 6, width)).astype(np.float32)
    angles = axial_angles(2, 3, size, 100.0)
    theirs = np.roll(angles, quarter, axis=1) if x_first else angles

    def turned(x):
        pairs = x.reshape(6, heads, size // 2, 2) @ np.array([1, 1j])
        return (pairs * np.exp(1j * theirs)[:, None]).transpose(1, 0, 2)

    expected = (turned(q) @ turned(k).conj().transpose(0, 2, 1)).real
    order = timm_vit._rotary_order(width, heads, x_first)
    own = np.concatenate([q, k, q], axis=1)[:, order].reshape(6, 3, heads, size).transpose(1, 2, 0, 3)
    turned_q, turned_k = (np.asarray(rotate(jnp.asarray(x), jnp.asarray(angles))) for x in own[:2])
    found = turned_q @ turned_k.transpose(0, 2, 1)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(own[2], q.reshape(6, heads, size).transpose(1, 0, 2))
