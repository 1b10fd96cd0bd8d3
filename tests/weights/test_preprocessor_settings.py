"""How a model wants its pixels: what its files say is obeyed exactly, or refused."""

import json

import layouts
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lift_jax import weights
from lift_jax.errors import UserError
from lift_jax.weights import huggingface, open_clip

CLIP = dict(mean=huggingface.CLIP_MEAN, std=huggingface.CLIP_STD)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    huggingface.save_backbone(folder, layouts.clip())
    return folder


def _load(folder, **processor):
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return weights.load(str(folder))


IMAGENET = dict(image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225])
BYTES = dict(image_mean=[123.675, 116.28, 103.53], image_std=[58.395, 57.12, 57.375])


@pytest.mark.parametrize(
    "processor, mean, std",
    [
        ({}, CLIP["mean"], CLIP["std"]),
        (dict(image_mean=None, do_normalize=True), CLIP["mean"], CLIP["std"]),
        (IMAGENET, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        (IMAGENET | dict(do_rescale=True, rescale_factor=0.00392156862745098), *map(tuple, IMAGENET.values())),
        (IMAGENET | dict(do_normalize=False), (0, 0, 0), (1, 1, 1)),
        (dict(do_normalize=False, do_rescale=False), (0, 0, 0), (1 / 255,) * 3),
        (BYTES | dict(do_rescale=False), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        (dict(image_mean=[1, 1, 1], image_std=[1, 1, 1], rescale_factor=1 / 127.5), (0.5,) * 3, (0.5,) * 3),
    ],
)
def test_settings(folder, processor, mean, std):
    backbone = _load(folder, **processor)
    np.testing.assert_allclose(backbone.mean, mean, rtol=1e-12)
    np.testing.assert_allclose(backbone.std, std, rtol=1e-12)


def test_usual_values_stay_as_they_are_written(folder):
    assert _load(folder, **IMAGENET, rescale_factor=1 / 255).mean == (0.485, 0.456, 0.406)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_pixels_come_out_as_transformers_has_them(folder, data):
    factor = data.draw(st.sampled_from([1 / 255, 1 / 256, 1 / 127.5, 0.01]))
    shares = st.lists(st.floats(0.05, 1), min_size=3, max_size=3)
    mean, std = (np.array(data.draw(shares)) * 255 * factor for _ in range(2))
    normalises = data.draw(st.booleans())
    backbone = _load(folder, image_mean=list(mean), image_std=list(std), rescale_factor=factor, do_normalize=normalises)
    pixels = np.arange(256.0)[:, None]
    expected = factor * pixels
    if normalises:
        expected = (expected - mean) / std
    np.testing.assert_allclose((pixels / 255 - backbone.mean) / backbone.std + 0 * mean, expected + 0 * mean, atol=1e-9)


@pytest.mark.parametrize(
    "processor, key",
    [
        (BYTES, "image_mean"),
        (dict(image_std=[58.395, 57.12, 57.375]), "image_std"),
        (dict(image_std=[0.5, 0, 0.5]), "image_std"),
        (dict(image_std=[0.5, -0.5, 0.5]), "image_std"),
        (dict(image_std=[1e-300] * 3), "image_std"),
        (dict(image_std=[float("nan")] * 3), "image_std"),
        (dict(image_mean=[float("inf")] * 3), "image_mean"),
        (dict(image_mean=[0.5, 0.5]), "image_mean"),
        (dict(image_mean=[0.5] * 4), "image_mean"),
        (dict(image_mean=["0.5"] * 3), "image_mean"),
        (dict(image_mean=[True] * 3), "image_mean"),
        (dict(image_mean={"r": 0.5}), "image_mean"),
        (dict(image_mean="0.5"), "image_mean"),
        (dict(image_mean=[-0.5] * 3), "image_mean"),
        (IMAGENET | dict(do_rescale=False), "image_std"),
        (dict(rescale_factor=0), "rescale_factor"),
        (dict(rescale_factor=-1 / 255), "rescale_factor"),
        (dict(rescale_factor=255), "rescale_factor"),
        (dict(rescale_factor="1/255"), "rescale_factor"),
        (dict(rescale_factor=float("nan")), "rescale_factor"),
        (dict(do_normalize="no"), "do_normalize"),
        (dict(do_rescale=0), "do_rescale"),
        (dict(do_flip_channel_order=True), "do_flip_channel_order"),
    ],
)
def test_refused(folder, processor, key):
    with pytest.raises(UserError, match=rf"{key} in {folder / 'preprocessor_config.json'} is .*; (correct|take)"):
        _load(folder, **processor)


def test_the_settings_of_a_processor_of_several_kinds(folder, tmp_path):
    huggingface.save_backbone(tmp_path, layouts.clip())
    (tmp_path / "preprocessor_config.json").unlink()
    (tmp_path / "processor_config.json").write_text(json.dumps(dict(image_processor=BYTES | dict(do_rescale=False))))
    np.testing.assert_allclose(weights.load(str(tmp_path)).mean, (0.485, 0.456, 0.406))


@pytest.mark.parametrize("mean", [[123.675, 116.28, 103.53], [0.5], "x", [None] * 3, [0.5, 0.5, float("nan")]])
def test_open_clip_and_timm(tmp_path, mean):
    open_clip.save_backbone(tmp_path / "open_clip", layouts.clip())
    file = tmp_path / "open_clip" / open_clip.CONFIG
    file.write_text(json.dumps(json.loads(file.read_text()) | dict(preprocess_cfg=dict(mean=mean))))
    with pytest.raises(UserError, match=r"mean in preprocess_cfg of .*open_clip_config\.json is "):
        weights.load(str(tmp_path / "open_clip"))
    pretrained = dict(input_size=[3, layouts.SIDE, layouts.SIDE], mean=mean)
    layouts.write_timm(tmp_path / "timm", layouts.vit(), pretrained_cfg=pretrained)
    with pytest.raises(UserError, match=r"mean in .*timm/config\.json is "):
        weights.load(str(tmp_path / "timm"))


@pytest.mark.parametrize("size", [[3, 16, 24], [3, 16], [3, 16.0, 16.0], "x", [3, -16, -16], [3, 10**9, 10**9]])
def test_the_size_of_timms_images(tmp_path, size):
    folder = layouts.write_timm(tmp_path / "timm", layouts.vit(), pretrained_cfg=dict(input_size=size))
    with pytest.raises(UserError, match=r"input_size in .*config\.json is "):
        weights.load(str(folder))
