"""Formats and what is wrong with files, without peers: every mistake is one sentence that names the thing."""

import dataclasses
import gzip
import importlib.util
import io
import json
import pickle
import shutil
import zipfile
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from comparison import features, outputs, random_images, random_tokens
from conftest import make_clip

from lift_jax import weights
from lift_jax.bench.abuse.full_disk import full_disk
from lift_jax.classifier import text_features
from lift_jax.errors import UserError
from lift_jax.models.resnet import ResNet
from lift_jax.weights import cache, convert, huggingface, open_clip, siglip_tokenizer, torchscript
from lift_jax.weights.backbone import Backbone, content_hash
from lift_jax.weights.clip_tokenizer import from_merges
from lift_jax.weights.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Backbone:
    return make_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture
def folder(clip, tmp_path):
    huggingface.save_backbone(tmp_path / "clip", clip)
    return tmp_path / "clip"


@pytest.fixture(scope="module")
def resnet(clip) -> Backbone:
    """A CLIP with a tiny ResNet and the text tower of `clip`."""
    vision = ResNet((1, 2, 1, 1), stem_width=8, width=12, num_heads=4)
    shapes = jax.eval_shape(vision.init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))["params"]
    generator = np.random.default_rng(0)
    tower = jax.tree.map(lambda x: (1 + generator.normal(size=x.shape) / 10).astype(np.float32), shapes)
    params = {k: x for k, x in clip.params.items() if k != "visual_projection"} | {"vision": tower}
    return Backbone("RN", vision, params, 64, clip.mean, clip.std, clip.text, clip.tokenizer, content_hash(params))


def _sentence(name, pattern, resolution=None):
    """The message of loading `name`, which must match."""
    with pytest.raises(UserError, match=pattern) as caught:
        weights.load(str(name), resolution)
    message = str(caught.value)
    assert "\n" not in message and message.endswith((".", "it."))
    return message


def _change(folder, **values):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | values))


