"""Every tuner in transformers with the options of the families.

One is like DINOv3 (gated MLP, layer scales, registers, rotation), one has what EVA02, Perception Encoder and AIMv2 have
otherwise: norms inside the branches, RMSNorm, rotation beside positions, and a class token that is not the result.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import flatten, tune

from lift_jax.models import partition
from lift_jax.models.rotary import Grid
from lift_jax.models.vit import VisionTransformer
from lift_jax.tuners.specs import TUNERS
from lift_jax.weights import Backbone

SIDE, WIDTH, MLP = 12, 16, 24


DINO = VisionTransformer(
    4, WIDTH, 2, 2, MLP, "silu", pre_norm=False, patch_bias=True, layer_scale=True, gated=True, num_registers=3,
    rope_theta=100.0,
)  # fmt: skip
OTHERS = VisionTransformer(
    4, WIDTH, 2, 2, MLP, "silu", pre_norm=False, patch_bias=True, gated=True, rope_theta=1e4, rope_grid=Grid(3, 1.0),
    rms=True, inner_norms=True, patch_norm=True, pool="mean", unpooled_class=True,
)  # fmt: skip


def backbone(name: str, vision: VisionTransformer) -> Backbone:
    shapes = jax.eval_shape(vision.init, jax.random.key(0), jnp.zeros((1, SIDE, SIDE, 3)))["params"]
    generator = np.random.default_rng(0)
    params = jax.tree.map(lambda x: generator.normal(0.2, 0.3, x.shape).astype(np.float32), shapes)
    return Backbone(name, vision, {"vision": params}, SIDE, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), None, None, "")


@pytest.fixture(scope="module")
def dino() -> Backbone:
    return backbone("dino", DINO)


@pytest.fixture(scope="module")
def others() -> Backbone:
    return backbone("others", OTHERS)


def images() -> np.ndarray:
    return np.random.default_rng(3).normal(size=(2, SIDE, SIDE, 3)).astype(np.float32)


def groups() -> list[str]:
    """The tuners in as few methods as do not contradict themselves."""
    found: list[list] = []
    for spec in (spec for spec in TUNERS if "vit" in spec.acts_in):
        family = "mask" if spec.name == "full_tuning" else spec.family
        free = (group for group in found if family not in [kind for _, kind in group if kind])
        group = next(free, None)
        if group is None:
            found.append(group := [])
        group.append((spec.name, family))
    return ["+".join(name for name, _ in group) for group in found]


@pytest.mark.parametrize("kind", ["dino", "others"])
@pytest.mark.parametrize("method", groups())
def test_gradients_reach_all_that_a_tuner_trains(request, kind, method):
    options: dict[str, Any] = dict(mask_ratio=0.3) if "mask" in method else {}
    options |= dict(dim=8) if "lora" in method else {}
    tuned = tune(request.getfixturevalue(kind), method, noise=0.1, **options)
    frozen, tuner, head = tuned.parts

    @jax.jit
    def loss(tuner, frozen):
        logits = tuned.apply(partition.merge(frozen, tuner, head), images())
        return jnp.sum(jnp.sin(logits * jnp.arange(1, 8)))

    gradients = flatten(jax.grad(loss)(tuner, frozen))
    assert gradients.keys() == flatten(tuner).keys()
    for name in method.split("+"):
        if name.endswith("_tuning"):
            leaves = [path for path in gradients if not path[2].startswith("tuner_")]
        else:
            leaves = [path for path in gradients if path[2] == f"tuner_{name}"]
        assert leaves and all(np.isfinite(gradients[path]).all() for path in leaves)
        assert [path for path in leaves if not np.any(gradients[path])] == []


def test_where_tuners_are_in_a_gated_mlp(dino):
    def shapes(method, **options):
        tree = flatten(tune(dino, method, **options).parts.tuner)
        return {"/".join(path[2:]): x.shape for path, x in tree.items() if path[1] == "block_0"}

    # One product for the gate and what it multiplies, whose A both share.
    lora = shapes("lora_mlp", dim=2)
    assert lora["tuner_lora_mlp/mlp_in/lora_A"] == (WIDTH, 2) and lora["tuner_lora_mlp/mlp_in/lora_B"] == (2, 2 * MLP)
    assert lora["tuner_lora_mlp/mlp_out/lora_B"] == (2, WIDTH)
    assert shapes("ssf_mlp")["tuner_ssf_mlp/mlp_in/scale"] == (2 * MLP,)
    mask = shapes("mask_mlp", mask_ratio=0.5, rules="lift_plus")
    assert mask["tuner_mask_mlp/mlp_in/weight"] == (WIDTH * 2 * MLP // 2,)
    assert mask["tuner_mask_mlp/mlp_out/weight"] == (MLP * WIDTH // 2,)
    assert shapes("adaptformer", dim=2)["tuner_adaptformer/down_proj/kernel"] == (WIDTH, 2)
    full = shapes("full_tuning")
    assert full["layer_scale_1"] == full["layer_scale_2"] == (WIDTH,)


def test_layer_scale_belongs_to_the_branch_before_its_tuner(dino):
    """AdaptFormer's part comes in full where the MLP's own scale is zero."""
    vision = dino.params["vision"]
    closed = {name: vision[name] | {"layer_scale_2": np.zeros(WIDTH, np.float32)} for name in ("block_0", "block_1")}
    silent = Backbone(**{**vars(dino), "params": {"vision": vision | closed}})
    plain, tuned = tune(silent, "head_only"), tune(silent, "adaptformer", noise=0.3)
    assert np.abs(plain.features(images()) - tuned.features(images())).max() > 1e-2


def test_norms_inside_the_branches_are_trained_with_the_blocks(others):
    full = {path[2:] for path in flatten(tune(others, "full_tuning").parts.tuner)}
    assert ("ln_attn", "scale") in full and ("ln_mlp", "scale") in full
    own = {path[2:] for path in flatten(tune(others, "ln_tuning").parts.tuner)}
    assert own == {("ln_1", "scale"), ("ln_2", "scale")}  # an RMSNorm has no bias


@pytest.mark.parametrize("pool", ["mean", "attention"])
def test_prompts_are_not_pooled(pool):
    """Prompts that are as good as not there, because each block looks past them, change nothing."""
    vision = OTHERS.clone(pool=pool, depth=1, rope_theta=None, rope_grid=None, gated=False, activation="gelu")
    own = backbone("pooled", vision)
    closed = {
        **own.params["vision"]["block_0"],
        "attn_out": {"kernel": np.zeros((WIDTH, WIDTH)), "bias": np.ones(WIDTH)},
    }
    own = Backbone(**{**vars(own), "params": {"vision": {**own.params["vision"], "block_0": closed}}})
    tuned = tune(own, "vpt_shallow", vpt_len=3, noise=0.5, rules="lift_plus")
    np.testing.assert_allclose(
        tuned.features(images()), tune(own, "head_only").features(images()), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("rules", ["lift", "lift_plus"])
def test_prompts_have_no_rotary_positions(dino, rules):
    tuned = tune(dino, "vpt_shallow", vpt_len=3, noise=0.5, rules=rules)
    turned = jax.tree.map(lambda prompt: prompt[::-1], tuned.parts.tuner)
    same = tuned._replace(parts=tuned.parts._replace(tuner=turned))
    np.testing.assert_allclose(same.features(images()), tuned.features(images()), rtol=1e-5, atol=1e-5)
    assert np.abs(tune(dino, "head_only").features(images()) - tuned.features(images())).max() > 1e-2
