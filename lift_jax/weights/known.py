"""Well-known backbones and the many ways in which people write their names."""

import difflib
import re
from typing import NamedTuple

ASK = "ask the card"


class Known(NamedTuple):
    """A well-known backbone of the hub.

    Attributes:
        short: what `config.backbone` may call it.
        hub: its id.
        label: what people call it.
        image: the parameters of its image tower, in millions.
        both: those of both towers; None if it has no text tower.
        pixels: the side of its input as its files have it.
        licence: as its card states it.
    """

    short: str
    hub: str
    label: str
    image: float
    both: float | None
    pixels: int
    licence: str

    @property
    def start(self) -> str:
        """What suits it of `config.head_init`."""
        return "class_mean, linear_probe" if self.both is None else "text"


BACKBONES = (
    Known("clip-b32", "openai/clip-vit-base-patch32", "CLIP ViT-B/32", 87.5, 151.3, 224, ASK),
    Known("clip-b16", "openai/clip-vit-base-patch16", "CLIP ViT-B/16", 85.8, 149.6, 224, ASK),
    Known("clip-l14", "openai/clip-vit-large-patch14", "CLIP ViT-L/14", 303.2, 427.6, 224, ASK),
    Known("clip-l14-336", "openai/clip-vit-large-patch14-336", "CLIP ViT-L/14@336", 303.5, 427.9, 336, ASK),
    Known(
        "in21k-b16",
        "timm/vit_base_patch16_224.augreg_in21k_ft_in1k",
        "ImageNet-21K ViT-B/16",
        85.8,
        None,
        224,
        "apache-2.0",
    ),
    Known(
        "in21k-b16-384",
        "timm/vit_base_patch16_384.augreg_in21k_ft_in1k",
        "ImageNet-21K ViT-B/16@384",
        86.1,
        None,
        384,
        "apache-2.0",
    ),
    Known(
        "in21k-l16",
        "timm/vit_large_patch16_224.augreg_in21k_ft_in1k",
        "ImageNet-21K ViT-L/16",
        303.3,
        None,
        224,
        "apache-2.0",
    ),
    Known("laion-b16", "laion/CLIP-ViT-B-16-laion2B-s34B-b88K", "OpenCLIP ViT-B/16 (LAION)", 85.8, 149.6, 224, "mit"),
    Known(
        "datacomp-b16",
        "laion/CLIP-ViT-B-16-DataComp.XL-s13B-b90K",
        "OpenCLIP ViT-B/16 (DataComp)",
        85.8,
        149.6,
        224,
        "mit",
    ),
    Known("laion-l14", "laion/CLIP-ViT-L-14-laion2B-s32B-b82K", "OpenCLIP ViT-L/14 (LAION)", 303.2, 427.6, 224, "mit"),
    Known(
        "datacomp-l14",
        "laion/CLIP-ViT-L-14-DataComp.XL-s13B-b90K",
        "OpenCLIP ViT-L/14 (DataComp)",
        303.2,
        427.6,
        224,
        "mit",
    ),
    Known("laion-h14", "laion/CLIP-ViT-H-14-laion2B-s32B-b79K", "OpenCLIP ViT-H/14 (LAION)", 630.8, 986.1, 224, "mit"),
    Known(
        "convnext-b",
        "laion/CLIP-convnext_base_w-laion2B-s13B-b82K-augreg",
        "OpenCLIP ConvNeXt-B",
        87.6,
        179.4,
        256,
        "mit",
    ),
    Known(
        "convnext-l",
        "laion/CLIP-convnext_large_d_320.laion2B-s29B-b131K-ft-soup",
        "OpenCLIP ConvNeXt-L@320",
        199.8,
        351.8,
        320,
        "mit",
    ),
    Known("siglip-b16", "google/siglip-base-patch16-224", "SigLIP ViT-B/16", 92.9, 203.2, 224, "apache-2.0"),
    Known("siglip-so400m", "google/siglip-so400m-patch14-384", "SigLIP SO400M/14", 428.2, 878.0, 384, "apache-2.0"),
    Known("siglip2-b16", "google/siglip2-base-patch16-224", "SigLIP 2 ViT-B/16", 92.9, 375.2, 224, "apache-2.0"),
    Known("siglip2-l16", "google/siglip2-large-patch16-256", "SigLIP 2 ViT-L/16", 316.0, 881.5, 256, "apache-2.0"),
    Known(
        "siglip2-so400m", "google/siglip2-so400m-patch16-256", "SigLIP 2 SO400M/16", 427.9, 1135.7, 256, "apache-2.0"
    ),
    Known(
        "siglip2-b16-naflex",
        "google/siglip2-base-patch16-naflex",
        "SigLIP 2 ViT-B/16 NaFlex",
        92.9,
        375.2,
        256,
        "apache-2.0",
    ),
    Known("bioclip", "imageomics/bioclip", "BioCLIP ViT-B/16", 85.8, 149.6, 224, "mit"),
    Known("bioclip-2", "imageomics/bioclip-2", "BioCLIP 2 ViT-L/14", 303.2, 427.6, 224, "mit"),
    Known("bioclip-2.5", "imageomics/bioclip-2.5-vith14", "BioCLIP 2.5 ViT-H/14", 630.8, 986.1, 224, ASK),
    Known("metaclip-b16", "facebook/metaclip-b16-fullcc2.5b", "MetaCLIP ViT-B/16", 85.8, 149.6, 224, "cc-by-nc-4.0"),
    Known("metaclip-l14", "facebook/metaclip-l14-fullcc2.5b", "MetaCLIP ViT-L/14", 303.2, 427.6, 224, "cc-by-nc-4.0"),
    Known("metaclip-h14", "facebook/metaclip-h14-fullcc2.5b", "MetaCLIP ViT-H/14", 630.8, 986.1, 224, "cc-by-nc-4.0"),
    Known("dfn-b16", "apple/DFN2B-CLIP-ViT-B-16", "DFN ViT-B/16", 85.8, 149.6, 224, ASK),
    Known("dfn-l14", "apple/DFN2B-CLIP-ViT-L-14", "DFN ViT-L/14", 303.2, 427.6, 224, ASK),
    Known("dfn-h14", "apple/DFN5B-CLIP-ViT-H-14", "DFN ViT-H/14", 630.8, 986.1, 224, ASK),
    Known("dinov2-s", "facebook/dinov2-small", "DINOv2 ViT-S/14", 22.1, None, 518, "apache-2.0"),
    Known("dinov2-b", "facebook/dinov2-base", "DINOv2 ViT-B/14", 86.6, None, 518, "apache-2.0"),
    Known("dinov2-l", "facebook/dinov2-large", "DINOv2 ViT-L/14", 304.4, None, 518, "apache-2.0"),
    Known("dinov2-g", "facebook/dinov2-giant", "DINOv2 ViT-g/14", 1136.5, None, 518, "apache-2.0"),
    Known(
        "dinov2-s-reg",
        "facebook/dinov2-with-registers-small",
        "DINOv2 ViT-S/14 with registers",
        22.1,
        None,
        518,
        "apache-2.0",
    ),
    Known(
        "dinov2-b-reg",
        "facebook/dinov2-with-registers-base",
        "DINOv2 ViT-B/14 with registers",
        86.6,
        None,
        518,
        "apache-2.0",
    ),
    Known(
        "dinov2-l-reg",
        "facebook/dinov2-with-registers-large",
        "DINOv2 ViT-L/14 with registers",
        304.4,
        None,
        518,
        "apache-2.0",
    ),
    Known(
        "dinov2-g-reg",
        "facebook/dinov2-with-registers-giant",
        "DINOv2 ViT-g/14 with registers",
        1136.5,
        None,
        518,
        "apache-2.0",
    ),
    Known("dinov3-s", "facebook/dinov3-vits16-pretrain-lvd1689m", "DINOv3 ViT-S/16", 21.6, None, 224, "dinov3-license"),
    Known(
        "dinov3-s-plus",
        "facebook/dinov3-vits16plus-pretrain-lvd1689m",
        "DINOv3 ViT-S-plus/16",
        28.7,
        None,
        224,
        "dinov3-license",
    ),
    Known("dinov3-b", "facebook/dinov3-vitb16-pretrain-lvd1689m", "DINOv3 ViT-B/16", 85.7, None, 224, "dinov3-license"),
    Known(
        "dinov3-l", "facebook/dinov3-vitl16-pretrain-lvd1689m", "DINOv3 ViT-L/16", 303.2, None, 224, "dinov3-license"
    ),
    Known(
        "dinov3-h-plus",
        "facebook/dinov3-vith16plus-pretrain-lvd1689m",
        "DINOv3 ViT-H-plus/16",
        840.6,
        None,
        224,
        "dinov3-license",
    ),
    Known(
        "dinov3-7b",
        "facebook/dinov3-vit7b16-pretrain-lvd1689m",
        "DINOv3 ViT-7B/16",
        6716.5,
        None,
        224,
        "dinov3-license",
    ),
    Known(
        "eva02-b16",
        "timm/eva02_base_patch16_clip_224.merged2b_s8b_b131k",
        "EVA02-CLIP ViT-B/16",
        85.9,
        149.7,
        224,
        ASK,
    ),
    Known(
        "eva02-l14",
        "timm/eva02_large_patch14_clip_224.merged2b_s4b_b131k",
        "EVA02-CLIP ViT-L/14",
        303.3,
        427.8,
        224,
        ASK,
    ),
    Known(
        "eva02-l14-336",
        "timm/eva02_large_patch14_clip_336.merged2b_s6b_b61k",
        "EVA02-CLIP ViT-L/14@336",
        303.7,
        428.1,
        336,
        ASK,
    ),
    Known("pe-b16", "timm/PE-Core-B-16", "Perception Encoder ViT-B/16", 92.9, 447.7, 224, ASK),
    Known("pe-l14", "timm/PE-Core-L-14-336", "Perception Encoder ViT-L/14@336", 316.1, 671.1, 336, ASK),
    Known("pe-g14", "timm/PE-Core-bigG-14-448", "Perception Encoder ViT-G/14@448", 1880.1, 2419.3, 448, ASK),
    Known("aimv2-l14", "apple/aimv2-large-patch14-224", "AIMv2 ViT-L/14", 309.5, None, 224, ASK),
    Known(
        "metaclip2-h14",
        "facebook/metaclip-2-worldwide-huge-quickgelu",
        "MetaCLIP 2 ViT-H/14",
        630.8,
        1858.8,
        224,
        ASK,
    ),
)
"""The models that are known by a short name."""

