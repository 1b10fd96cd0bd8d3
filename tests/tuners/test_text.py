"""Methods that tune CLIP's text side."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
import pytest
from conftest import flatten

from lift_jax import config as lift_config
from lift_jax import tuners
from lift_jax.classifier import network as networks
from lift_jax.classifier.network import Network
from lift_jax.errors import UserError
from lift_jax.models import partition
from lift_jax.models.text_head import with_features
from lift_jax.training import optimizer
from lift_jax.training.losses import make as make_loss
from lift_jax.weights.backbone import Backbone

NAMES = ["cat", "dog", "tench", "shark", "hen of the woods"]
EVERYTHING = "lora+coop+clip_adapter+projection_tuning+text_lora+text_adaptformer+text_ssf_ln+text_vpt_deep+text_mask"
IMAGES = np.random.default_rng(3).normal(size=(4, 16, 16, 3)).astype(np.float32)


def network(backbone: Backbone, method: str, prompt: str = "a photo of a {}.", **options) -> Network:
    config = lift_config.default()
    config.update(method=method, prompt=prompt, dtype="float32", resolution=16)
    config.tuner.update(options)
    resolved = lift_config.resolve(config)
    return networks.build(resolved, tuners.resolve(resolved.method, resolved.tuner), backbone, NAMES)


def logits(built: Network, params: partition.Tree | None = None) -> Any:
    params = partition.merge(*built.parts) if params is None else params
    return jax.jit(lambda p, x: built.classifier.apply({"params": p}, x))(params, IMAGES)


def clips_logits(backbone: Backbone, texts: list[str], tower: Any = None) -> np.ndarray:
    """CLIP's own logits for the images and texts, with text features of `tower`."""
    assert backbone.tokenizer is not None
    clip = backbone.clip() if tower is None else backbone.clip().clone(text=tower)
    output: Any = jax.jit(clip.apply)({"params": backbone.params}, IMAGES, backbone.tokenizer(texts))
    return np.asarray(output.logits)


def close(actual: Any, expected: Any) -> None:
    np.testing.assert_allclose(actual, expected, rtol=0, atol=2e-5 * np.abs(expected).max())


def moved(parts: partition.Parts) -> dict[str, Any]:
    """The parameters, what is trained moved so that every array matters."""
    generator = np.random.default_rng(1)
    tuner = jax.tree.map(lambda x: (x + 0.2 * generator.normal(size=x.shape)).astype(np.float32), parts.tuner)
    return partition.merge(parts.frozen, tuner, parts.head)


@pytest.mark.parametrize(
    "method",
    ["clip_adapter", "lora+projection_tuning", "text_mask+text_lora+text_lora_mlp+text_adapter+text_adaptformer"],
)
def test_what_starts_as_the_identity_gives_zero_shot_clip(tiny_clip, method):
    close(logits(network(tiny_clip, method)), clips_logits(tiny_clip, [f"a photo of a {name}." for name in NAMES]))


def test_a_context_that_is_a_prompts_embeddings_gives_that_prompt(tiny_clip):
    built = network(tiny_clip, "coop")
    context = tiny_clip.params["text"]["token_embedding"][tiny_clip.tokenizer(["a photo of a"])[0, 1:5]]
    tuner = {"text": {"tuner_coop": {"context": context}}}
    assert jax.tree.map(np.shape, built.parts.tuner) == jax.tree.map(np.shape, tuner)
    texts = [f"a photo of a {name}." for name in NAMES]
    close(logits(built, partition.merge(built.parts.frozen, tuner)), clips_logits(tiny_clip, texts))


def test_prompts_in_the_text_tower_are_tokens_after_the_first_without_a_position(tiny_clip):
    text = {**tiny_clip.params["text"], "position_embedding": np.zeros((12, 16), np.float32)}
    backbone = dataclasses.replace(tiny_clip, params={**tiny_clip.params, "text": text})
    built = network(backbone, "text_vpt_shallow", prompt="{}")
    prompt = text["token_embedding"][tiny_clip.tokenizer(["bad drawing"])[0, 1:3]]
    tuner = {"text": {"tower": {"block_0": {"tuner_text_vpt_shallow": {"prompt": prompt}}}}}
    assert jax.tree.map(np.shape, built.parts.tuner) == jax.tree.map(np.shape, tuner)
    expected = clips_logits(backbone, [f"bad drawing {name}" for name in NAMES])
    close(logits(built, partition.merge(built.parts.frozen, tuner)), expected)