@pytest.mark.parametrize("form", ["transformers", "orbax"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_convert(folder, clip, tmp_path, form, dtype, capsys):
    convert.main([str(folder), str(tmp_path / "new"), "--format", form, "--dtype", dtype])
    assert "content hash" in capsys.readouterr().out
    new = weights.load(str(tmp_path / "new"))
    expected = jax.tree.map(lambda x: np.asarray(x.astype(dtype), np.float32), dict(clip.params))
    jax.tree.map(np.testing.assert_array_equal, dict(new.params), expected)
    assert (new.hash == clip.hash) == (dtype == "float32")
    assert new.text == clip.text and new.vision == clip.vision and new.mean == pytest.approx(clip.mean)
    assert new.tokenizer is not None and clip.tokenizer is not None
    np.testing.assert_array_equal(new.tokenizer(["a photo of the cat"]), clip.tokenizer(["a photo of the cat"]))


@pytest.mark.parametrize("form", ["open_clip", "orbax"])
def test_resnet_there_and_back(resnet, tmp_path, form):
    save = open_clip.save_backbone if form == "open_clip" else cache.save
    save(tmp_path / "new", resnet)
    new = weights.load(str(tmp_path / "new"))
    assert new.hash == resnet.hash
    images, tokens = random_images(2, 64), random_tokens(2, 12, resnet.text.vocab_size)
    jax.tree.map(np.testing.assert_array_equal, outputs(new, images, tokens), outputs(resnet, images, tokens))


def test_resnet_at_another_resolution(resnet, tmp_path):
    open_clip.save_backbone(tmp_path, resnet)
    larger = weights.load(str(tmp_path), 96)
    assert larger.params["vision"]["attn_pool"]["position_embedding"].shape == (10, 256)
    assert features(larger, random_images(2, 96)).shape == (2, 12)
    assert larger.hash == resnet.hash


def test_transformers_has_no_resnet(resnet, tmp_path, capsys):
    open_clip.save_backbone(tmp_path / "rn", resnet)
    assert convert.main([str(tmp_path / "rn"), str(tmp_path / "new"), "--format", "transformers"]) == 1
    assert "transformers has no model" in capsys.readouterr().err


def test_convert_into_a_full_folder(folder, capsys):
    assert convert.main([str(folder), str(folder)]) == 1
    assert "is not empty" in capsys.readouterr().err


def test_convert_to_where_nothing_can_be_written(folder, capsys):
    (folder / "file").touch()
    assert convert.main([str(folder), str(folder / "file" / "new")]) == 1
    assert "cannot be written (" in capsys.readouterr().err


@pytest.mark.parametrize("form", ["transformers", "open_clip"])
def test_convert_on_afull_disk(folder, tmp_path, capsys, form):
    with full_disk(1000):
        assert convert.main([str(folder), str(tmp_path / "new"), "--format", form]) == 1
    said = capsys.readouterr().err
    assert f"{tmp_path / 'new'} cannot be written (File too large)" in said and said.count("\n") == 1
    assert not list(tmp_path.glob("*new*"))


@pytest.mark.parametrize("save", [huggingface.save_backbone, open_clip.save_backbone])
def test_a_backbone_is_written_whole_or_not_at_all(clip, tmp_path, save):
    save(tmp_path, clip)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(OSError, match="File too large"), full_disk(1000):
        save(tmp_path, clip, np.float16)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_a_file_system_that_is_not_known(tmp_path, capsys):
    _sentence("nowhere://bucket/clip", "config.backbone is nowhere://bucket/clip, but nowhere:// is not known")
    assert convert.main(["quickstart", "nowhere://bucket/clip"]) == 1
    assert "DEST is nowhere://bucket/clip, but nowhere:// is not known" in capsys.readouterr().err


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_truncated(folder, share):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    _sentence(folder, "model.safetensors cannot be read")


def test_tampered_orbax(clip, tmp_path):
    cache.save(tmp_path / "new", clip)
    changed = dict(clip.params) | {"logit_scale": clip.params["logit_scale"] + 1}
    cache.save(tmp_path / "other", dataclasses.replace(clip, params=changed))
    shutil.rmtree(tmp_path / "new" / "params")
    shutil.copytree(tmp_path / "other" / "params", tmp_path / "new" / "params")
    _sentence(tmp_path / "new", "not those that were written")
    tokenizer = (tmp_path / "other" / "tokenizer.json").read_text()
    (tmp_path / "other" / "tokenizer.json").write_text(tokenizer[:-9])
    _sentence(tmp_path / "other", "damaged or incomplete")
    shutil.rmtree(tmp_path / "new" / "params")
    _sentence(tmp_path / "new", "damaged or incomplete")


def test_every_array_is_accounted_for(folder):
    file = folder / "model.safetensors"
    arrays = safetensors.numpy.load_file(file)
    arrays["extra"] = np.zeros(3, np.float32)
    del arrays["logit_scale"]
    arrays["text_projection.weight"] = arrays["text_projection.weight"][:, :-1].copy()
    safetensors.numpy.save_file(arrays, file)
    message = _sentence(folder, r"model\.safetensors do not fit .*config\.json")
    assert "extra is not known" in message and "logit_scale is missing" in message
    assert "text_projection.weight is (12, 15) instead of (12, 16)" in message


def test_numbers_that_are_not_finite(folder):
    file = folder / "model.safetensors"
    arrays = safetensors.numpy.load_file(file)
    arrays["text_projection.weight"][1, 2] = np.inf
    safetensors.numpy.save_file(arrays, file)
    _sentence(folder, "text_projection.weight in .* holds numbers that are not finite")


def test_a_wrong_architecture_for_the_config(folder):
    config = json.loads((folder / "config.json").read_text())
    _change(folder, vision_config=config["vision_config"] | {"num_hidden_layers": 4})
    _sentence(folder, r"vision_model.encoder.layers.3.* is missing")


def test_an_unknown_model_type(folder):
    _change(folder, model_type="bert")
    _sentence(folder, "model_type.*'bert', which is not known")
    _change(folder, model_type="dinov3")
    _sentence(folder, "model_type.*'dinov3', which is not known; the nearest is dinov3_vit")
    _change(folder, model_type="dinov3_convnext")
    _sentence(folder, "model_type.*'dinov3_convnext', which is not known; a ConvNeXt is read as open_clip or timm")


@pytest.mark.parametrize("depth", [-1, 0, 10**12])
def test_a_depth_that_no_model_has(folder, resnet, tmp_path, depth):
    config = json.loads((folder / "config.json").read_text())
    _change(folder, vision_config=config["vision_config"] | {"num_hidden_layers": depth})
    _sentence(folder, rf"num_hidden_layers in vision_config of .*config\.json is {depth}, .*from 1 to 1000")
    open_clip.save_backbone(tmp_path / "rn", resnet)
    config = json.loads((tmp_path / "rn" / open_clip.CONFIG).read_text())
    config["model_cfg"]["vision_cfg"]["layers"][2] = depth
    (tmp_path / "rn" / open_clip.CONFIG).write_text(json.dumps(config))
    _sentence(tmp_path / "rn", rf"layers in vision_cfg of model_cfg of .* is \[1, 2, {depth}, 1\]")


def test_an_unknown_activation(folder):
    config = json.loads((folder / "config.json").read_text())
    _change(folder, text_config=config["text_config"] | {"hidden_act": "swish"})
    _sentence(folder, r"hidden_act in text_config of .*config\.json is 'swish', .* one of quick_gelu, gelu")


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_damaged_json(folder, name):
    (folder / name).write_text("{")
    _sentence(folder, name)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_missing_file(folder, name):
    (folder / name).unlink()
    _sentence(folder, f"has no {name}")


def test_without_its_tokenizer_a_clip_is_a_backbone_for_images(folder, tmp_path, clip, capsys):
    (folder / "tokenizer.json").unlink()
    assert convert.main([str(folder), str(tmp_path / "new")]) == 0
    assert f"warning: There is no tokenizer in {folder}" in capsys.readouterr().err
    backbone = weights.load(str(tmp_path / "new"))
    assert backbone.hash == clip.hash
    with pytest.raises(UserError, match=r"has no tokenizer\.json"):
        text_features.tokenize(backbone, ["a cat"])


def test_the_tokenizer_of_another_model(clip):
    larger = dataclasses.replace(clip, text=clip.text.clone(vocab_size=10))
    with pytest.raises(UserError, match="gives the id 15, but its text tower knows 10"):
        text_features.tokenize(larger, ["a cat"])


def test_open_clip_has_one_activation_for_both_towers(clip, tmp_path):
    other = dataclasses.replace(clip, text=clip.text.clone(activation="gelu"))
    with pytest.raises(UserError, match="open_clip has no model like"):
        open_clip.save_backbone(tmp_path / "new", other)
    assert not (tmp_path / "new").exists()


def test_a_missing_shard(folder):
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    _sentence(folder, "names model-00002-of-00002.safetensors")


def test_another_resolution_than_patches(folder):
    _sentence(folder, "multiple of 4, such as 16", resolution=18)


def test_no_text_tower(tmp_path, clip):
    params = {"vision": clip.params["vision"]}
    alone = dataclasses.replace(clip, params=params, text=None, tokenizer=None)
    huggingface.save_backbone(tmp_path, alone)
    with pytest.raises(UserError, match="no text tower"):
        weights.load(str(tmp_path)).clip()


@pytest.mark.parametrize("name", ["nowhere", "no/where/at/all", "missing.pt", "gone/missing.npz"])
def test_no_such_backbone(name):
    _sentence(name, "does not exist")


class _Malicious:
    def __reduce__(self):
        return exec, ("raise SystemExit('code of the file was run')",)


def test_a_pickle_with_code(tmp_path):
    pytest.importorskip("torch", reason="PyTorch is not installed")
    import torch

    torch.save({"weight": _Malicious()}, tmp_path / "model.pt")
    _sentence(tmp_path / "model.pt", "is refused, because it holds more than tensors, such as .*exec,")


def test_a_torchscript_archive_with_code(tmp_path):
    with zipfile.ZipFile(tmp_path / "model.pt", "w") as archive:
        archive.writestr("model/code/__torch__.py", "")
        archive.writestr("model/data.pkl", pickle.dumps({"weight": _Malicious()}, protocol=2))
    _sentence(tmp_path / "model.pt", "is refused, because it names .*exec")


def test_a_torchscript_archive(tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")

    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 2), torch.nn.BatchNorm2d(4), torch.nn.Linear(1, 5)).half().eval()
    with torch.no_grad():
        module[0].weight.set_(module[0].weight.transpose(2, 3))  # strides other than C's
    torch.jit.save(torch.jit.script(module), tmp_path / "module.pt")
    assert torchscript.is_archive(tmp_path / "module.pt")
    arrays = torchscript.arrays(tmp_path / "module.pt")
    state = module.state_dict()
    assert arrays.keys() == state.keys()
    for name, tensor in state.items():
        assert arrays[name].shape == tuple(tensor.shape)
        np.testing.assert_array_equal(np.asarray(arrays[name]), tensor.numpy())


def test_a_damaged_torchscript_archive(tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")

    torch.jit.save(torch.jit.script(torch.nn.Linear(3, 4)), tmp_path / "module.pt")
    data = (tmp_path / "module.pt").read_bytes()
    (tmp_path / "module.pt").write_bytes(data[: len(data) // 2])
    _sentence(tmp_path / "module.pt", "cannot be read")


def test_an_npz_of_objects_or_of_something_else(tmp_path):
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    _sentence(tmp_path / "other.npz", "holds no ViT")
    objects: dict[str, Any] = {"embedding/kernel": np.array([_Malicious()], dtype=object)}
    np.savez(tmp_path / "objects.npz", **objects)
    _sentence(tmp_path / "objects.npz", "holds no ViT")
    (tmp_path / "damaged.npz").write_bytes((tmp_path / "other.npz").read_bytes()[:100])
    _sentence(tmp_path / "damaged.npz", "cannot be read")


@pytest.mark.parametrize("architecture", ["resnet50", "convnextv2_base"])
def test_an_architecture_of_timm_that_is_not_known(tmp_path, architecture):
    (tmp_path / "config.json").write_text(json.dumps({"architecture": architecture}))
    _sentence(tmp_path, f"'{architecture}', which is not known")


def test_an_option_of_open_clip_that_we_do_not_have(resnet, tmp_path):
    open_clip.save_backbone(tmp_path, resnet)
    config = json.loads((tmp_path / open_clip.CONFIG).read_text())
    config["model_cfg"]["vision_cfg"]["attentional_pool"] = True
    (tmp_path / open_clip.CONFIG).write_text(json.dumps(config))
    _sentence(tmp_path, "attentional_pool in vision_cfg of .* is not known")


def test_the_hub_cache_serves_offline(folder, tmp_path, monkeypatch):
    import huggingface_hub.constants as hub

    commit = "0123456789abcdef0123456789abcdef01234567"
    repo = tmp_path / "hub" / "models--someone--clip"
    shutil.copytree(folder, repo / "snapshots" / commit)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(commit)
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(repo.parent))
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", True)
    backbone = weights.load("someone/clip")
    assert backbone.name == "someone/clip" and backbone.hash == weights.load(str(folder)).hash
    assert weights.load(f"someone/clip@{commit}").hash == backbone.hash
    _sentence("someone/else", "neither a folder here nor to be had")


def test_the_tokenizer_of_a_short_list_of_merges(tmp_path):
    # The real list is the peers' (test_clip_parity); here, that merges are applied and texts are framed.
    lines = ["#version", "c a", "ca t</w>", "d o"]
    (tmp_path / "merges.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    tokens = Tokenizer(from_merges(tmp_path / "merges.gz"), 8)(["Cat"])[0]
    assert list(tokens) == [515, 513, 516, 0, 0, 0, 0, 0]
    buffer = io.BytesIO(b"not gzip")
    (tmp_path / "damaged.gz").write_bytes(buffer.getvalue())
    with pytest.raises(UserError, match="cannot be read"):
        from_merges(tmp_path / "damaged.gz")


def test_siglip_tokenizers(tmp_path):
    import tokenizers
    from tokenizers import models, pre_tokenizers, processors

    for words, expected in (
        (["<unk>", "</s>", "a", "dogs"], [2, 3, 1, 1, 1]),  # no punctuation; the end is the padding, too
        (["<pad>", "<eos>", "<bos>", "a", "dog's", "dog", "'", "s"], [3, 5, 6, 7, 1]),
    ):
        tokenizer = tokenizers.Tokenizer(
            models.WordLevel({word: i for i, word in enumerate(words)}, unk_token=words[0])
        )
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()  # pyright: ignore[reportAttributeAccessIssue]
        # Gemma's own files add a start, which SigLIP 2 has not.
        tokenizer.post_processor = processors.TemplateProcessing(  # pyright: ignore[reportAttributeAccessIssue]
            single=f"{words[2]} $A", special_tokens=[(words[2], 2)]
        )
        tokenizer.save(str(tmp_path / "tokenizer.json"))
        made = siglip_tokenizer.make(tmp_path / "tokenizer.json", 5)
        assert list(made(["A dog's"])[0]) == expected


@pytest.mark.skipif(importlib.util.find_spec("sentencepiece") is not None, reason="sentencepiece is installed")
def test_a_spiece_model_without_the_package(tmp_path, caplog):
    (tmp_path / "spiece.model").touch()
    assert siglip_tokenizer.find(tmp_path, 5) is None
    assert "pip install sentencepiece" in caplog.text


def test_a_siglip_without_a_tokenizer(tmp_path, caplog):
    assert siglip_tokenizer.find(tmp_path, 5) is None
    assert "there is no tokenizer.json and no spiece.model" in caplog.text
