import dataclasses
from typing import Any

import jax
import numpy as np
import pytest
import sklearn.linear_model

from lift_jax.classifier import text_features
from lift_jax.errors import UserError
from lift_jax.models.clip import CLIP
from lift_jax.training import image_starts

NAMES = ["cat", "dog", "tench", "shark", "hen of the woods"]


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def encode(clip, text):
    """One text alone, at the full context length: the definition, in float64 after the tower."""
    hidden = clip.text.apply({"params": clip.params["text"]}, clip.tokenizer([text]))
    return unit(np.asarray(hidden[0], np.float64) @ clip.params["text_projection"])


def test_text_kernel_is_the_normalised_text_carried_back_through_the_visual_projection(tiny_clip):
    kernel = text_features.text_kernel(tiny_clip, [[f"a photo of a {name}."] for name in NAMES])
    text = np.stack([encode(tiny_clip, f"a photo of a {name}.") for name in NAMES])
    expected = unit(text @ tiny_clip.params["visual_projection"].T).T
    np.testing.assert_allclose(kernel, expected, atol=2e-6)
    assert kernel.shape == (24, 5)


def test_prompts_of_a_class_are_averaged_as_unit_vectors(tiny_clip):
    prompts = [["a photo of a cat.", "a bad drawing of the cat.", "cat"], ["dog"], ["origami tench", "tench"]]
    expected = unit(np.stack([np.mean([encode(tiny_clip, p) for p in group], axis=0) for group in prompts]))
    np.testing.assert_allclose(text_features.text_features(tiny_clip, prompts), expected, atol=2e-6)


@pytest.mark.parametrize("batch", [2, 256])
def test_batch_size_and_padding_do_not_matter(tiny_clip, batch):
    prompts = [[name] * (1 + i % 2) for i, name in enumerate(NAMES)]
    whole = text_features.text_features(tiny_clip, prompts, batch=7)
    np.testing.assert_allclose(text_features.text_features(tiny_clip, prompts, batch), whole, atol=1e-6)


@pytest.mark.parametrize("biased", [False, True])
def test_zero_shot_head_gives_clips_logits(tiny_clip, biased):
    if biased:
        bias = np.linspace(-1, 1, 12, dtype=np.float32)
        tiny_clip = dataclasses.replace(tiny_clip, params={**tiny_clip.params, "visual_projection_bias": bias})
    images = jax.random.normal(jax.random.key(0), (3, 16, 16, 3))
    head, arrays = text_features.zero_shot_head(tiny_clip, [[name] for name in NAMES])
    assert tiny_clip.text is not None
    features = jax.jit(tiny_clip.vision.apply)({"params": tiny_clip.params["vision"]}, images)
    logits: Any = head.apply({"params": arrays}, features)
    whole = jax.jit(CLIP(tiny_clip.vision, tiny_clip.text, 12, biased=biased).apply)
    expected: Any = whole({"params": tiny_clip.params}, images, tiny_clip.tokenizer(NAMES))
    np.testing.assert_allclose(logits, expected.logits, rtol=1e-5, atol=1e-4)


def test_a_tower_that_sees_the_padding_and_features_that_are_in_the_shared_space(tiny_clip):
    params = {name: array for name, array in tiny_clip.params.items() if name != "visual_projection"}
    backbone = dataclasses.replace(tiny_clip, text=tiny_clip.text.clone(causal=False), params=params)
    prompts = ["cat", "a photo of a dog"]
    expected = np.stack([encode(backbone, prompt) for prompt in prompts]).T
    np.testing.assert_allclose(text_features.text_kernel(backbone, [[p] for p in prompts]), expected, atol=2e-6)
    _, arrays = text_features.zero_shot_head(backbone, [[p] for p in prompts])
    np.testing.assert_allclose(arrays["projection"] @ arrays["text"], expected, atol=2e-6)


def test_class_mean_and_its_shots():
    generator = np.random.default_rng(1)
    labels = np.repeat(np.arange(4), [9, 1, 3, 20])
    generator.shuffle(labels)
    features = generator.normal(size=(len(labels), 6)).astype(np.float32)
    kernel = image_starts.class_mean_kernel(features, labels, 4)
    expected = unit(np.stack([features[labels == c].mean(axis=0) for c in range(4)])).T
    np.testing.assert_allclose(kernel, expected, atol=1e-6)
    chosen = image_starts.few_shot(labels, 4, shots=3, seed=5)
    assert np.bincount(labels[chosen]).tolist() == [3, 1, 3, 3]
    assert (np.diff(chosen) > 0).all()
    np.testing.assert_array_equal(image_starts.few_shot(labels, 4, shots=20), np.arange(len(labels)))
    assert not np.array_equal(chosen, image_starts.few_shot(labels, 4, shots=3, seed=6))


@pytest.mark.parametrize("num_classes", [2, 3])
def test_linear_probe_classifies_as_the_regression_does(num_classes):
    generator = np.random.default_rng(2)
    labels = generator.integers(num_classes, size=60)
    features = generator.normal(size=(60, 5)) + 2 * np.eye(num_classes, 5)[labels]
    kernel = image_starts.linear_probe_kernel(features, labels, num_classes)
    assert kernel.shape == (5, num_classes)
    np.testing.assert_allclose(np.linalg.norm(kernel, axis=0), 1, rtol=1e-6)
    peer = sklearn.linear_model.LogisticRegression(class_weight="balanced").fit(features, labels)
    decision = features @ peer.coef_.T
    if num_classes == 2:
        np.testing.assert_array_equal((features @ kernel).argmax(axis=1), decision[:, 0] > 0)
    else:
        ratio = (features @ kernel) / decision
        np.testing.assert_allclose(ratio, np.broadcast_to(ratio[:1], ratio.shape), rtol=1e-4)


def test_mistakes_are_named(tiny_clip, tiny_vit):
    with pytest.raises(UserError, match=r"no text tower.*config\.head_init=class_mean"):
        text_features.text_kernel(tiny_vit, [["cat"]])
    with pytest.raises(UserError, match="Class 1 has no prompt"):
        text_features.text_kernel(tiny_clip, [["cat"], []])
    for kernel in image_starts.class_mean_kernel, image_starts.linear_probe_kernel:
        with pytest.raises(UserError, match="Class 2 has no training image"):
            kernel(np.ones((3, 4)), np.array([0, 1, 3]), 4)


def test_a_missing_tokenizer_is_named(tiny_clip):
    with pytest.raises(UserError, match=r"tiny has no tokenizer\.json"):
        text_features.text_kernel(dataclasses.replace(tiny_clip, tokenizer=None), [["a photo of a cat"]])