MODELS = {known.hub: known.label for known in BACKBONES}
"""Hub ids, and what the models are called."""

SHORT = {known.short: known.hub for known in BACKBONES}
"""Short names of hub ids."""

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
    """Returns the end of a sentence: what to write instead of a name that is no file, folder or hub repository.

    Args:
        name: as somebody wrote it, such as `CLIP-ViT-B/16`.
    """
    if re.fullmatch(r"vit_\w+_patch\d+_\w+\.\w+", name):
        return f", such as timm/{name}"
    models, given = {**MODELS, **_OTHERS}, _words(name)
    likeness = {model: _likeness(given, _words(label)) for model, label in models.items()}
    best = sorted(models, key=lambda model: -likeness[model])
    part, near = _squeezed(name), []
    if len(part) > 4 and likeness[best[0]] < 0.5:  # such as `PE-Core-L14`
        near = [known.short for known in BACKBONES if any(part in _squeezed(each) for each in known[:3])][:2]
    near = near or difflib.get_close_matches(name.lower(), SHORT, 2, 0.8)
    if near and likeness[best[0]] < 1:
        return ", such as " + " or ".join(f"{short} ({SHORT[short]})" for short in near)
    best = best[: 1 if likeness[best[0]] == 1 else 2]
    shown = " or ".join(f"{model} ({models[model]})" for model in best if likeness[model] >= 0.5)
    return f", such as {shown or 'openai/clip-vit-base-patch16'}"


def _squeezed(name: str) -> str:
    return re.sub("[^a-z0-9]", "", name.lower())


def _likeness(one: set[str], other: set[str]) -> float:
    """Returns the share of the words of both that they have in common."""
    return len(one & other) / len(one | other)


def _words(name: str) -> set[str]:
    """Returns the parts of a name: `ViT-B/16`, `vit_base_patch16` and `ViT-B-16` have the same."""
    name = name.lower()
    for pattern, word in _SAME:
        name = re.sub(pattern, word, name)
    return set(re.findall(r"[a-z]+|\d+", name))