def test_gradients_reach_all_that_is_trained_and_nothing_else_changes(tiny_clip):
    built = network(tiny_clip, EVERYTHING, text_dim=8)
    params = moved(built.parts)
    before = jax.tree.map(np.array, flatten(params))
    trained = set(flatten(built.parts.tuner))
    parts = partition.split(params, built.tuning.trains)
    loss, labels = make_loss("LA", [9, 5, 3, 2, 1]), jnp.array([0, 3, 4, 1])
    tx = optimizer.make(0.01, 0.9, 0.0)  # without weight decay what has no gradient stays

    @jax.jit
    def step(trainable, opt_state, frozen):
        def forward(trainable):
            params = partition.merge(frozen, *trainable.values())
            output: Any = built.classifier.apply({"params": params}, IMAGES)
            return loss(output, labels)

        updates, opt_state = tx.update(jax.grad(forward)(trainable), opt_state, trainable)
        return optax.apply_updates(trainable, updates), opt_state

    trainable: Any = {partition.TUNER: parts.tuner, partition.HEAD: parts.head}
    opt_state = tx.init(trainable)
    for _ in range(2):
        trainable, opt_state = step(trainable, opt_state, parts.frozen)
    after = flatten(partition.merge(parts.frozen, *trainable.values()))
    assert set(after) == set(before)
    assert {path for path in before if not np.array_equal(before[path], after[path])} == trained
    assert {row.group for row in tuners.rows(built.tuning, built.parts)} == set(EVERYTHING.split("+"))


def test_class_features_in_advance_change_nothing(tiny_clip):
    built = network(tiny_clip, EVERYTHING)
    params = moved(built.parts)
    ready = with_features(built.classifier, params)
    assert "tower" in params["text"] and "tower" not in ready["text"]
    close(logits(built, ready), logits(built, params))


def test_a_tower_that_is_not_trained_has_run_before_the_training(tiny_clip):
    assert set(network(tiny_clip, "clip_adapter+projection_tuning").parts.frozen["text"]) == {"features"}
    assert "tower" in network(tiny_clip, "clip_adapter+coop").parts.frozen["text"]


@pytest.mark.parametrize(
    "method, config, words",
    [
        ("lift+text_mask+text_full_tuning", {}, "full_tuning trains the weights that a mask would keep frozen"),
        ("lift", {"text_dim": 2}, "config.tuner.text_dim is 2.*clip_adapter, text_lora"),
        ("clip_adapter", {"context_len": 2}, "it is for coop"),
        ("coop", {"context_len": 9}, "12 positions for it and the class name; write at most 4"),
        ("text_lora", {"prompt": "ensemble"}, "gives a class several texts.*write one template"),
        ("text_bn_tuning", {}, "'text_bn_tuning' is not known"),
    ],
)
def test_mistakes_are_named(tiny_clip, method, config, words):
    with pytest.raises(UserError, match=words):
        network(tiny_clip, method, **config)


@pytest.mark.parametrize("method", ["coop", "lift_plus+text_lora", "clip_adapter", "projection_tuning"])
def test_a_backbone_without_a_text_tower(tiny_vit, method):
    with pytest.raises(UserError, match=r"has no text tower for .*take a CLIP, or leave"):
        network(tiny_vit, method)


def test_coop_needs_a_start_token(tiny_clip):
    backbone = dataclasses.replace(tiny_clip, text=tiny_clip.text.clone(causal=False))
    with pytest.raises(UserError, match="leave coop out"):
        network(backbone, "coop")


def test_the_recipe_is_that_of_lift_plus_wherever_it_is_named():
    def recipe(**changes) -> tuple:
        config = lift_config.default()
        for key, value in changes.items():
            config.update_from_flattened_dict({key.replace("__", "."): value})
        c: ml_collections.FrozenConfigDict = lift_config.resolve(config)
        return c.lr, c.num_epochs, c.crop, c.interpolation, c.tuner.rules

    plus = (0.02, 5, "square", "bicubic", "lift_plus")
    for changes in dict(method="lift_plus"), dict(method="ln_tuning + lift_plus"), dict(tuner__rules="lift_plus"):
        assert recipe(**changes) == plus
    assert recipe(method="coop+lift_plus", lr=0.5) == (0.5, *plus[1:])
    assert recipe(method="coop") == (0.01, 10, "random_resized", "bilinear", "lift")
