"""One tiny image tower, and text tower where there is one, in every layout that people have files in."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy

from lift_jax.models.clip import CLIP
from lift_jax.models.convnext import ConvNeXt
from lift_jax.models.text import TextTransformer
from lift_jax.models.vit import VisionTransformer
from lift_jax.weights import arrays, augreg, huggingface, open_clip, openai, timm_vit
from lift_jax.weights.backbone import Backbone, content_hash

SIDE = 16
"""Pixels."""

WIDTH = 64
"""Of the tokens: files without a configuration have heads of 64."""


def clip(activation: str = "quick_gelu") -> Backbone:
    """A CLIP whose text tower knows 18 ids."""
    vision = VisionTransformer(patch_size=8, width=WIDTH, depth=2, num_heads=1, mlp_dim=96, activation=activation)
    text = TextTransformer(18, 12, width=WIDTH, depth=1, num_heads=1, mlp_dim=96, activation=activation)
    return _random(vision, text)


def siglip() -> Backbone:
    vision = VisionTransformer(
        8, WIDTH, 2, 1, 96, "gelu_pytorch_tanh", epsilon=1e-6, pre_norm=False, patch_bias=True, pool="attention"
    )
    text = TextTransformer(18, 12, WIDTH, 1, 1, 96, "gelu_pytorch_tanh", epsilon=1e-6, causal=False)
    return _random(vision, text, sigmoid=True)


def vit() -> Backbone:
    """The ImageNet-21K ViT."""
    return _random(VisionTransformer(8, WIDTH, 2, 1, 96, "gelu", epsilon=1e-6, pre_norm=False, patch_bias=True))


def _random(vision: VisionTransformer, text: TextTransformer | None = None, sigmoid: bool = False) -> Backbone:
    images, tokens = jnp.zeros((1, SIDE, SIDE, 3)), jnp.zeros((1, 12), jnp.int32)
    if text is None:
        shapes = {"vision": jax.eval_shape(vision.init, jax.random.key(0), images)["params"]}
    else:
        whole = CLIP(vision, text, WIDTH if sigmoid else 24, not sigmoid, sigmoid)
        shapes = jax.eval_shape(whole.init, jax.random.key(0), images, tokens)["params"]
    generator = np.random.default_rng(0)
    params = jax.tree.map(lambda x: generator.normal(0.1, 0.2, x.shape).astype(np.float32), shapes)
    half = (0.5, 0.5, 0.5)
    return Backbone("tiny", vision, params, SIDE, half, half, text, None, content_hash(params))


def openai_arrays(backbone: Backbone) -> dict[str, np.ndarray]:
    """The arrays by OpenAI's and open_clip's names."""
    assert not isinstance(backbone.vision, ConvNeXt)
    embed = backbone.params["text_projection"].shape[1]
    return arrays.write(openai.table(backbone.vision, backbone.text, SIDE, embed), backbone.params)


def timm_arrays(backbone: Backbone) -> dict[str, np.ndarray]:
    assert isinstance(backbone.vision, VisionTransformer)
    return arrays.write(timm_vit.table(backbone.vision, SIDE), {"vision": backbone.params["vision"]})


def write_timm(folder: Path, backbone: Backbone, **config: Any) -> Path:
    pretrained = dict(input_size=[3, SIDE, SIDE], mean=[0.5] * 3, std=[0.5] * 3)
    content = dict(architecture="vit_tiny_patch8_16", global_pool="token", pretrained_cfg=pretrained) | config
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(content))
    safetensors.numpy.save_file(timm_arrays(backbone), folder / "model.safetensors")
    return folder


def write_augreg(file: Path, backbone: Backbone) -> Path:
    assert isinstance(backbone.vision, VisionTransformer)
    table = augreg._table(backbone.vision, (SIDE // 8) ** 2 + 1)
    np.savez(file, **arrays.write(table, backbone.params))  # pyright: ignore[reportArgumentType]
    return file


def write_torch(file: Path, content: Any) -> Path:
    """What torch.save writes of arrays by name, which may lie deeper in `content`."""
    import torch

    def tensors(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: tensors(value) for key, value in node.items()}
        if isinstance(node, list):
            return [tensors(value) for value in node]
        return torch.tensor(node) if isinstance(node, np.ndarray) else node

    torch.save(tensors(content), file)
    return file


def write_torchscript(file: Path, flat: dict[str, np.ndarray], activation: Any = None) -> Path:
    """An archive whose module has the arrays; a module of the class `activation` is among its modules."""
    import torch

    root = torch.nn.Module()
    for name, array in flat.items():
        *path, leaf = name.split(".")
        module = root
        for part in path:
            if part not in dict(module.named_children()):
                module.add_module(part, torch.nn.Module())
            module = module.get_submodule(part)
        module.register_buffer(leaf, torch.tensor(array))
    if activation is not None:
        root.add_module("gelu", activation())
    torch.jit.save(torch.jit.script(root), str(file))
    return file


LAYOUTS: dict[str, tuple[str, Callable[[], Backbone], Callable[[Path, Backbone], Any]]] = {
    "transformers' CLIP": ("clip", clip, huggingface.save_backbone),
    "transformers' SigLIP": ("siglip", siglip, huggingface.save_backbone),
    "transformers' ViT": ("vit", vit, huggingface.save_backbone),
    "open_clip": ("open_clip", clip, open_clip.save_backbone),
    "timm": ("timm", vit, write_timm),
    "AugReg": ("augreg.npz", vit, write_augreg),
    "OpenAI": ("archive.pt", clip, lambda file, backbone: write_torchscript(file, openai_arrays(backbone))),
    "state dict": ("openai.pt", clip, lambda file, backbone: write_torch(file, openai_arrays(backbone))),
}
"""Of each layout: what its file or folder is called, what is in it, and how it is written."""


def write(layout: str, folder: Path) -> Path:
    """The file or folder of a layout, newly written into `folder`."""
    name, make, save = LAYOUTS[layout]
    save(folder / name, make())
    return folder / name


def alone(backbone: Backbone) -> Backbone:
    """The image tower alone."""
    return dataclasses.replace(backbone, params={"vision": backbone.params["vision"]}, text=None, tokenizer=None)
