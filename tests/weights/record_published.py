"""Records what arrays published checkpoints have: `python tests/weights/record_published.py`, into published.json.

No weights are fetched. Each model is built at its real size on PyTorch's meta device, where arrays have shapes alone,
by the library whose format its files are in, from the configuration that the model is published with: what its
config.json says beside transformers' defaults, the architectures that timm registers, and the configurations that
open_clip ships. It needs torch, transformers, timm and open_clip (tests/requirements-parity.txt).
"""

import json
import re
from pathlib import Path

FILE = Path(__file__).with_name("published.json")

CLIP_B16 = dict(vision_config=dict(patch_size=16), text_config={}, projection_dim=512)
CLIP_L14 = dict(
    vision_config=dict(
        patch_size=14, hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16
    ),
    text_config=dict(hidden_size=768, intermediate_size=3072, num_attention_heads=12),
    projection_dim=768,
)
HUGE = dict(patch_size=14, hidden_size=1280, intermediate_size=5120, num_hidden_layers=32, num_attention_heads=16)
METACLIP2_H14 = dict(
    vision_config=HUGE,
    text_config=dict(
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=24,
        num_attention_heads=16,
        vocab_size=901629,
        eos_token_id=2,
    ),
    projection_dim=1024,
)
SO400M = dict(hidden_size=1152, intermediate_size=4304, num_hidden_layers=27, num_attention_heads=16)
V2_L = dict(hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, image_size=518, patch_size=14)
V2_G = dict(hidden_size=1536, num_hidden_layers=40, num_attention_heads=24, image_size=518, patch_size=14)
V3 = dict(image_size=224, patch_size=16, num_register_tokens=4, key_bias=False)
V3_L = V3 | dict(hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16)
V3_H_PLUS = V3 | dict(hidden_size=1280, intermediate_size=5120, num_hidden_layers=32, num_attention_heads=20)
V3_7B = V3 | dict(hidden_size=4096, intermediate_size=8192, num_hidden_layers=40, num_attention_heads=32)
GATED = dict(use_gated_mlp=True, hidden_act="silu")

TRANSFORMERS = {
    "clip-b16": ("CLIPModel", CLIP_B16),
    "clip-l14": ("CLIPModel", CLIP_L14),
    "metaclip2-h14": ("MetaClip2Model", METACLIP2_H14),
    "siglip-b16": ("SiglipModel", dict(vision_config={}, text_config={})),
    "siglip-so400m": (
        "SiglipModel",
        dict(vision_config=SO400M | dict(image_size=384, patch_size=14), text_config=SO400M),
    ),
    "siglip2-b16": ("SiglipModel", dict(vision_config={}, text_config=dict(vocab_size=256000))),
    "siglip2-b16-naflex": ("Siglip2Model", dict(vision_config={}, text_config=dict(vocab_size=256000))),
    "dinov2-b": ("Dinov2Model", dict(image_size=518, patch_size=14)),
    "dinov2-g": ("Dinov2Model", V2_G | dict(use_swiglu_ffn=True)),
    "dinov2-l-reg": ("Dinov2WithRegistersModel", V2_L | dict(num_register_tokens=4)),
    "dinov3-l": ("DINOv3ViTModel", V3_L),
    "dinov3-h-plus": ("DINOv3ViTModel", V3_H_PLUS | GATED),
    "dinov3-7b": ("DINOv3ViTModel", V3_7B | GATED | dict(query_bias=False, value_bias=False)),
    "aimv2-l14": ("Aimv2VisionModel", dict(use_head=False)),
}
"""Short names of models, with their class in transformers and what their config.json says beside its defaults."""

TIMM = {
    "in21k-b16": ("vit_base_patch16_224", {}),
    "in21k-l16": ("vit_large_patch16_224", {}),
    "timm-dinov2-g-reg": ("vit_giant_patch14_reg4_dinov2", dict(num_classes=0)),
    "timm-dinov3-l": ("vit_large_patch16_dinov3", dict(num_classes=0)),
    "timm-dinov3-h-plus": ("vit_huge_plus_patch16_dinov3", dict(num_classes=0)),
    "timm-siglip-so400m": ("vit_so400m_patch14_siglip_384", dict(num_classes=0)),
    "timm-eva02-b16": ("eva02_base_patch16_clip_224", dict(num_classes=512)),
    "timm-pe-b16": ("vit_pe_core_base_patch16_224", {}),
    "timm-aimv2-l14": ("aimv2_large_patch14_224", dict(num_classes=0)),
}
"""Names, with the architecture and the arguments that timm builds it by."""

