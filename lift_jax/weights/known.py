"""Well-known backbones and the many ways in which people write their names."""

import re

MODELS = {
    "openai/clip-vit-base-patch32": "CLIP ViT-B/32",
    "openai/clip-vit-base-patch16": "CLIP ViT-B/16",
    "openai/clip-vit-large-patch14": "CLIP ViT-L/14",
    "openai/clip-vit-large-patch14-336": "CLIP ViT-L/14@336",
    "timm/vit_base_patch16_224.augreg_in21k_ft_in1k": "ImageNet-21K ViT-B/16",
    "timm/vit_base_patch16_384.augreg_in21k_ft_in1k": "ImageNet-21K ViT-B/16@384",
    "timm/vit_large_patch16_224.augreg_in21k_ft_in1k": "ImageNet-21K ViT-L/16",
    "laion/CLIP-ViT-B-16-laion2B-s34B-b88K": "OpenCLIP ViT-B/16 (LAION)",
    "laion/CLIP-ViT-B-16-DataComp.XL-s13B-b90K": "OpenCLIP ViT-B/16 (DataComp)",
    "laion/CLIP-ViT-L-14-laion2B-s32B-b82K": "OpenCLIP ViT-L/14 (LAION)",
    "laion/CLIP-ViT-L-14-DataComp.XL-s13B-b90K": "OpenCLIP ViT-L/14 (DataComp)",
    "laion/CLIP-ViT-H-14-laion2B-s32B-b79K": "OpenCLIP ViT-H/14 (LAION)",
    "google/siglip-base-patch16-224": "SigLIP ViT-B/16",
    "google/siglip-so400m-patch14-384": "SigLIP SO400M/14",
    "google/siglip2-base-patch16-224": "SigLIP 2 ViT-B/16",
    "google/siglip2-large-patch16-256": "SigLIP 2 ViT-L/16",
    "google/siglip2-so400m-patch16-256": "SigLIP 2 SO400M/16",
}
"""Hub ids of the models in the README, and what they are called there."""

_OTHERS = {"PATH/RN50.pt": "CLIP ResNet-50", "PATH/RN101.pt": "CLIP ResNet-101"}
"""Models of the README that are files of OpenAI's."""

_SAME = (
    (r"patch|px\b", " "),
    (r"rn(?=\d)", "resnet "),
    (r"vit(?=[blh]\d)", "vit "),
    (r"base", "b"),
    (r"large", "l"),
    (r"huge", "h"),
    (r"(in|imagenet)[-_]?21k", "imagenet"),
)
"""What is written in several ways, and the one that is compared."""


def hint(name: str) -> str:
    """What to write instead of a name that is none of a file, a folder or a hub repository: the end of a sentence.

    Args:
        name: as somebody wrote it, such as `CLIP-ViT-B/16`.
    """
    if re.fullmatch(r"vit_\w+_patch\d+_\w+\.\w+", name):
        return f", such as timm/{name}"
    models, given = {**MODELS, **_OTHERS}, _words(name)
    likeness = {model: _likeness(given, _words(label)) for model, label in models.items()}
    best = sorted(models, key=lambda model: -likeness[model])
    best = best[: 1 if likeness[best[0]] == 1 else 2]
    shown = " or ".join(f"{model} ({models[model]})" for model in best if likeness[model] >= 0.5)
    return f", such as {shown or 'openai/clip-vit-base-patch16'}"


def _likeness(one: set[str], other: set[str]) -> float:
    """The share of the words of both that they have in common."""
    return len(one & other) / len(one | other)


def _words(name: str) -> set[str]:
    """The parts of a name: `ViT-B/16`, `vit_base_patch16` and `ViT-B-16` have the same."""
    name = name.lower()
    for pattern, word in _SAME:
        name = re.sub(pattern, word, name)
    return set(re.findall(r"[a-z]+|\d+", name))
