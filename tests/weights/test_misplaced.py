"""Files and folders that are something else than a backbone: the sentence says what, and what to write."""

import json
import zipfile
from pathlib import Path

import layouts
import numpy as np
import pytest
import safetensors.numpy

from lift_jax import weights
from lift_jax.errors import UserError
from lift_jax.weights import huggingface


def _sentence(place, pattern):
    with pytest.raises(UserError, match=pattern) as caught:
        weights.load(str(place))
    message = str(caught.value)
    assert "\n" not in message and message.endswith(".") and str(place) in message


def _lora(folder: Path) -> None:
    (folder / "adapter_config.json").write_text(json.dumps(dict(base_model_name_or_path="openai/clip")))
    (folder / "adapter_model.safetensors").touch()


def _run(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps(dict(method="lift", backbone="openai/clip-vit-base-patch16")))
    (folder / "run.json").write_text("{}")


def _pipeline(folder: Path) -> None:
    (folder / "model_index.json").write_text("{}")
    (folder / "unet").mkdir()


def _cache(folder: Path) -> None:
    (folder / "snapshots" / "0123abcd").mkdir(parents=True)


def _inner(folder: Path) -> None:
    huggingface.save_backbone(folder / "clip", layouts.clip())


FOLDERS = {
    "adapter": (_lora, r"holds an adapter of peft without the model that it changes \(openai/clip\); merge it"),
    "run": (_run, r"is the folder of a run; give the backbone .* lift_jax\.export --workdir"),
    "pipeline": (_pipeline, "holds a diffusion pipeline"),
    "cache": (_cache, "is a repository in the hub's cache; give .*/snapshots/0123abcd"),
    "inner": (_inner, "has its model in a folder of its own; write config.backbone=.*/clip"),
    "tokenizer": (lambda folder: (folder / "tokenizer.json").write_text("{}"), "holds a tokenizer alone; add"),
    "empty": (lambda folder: None, "has no config.json; it is empty"),
    "file": (lambda folder: (folder / "ViT-B-16.pt").touch(), "or name the file, as config.backbone=.*ViT-B-16.pt"),
    "flax": (lambda folder: (folder / "flax_model.msgpack").touch(), "weights in flax_model.msgpack, .* safetensors"),
    "photos": (lambda folder: (folder / "cat.jpg").touch(), "holds cat.jpg, but no model"),
}


@pytest.mark.parametrize("kind", FOLDERS)
def test_folders(tmp_path, kind):
    make, pattern = FOLDERS[kind]
    make(tmp_path)
    _sentence(tmp_path, pattern)


def test_a_configuration_without_weights(tmp_path):
    huggingface.save_backbone(tmp_path, layouts.clip())
    (tmp_path / "model.safetensors").unlink()
    _sentence(tmp_path, r"has no model\.safetensors; it has a config\.json, but no weights; add model\.safetensors")


FILES = {
    "empty.pt": (b"", "cannot be read, because it is empty"),
    "pointer.safetensors": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:12\n",
        "pointer of Git LFS .*git lfs pull",
    ),
    "page.pt": (b"<!DOCTYPE html><html>", "a web page instead of the weights"),
    "quantised.bin": (b"GGUF\x03\0\0\0", "GGUF"),
    "keras.pt": (b"\x89HDF\r\n\x1a\n", "weights of Keras"),
    "photo.pt": (b"\xff\xd8\xff\xe0\0\x10JFIF", "is an image; set config.data.root"),
    "archive.pt": (b"\x1f\x8b\x08\0", "is a gzip archive; unpack it"),
    "noise.pt": (bytes(range(7, 90)), "cannot be read .* damaged or incomplete"),
    "text.pth": (b"hello", "cannot be read .* damaged or incomplete"),
    "noise.npz": (b"PK\x03\x04", "cannot be read"),
}


@pytest.mark.parametrize("name", FILES)
def test_files(tmp_path, name):
    pytest.importorskip("torch", reason="PyTorch is not installed")
    content, pattern = FILES[name]
    (tmp_path / name).write_bytes(content)
    _sentence(tmp_path / name, pattern)


ARRAYS = {
    "base_model.model.vision_model.encoder.layers.0.self_attn.q_proj.lora_A.weight": "a LoRA adapter .* merge it",
    "layer1.0.conv1.weight": "a ResNet that was trained without text",
    "module.layer1.0.conv1.weight": "a ResNet that was trained without text",
    "model.diffusion_model.input_blocks.0.0.weight": "a diffusion model",
    "down_blocks.0.resnets.0.conv1.weight": "a diffusion model",
    "stages.0.0.conv_dw.weight": "a convolutional network",
    "layers.0.blocks.0.attn.qkv.weight": "a Swin transformer",
    "conv_proj.weight": "a ViT of torchvision",
    "model.embed_tokens.weight": "a language model",
    "transformer.wte.weight": "a language model",
    "text_model.embeddings.token_embedding.weight": "the text tower of a CLIP without its image tower",
    "vpt_list.0.prompt": "the authors' implementation of LIFT trained, .* --checkpoint",
    "something.else": r"no image tower that is known here \(its arrays are something\.else\)",
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays(tmp_path, name):
    arrays = {name: np.ones((2, 2), np.float32), "fc.weight": np.ones((2, 2), np.float32)}
    if name == "something.else":
        del arrays["fc.weight"]
    safetensors.numpy.save_file(arrays, tmp_path / "model.safetensors")
    _sentence(tmp_path / "model.safetensors", ARRAYS[name])
    # In a folder of a CLIP the same is said.
    huggingface.save_backbone(tmp_path / "clip", layouts.clip())
    safetensors.numpy.save_file(arrays, tmp_path / "clip" / "model.safetensors")
    with pytest.raises(UserError, match=ARRAYS[name]):
        weights.load(str(tmp_path / "clip"))


def test_the_optimizer_of_a_training(tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    layer = torch.nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(layer.parameters())
    layer(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    torch.save(optimizer.state_dict(), tmp_path / "optimizer.pt")
    _sentence(tmp_path / "optimizer.pt", r"optimizer\.pt holds ")
    torch.save({"epoch": 3, "args": {"lr": 0.1}}, tmp_path / "log.pt")
    _sentence(tmp_path / "log.pt", r"log\.pt holds no state dict, .* but epoch, args; give")


def test_a_whole_module(tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    torch.save(torch.nn.Linear(2, 2), tmp_path / "model.pt")
    _sentence(tmp_path / "model.pt", r"holds more than tensors, .*Linear.* torch\.save\(model\.state_dict\(\), FILE\)")


STREAMS = {
    "a module inside itself": b"\x80\x02c__torch__\nM\n)\x81q\x00}X\x01\x00\x00\x00aq\x01h\x00sb.",
    "a module without attributes": b"\x80\x02c__torch__\nM\n)\x81K\x05b.",
    "a number": b"\x80\x02K\x05.",
    "an array without its bytes": b"\x80\x02c__torch__\nM\n)\x81}X\x01\x00\x00\x00aK\x05sb.",
    "nothing": b"",
    "deep lists": b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".",
}


@pytest.mark.parametrize("stream", STREAMS)
def test_archives_of_torchscript_with_anything_in_them(tmp_path, stream):
    pytest.importorskip("torch", reason="PyTorch is not installed")
    with zipfile.ZipFile(tmp_path / "model.pt", "w") as archive:
        archive.writestr("model/code/__torch__.py", "")
        archive.writestr("model/data.pkl", STREAMS[stream])
    _sentence(tmp_path / "model.pt", "cannot be read|holds no arrays")