OPEN_CLIP = {
    "laion-b16": "ViT-B-16",
    "laion-l14": "ViT-L-14",
    "laion-h14": "ViT-H-14",
    "open-clip-siglip-b16": "ViT-B-16-SigLIP",
    "open-clip-siglip2-so400m": "ViT-SO400M-16-SigLIP2-256",
    "eva02-b16": "EVA02-B-16",
    "eva02-l14-336": "EVA02-L-14-336",
    "pe-b16": "PE-Core-B-16",
    "pe-g14": "PE-Core-bigG-14-448",
    "convnext-b": "convnext_base_w",
    "convnext-l": "convnext_large_d_320",
}
"""Short names of models, and what open_clip calls their configurations. BioCLIP's are those of LAION's models."""


def transformers_model(kind, config):
    import torch
    import transformers
    from transformers.core_model_loading import revert_weight_conversion

    settings = getattr(transformers, kind.removesuffix("Model").replace("VisionModel", "Vision") + "Config")(**config)
    with torch.device("meta"):
        model = getattr(transformers, kind)(settings)
    content = {"model_type": settings.model_type, **config}
    # As save_pretrained writes them: some models have other names in memory.
    return {"config.json": content}, revert_weight_conversion(model, model.state_dict())


def timm_model(architecture, options):
    import timm
    import torch

    with torch.device("meta"):
        model = timm.create_model(architecture, **options)
    known = model.pretrained_cfg
    pretrained = {key: known[key] for key in ("input_size", "mean", "std")}
    pool = getattr(model, "global_pool", None)
    content = dict(architecture=architecture, global_pool=pool, pretrained_cfg=pretrained)
    return {"config.json": content}, model.state_dict()


def open_clip_model(name):
    import open_clip
    import torch

    config = open_clip.get_model_config(name)
    options = {key: value for key, value in config.items() if key != "custom_text"}
    kind = open_clip.CustomTextCLIP if config.get("custom_text") else open_clip.CLIP
    with torch.device("meta"):
        model = kind(**options)
    return {"open_clip_config.json": dict(model_cfg=config)}, model.state_dict()


def compact(arrays):
    """The shapes by names in which a block's number is a star, with the numbers of blocks."""
    found = {}
    for name, array in arrays.items():
        key = re.sub(r"\b(layers|layer|resblocks|blocks)\.\d+\.", r"\1.*.", name)
        count, shape = found.get(key, (0, list(array.shape)))
        assert shape == list(array.shape), name
        found[key] = count + 1, shape
    return {key: [*shape] if "*" not in key else [count, *shape] for key, (count, shape) in found.items()}


def expand(arrays):
    """The inverse of `compact`."""
    return {
        key.replace("*", str(i)): tuple(shape[1:] if "*" in key else shape)
        for key, shape in arrays.items()
        for i in range(shape[0] if "*" in key else 1)
    }


def record(name):
    """The files and arrays of one model, as its library has them."""
    if name in TRANSFORMERS:
        files, arrays = transformers_model(*TRANSFORMERS[name])
    elif name in TIMM:
        files, arrays = timm_model(*TIMM[name])
    else:
        files, arrays = open_clip_model(OPEN_CLIP[name])
    return dict(files=files, arrays=compact(arrays))


def main():
    import open_clip
    import timm
    import transformers

    versions = f"transformers {transformers.__version__}, timm {timm.__version__}, open_clip {open_clip.__version__}"
    about = f"Made by record_published.py with {versions}: a star is a block's number, and the first number of its "
    about += "shape is how many there are."
    lines = [f'"about": {json.dumps(about)}']
    lines += [f"{json.dumps(name)}: {json.dumps(record(name))}" for name in (*TRANSFORMERS, *TIMM, *OPEN_CLIP)]
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
