"""Weights as training programs and other libraries leave them: wrapped, prefixed, with a head, or of one tower."""

import json
import logging
import shutil

import layouts
import numpy as np
import pytest
import safetensors.numpy
from comparison import assert_close, features, random_images

from lift_jax import weights
from lift_jax.errors import UserError
from lift_jax.weights import huggingface, open_clip, torch_files

torch = pytest.importorskip("torch", reason="PyTorch is not installed")


def _prefixed(prefix, arrays):
    return {prefix + name: array for name, array in arrays.items()}


def _sentence(place, pattern):
    with pytest.raises(UserError, match=pattern) as caught:
        weights.load(str(place))
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")


WRAPPERS = {
    "plain": lambda arrays: arrays,
    "compiled": lambda arrays: _prefixed("_orig_mod.", arrays),
    "parallel": lambda arrays: _prefixed("module.", arrays),
    "both": lambda arrays: _prefixed("module._orig_mod.", arrays),
    "lightning": lambda arrays: {
        "state_dict": _prefixed("model.", arrays),
        "optimizer_states": [{"state": {0: {"exp_avg": np.zeros(3)}}, "param_groups": [{"lr": 0.1}]}],
        "epoch": 3,
    },
    "under model": lambda arrays: {"model": arrays, "epoch": 3, "scaler": {}},
    "under model_state_dict": lambda arrays: {"model_state_dict": _prefixed("module.", arrays), "loss": 0.5},
    "deeper": lambda arrays: {"checkpoint": {"network": {"state_dict": _prefixed("clip_model.", arrays)}}},
    "with a counter": lambda arrays: arrays | {"epoch": 3, "name": "mine"},
    "with a head": lambda arrays: _prefixed("backbone.", arrays) | {"head.weight": np.ones((3, 64), np.float32)},
    "averaged alone": lambda arrays: {"state_dict_ema": arrays},
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("layout", ["clip", "timm"])
def test_wrapped(tmp_path, layout, wrapper):
    expected = layouts.clip() if layout == "clip" else layouts.vit()
    arrays = layouts.openai_arrays(expected) if layout == "clip" else layouts.timm_arrays(expected)
    file = layouts.write_torch(tmp_path / "model.pth", WRAPPERS[wrapper](arrays))
    backbone = weights.load(str(file), activation=expected.vision.activation)
    assert backbone.hash == expected.hash and backbone.vision == expected.vision and backbone.text == expected.text


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("layout", ["transformers' CLIP", "transformers' SigLIP", "transformers' ViT"])
def test_wrapped_in_a_folder(tmp_path, layout, wrapper):
    folder = layouts.write(layout, tmp_path)
    arrays = safetensors.numpy.load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    layouts.write_torch(folder / "pytorch_model.bin", WRAPPERS[wrapper](arrays))
    assert weights.load(str(folder)).hash == layouts.LAYOUTS[layout][1]().hash


@pytest.mark.parametrize("keys", [("model", "model_ema"), ("state_dict", "state_dict_ema"), ("student", "teacher")])
def test_the_averaged_one_of_two_models(tmp_path, caplog, keys):
    plain, averaged = layouts.openai_arrays(layouts.clip()), layouts.openai_arrays(layouts.clip())
    averaged["visual.class_embedding"] = averaged["visual.class_embedding"] + 1
    file = layouts.write_torch(tmp_path / "openai.pt", dict(zip(keys, (plain, averaged), strict=True)))
    tower = weights.load(str(file)).params["vision"]
    np.testing.assert_array_equal(tower["class_embedding"], averaged["visual.class_embedding"])
    assert f"holds 2 models ({keys[0]}, {keys[1]}); the averaged one is taken, {keys[1]}" in caplog.text
    # The same as prefixes of one state dict.
    flat = _prefixed(f"{keys[0]}.", plain) | _prefixed(f"{keys[1]}.", averaged)
    tower = weights.load(str(layouts.write_torch(tmp_path / "openai_2.pt", flat))).params["vision"]
    np.testing.assert_array_equal(tower["class_embedding"], averaged["visual.class_embedding"])


def test_two_models_of_equal_right(tmp_path):
    arrays = layouts.openai_arrays(layouts.clip())
    layouts.write_torch(tmp_path / "openai.pt", {"generator": arrays, "critic": arrays})
    _sentence(tmp_path / "openai.pt", r"openai\.pt holds 2 models \(generator, critic\), .* save that one alone")
    layouts.write_torch(tmp_path / "openai.pt", _prefixed("a.", arrays) | _prefixed("b.", arrays))
    _sentence(tmp_path / "openai.pt", r"openai\.pt holds 2 models \(a, b\), .* save that one alone")


def _image_tower(arrays):
    return {name: array for name, array in arrays.items() if name.startswith("visual.")}


@pytest.mark.parametrize("prefix", ["visual.", "", "module.visual.", "encoder."])
@pytest.mark.parametrize("projection", [True, False])
def test_the_image_tower_of_a_clip_alone(tmp_path, prefix, projection):
    arrays = _image_tower(layouts.openai_arrays(layouts.clip()))
    if not projection:
        del arrays["visual.proj"]
    arrays = {prefix + name.removeprefix("visual."): array for name, array in arrays.items()}
    backbone = weights.load(str(layouts.write_torch(tmp_path / "openai.pt", arrays)))
    assert backbone.hash == weights.content_hash(layouts.alone(layouts.clip()).params)
    with pytest.raises(UserError, match="has no text tower"):
        backbone.clip()


def test_the_image_tower_of_a_folder_of_open_clip_alone(tmp_path):
    open_clip.save_backbone(tmp_path, layouts.clip())
    file = tmp_path / open_clip.FILES[0]
    safetensors.numpy.save_file(_image_tower(safetensors.numpy.load_file(file)), file)
    backbone = weights.load(str(tmp_path))
    assert backbone.text is None and backbone.vision == layouts.clip().vision


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
@pytest.mark.parametrize("layout", ["transformers' CLIP", "transformers' ViT", "open_clip", "timm"])
def test_a_file_of_a_folder_stands_for_it(tmp_path, layout, name):
    folder = layouts.write(layout, tmp_path)
    name = name.replace("model", "open_clip_model") if layout == "open_clip" else name
    name = name.replace("config", "open_clip_config") if layout == "open_clip" else name
    backbone = weights.load(str(folder / name))
    assert backbone.hash == layouts.LAYOUTS[layout][1]().hash and backbone.mean == (0.5, 0.5, 0.5)


def test_transformers_names_without_a_configuration(tmp_path):
    folder = layouts.write("transformers' CLIP", tmp_path)
    shutil.move(folder / "model.safetensors", tmp_path / "alone.safetensors")
    _sentence(tmp_path / "alone.safetensors", r"transformers' names, .* put the model's config\.json into")


def test_timm_without_a_configuration(tmp_path, caplog):
    file = layouts.write_torch(tmp_path / "vit.pth", layouts.timm_arrays(layouts.vit()) | {"head.bias": np.zeros(5)})
    backbone = weights.load(str(file))
    assert backbone.vision == layouts.vit().vision and backbone.resolution == layouts.SIDE
    assert "does not tell how its images are normalised; mean (0.5, 0.5, 0.5)" in caplog.text
    (tmp_path / "config.json").write_text(json.dumps(dict(architecture="vit_tiny_patch8_16", mean=[0.4] * 3)))
    config = json.loads((tmp_path / "config.json").read_text()) | dict(input_size=[3, layouts.SIDE, layouts.SIDE])
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert weights.load(str(file)).mean == (0.4, 0.4, 0.4)


def test_a_clip_in_timms_names_is_asked_for_its_activation(tmp_path):
    vit = layouts.vit()
    arrays = layouts.timm_arrays(vit) | {
        f"norm_pre.{leaf}": np.linspace(0.1, 1, layouts.WIDTH, dtype=np.float32) for leaf in ("weight", "bias")
    }
    file = layouts.write_torch(tmp_path / "vit.pth", arrays)
    _sentence(file, "does not tell whether")
    backbone = weights.load(str(file), activation="quick_gelu")
    assert backbone.vision.activation == "quick_gelu" and backbone.vision.pre_norm


PARTS = {
    "fc_norm.weight": r"averages its tokens \(global_pool is avg\) \(fc_norm\.weight\); take one with a class token",
    "blocks.0.ls1.gamma": "layer scales",
    "reg_token": "register tokens",
    "dist_token": "distilled DeiT",
    "attn_pool.q.weight": "attention pooling",
    "blocks.0.attn.q_norm.weight": "normalises queries and keys",
    "blocks.0.attn.lora_A.weight": "LoRA",
}


@pytest.mark.parametrize("part", PARTS)
def test_a_vit_with_a_part_that_is_not_known(tmp_path, part):
    arrays = layouts.timm_arrays(layouts.vit()) | {part: np.ones(3, np.float32)}
    _sentence(layouts.write_torch(tmp_path / "vit.pth", arrays), PARTS[part])


@pytest.mark.parametrize("where", ["top", "model_args"])
def test_a_pooling_of_timm_that_is_not_known(tmp_path, where):
    changes = dict(global_pool="avg") if where == "top" else dict(model_args=dict(global_pool="avg"))
    folder = layouts.write_timm(tmp_path / "timm", layouts.vit(), **changes)
    _sentence(folder, "global_pool in .* is 'avg', so the ViT averages its tokens, .* with a class token")


def test_a_sharded_folder_of_pickles(tmp_path):
    folder = layouts.write("transformers' ViT", tmp_path)
    arrays = safetensors.numpy.load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names, index = sorted(arrays), {}
    for number, part in enumerate((names[::2], names[1::2]), 1):
        file = f"pytorch_model-0000{number}-of-00002.bin"
        layouts.write_torch(folder / file, {name: arrays[name] for name in part})
        index |= dict.fromkeys(part, file)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": index}))
    assert weights.load(str(folder)).hash == layouts.vit().hash


def test_heads_of_the_large_towers_of_open_clip():
    from lift_jax.weights.timm_vit import heads_of

    # The heads of ViT-H, -g and -bigG are 80, 88 and 104 wide.
    assert [heads_of(width, "") for width in (768, 1024, 1280, 1408, 1664)] == [12, 16, 16, 16, 16]
    with pytest.raises(UserError, match="is no multiple of 64"):
        heads_of(100, "model.pt")


CLASSIFIERS = ["CLIPForImageClassification", "SiglipForImageClassification", "ViTForImageClassification"]


@pytest.mark.parity
@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_a_classifier_of_transformers(tmp_path, kind, caplog):
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    from comparison import randomize, t

    caplog.set_level(logging.INFO)
    size = dict(hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=2)
    vision = size | dict(image_size=24, patch_size=8)
    text = size | dict(vocab_size=18, max_position_embeddings=12)
    config = {
        "CLIP": lambda: transformers.CLIPConfig(text_config=text, vision_config=vision),
        "Siglip": lambda: transformers.SiglipConfig(text_config=text, vision_config=vision),
        "ViT": lambda: transformers.ViTConfig(**vision),
    }[kind.removesuffix("ForImageClassification")]()
    config.num_labels = 7
    peer = randomize(getattr(transformers, kind)(config))
    peer.save_pretrained(tmp_path)
    backbone = weights.load(str(tmp_path))
    assert backbone.text is None
    images = random_images(2, 24)
    tower = peer.vit if hasattr(peer, "vit") else peer.vision_model
    with torch.no_grad():
        output = tower(t(images))
    expected = output.last_hidden_state[:, 0] if hasattr(peer, "vit") else output.pooler_output
    assert_close(features(backbone, images), expected)
    assert "The classification head in" in caplog.text and "classifier.weight" in caplog.text


@pytest.mark.parity
@pytest.mark.parametrize("image_size", [33, 24])
def test_a_rest_that_no_patch_covers(tmp_path, image_size):
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    from comparison import randomize, t

    size = dict(hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=2)
    config = transformers.CLIPVisionConfig(**size, image_size=image_size, patch_size=8)
    peer = randomize(transformers.CLIPVisionModel(config))
    peer.save_pretrained(tmp_path)
    images = random_images(2, image_size)
    with torch.no_grad():
        assert_close(features(weights.load(str(tmp_path)), images), peer(t(images)).pooler_output)


def test_quantised_and_sparse_tensors(tmp_path):
    arrays = layouts.openai_arrays(layouts.clip())
    content = {name: torch.tensor(array) for name, array in arrays.items()}
    content["visual.proj"] = content["visual.proj"].to_sparse()
    torch.save(content, tmp_path / "openai.pt")
    _sentence(tmp_path / "openai.pt", "layout torch.sparse_coo, which is not read here")


def test_a_checkpoint_that_holds_itself(tmp_path):
    content: dict = {"a": torch.zeros(3)}
    content["again"] = content
    torch.save(content, tmp_path / "model.pt")
    _sentence(tmp_path / "model.pt", "model.pt cannot be read")
    with pytest.raises(UserError, match="cannot be read"):
        torch_files.load(tmp_path / "model.pt")


def test_the_backbone_is_the_first_one_written_again(tmp_path):
    # What was read from one layout is the same in another, prefixes or not.
    file = layouts.write_torch(
        tmp_path / "openai.pt", {"model": _prefixed("module.", layouts.openai_arrays(layouts.clip()))}
    )
    huggingface.save_backbone(tmp_path / "new", weights.load(str(file)))
    assert weights.load(str(tmp_path / "new")).hash == layouts.clip().hash
