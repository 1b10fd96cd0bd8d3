"""timm's ConvNeXts, alone and as image towers of OpenCLIP's CLIPs: the network of a file's arrays, and their places."""

import re

from lift_jax.errors import UserError
from lift_jax.models.convnext import KERNEL, MLP_RATIO, ConvNeXt
from lift_jax.weights.arrays import (
    Entry,
    Foreign,
    block_numbers,
    convolution,
    linear,
    norm,
    same,
    transposed,
)
from lift_jax.weights.timm_vit import depth

FIRST_WEIGHT = "stem.0.weight"

KNOWN_BY = "stages.0.blocks.0.conv_dw.weight"
"""What a file of a ConvNeXt is known by: other networks have a stem of the same name."""

EXAMPLE = "convnext_base"

_NAMES = re.compile(r"convnext_(tiny|small|base|large|large_mlp|xlarge|xxlarge)")
_EPSILON = {"convnext_xxlarge": 1e-5}


def is_known(architecture: object) -> bool:
    """Tells whether timm's name of an architecture is that of a ConvNeXt that is known here."""
    return isinstance(architecture, str) and _NAMES.fullmatch(architecture) is not None


def network(architecture: str, foreign: Foreign, projection: tuple[int, int] | None, source: str) -> ConvNeXt:
    """Makes the network of a file's arrays.

    Args:
        architecture: timm's name of it.
        foreign: the arrays by timm's names.
        projection: as of `ConvNeXt`.
        source: what to call the file in a message.

    Raises:
        UserError: if an array is missing by which the network is known.
    """
    a, b, c, d = (depth(foreign, f"stages.{i}.blocks") for i in range(4))
    norms = [f"stages.{stage}.blocks.0.norm.weight" for stage in range(4)]
    for name in norms:
        shape = foreign[name].shape if name in foreign else None
        if shape is None or len(shape) != 1:
            what = "is missing" if shape is None else f"has the shape {shape} instead of (width,)"
            raise UserError(f"{source}: {name} {what}; take the file from the model's source again.")
    i, j, k, n = (foreign[name].shape[0] for name in norms)
    return ConvNeXt((a, b, c, d), (i, j, k, n), projection, _EPSILON.get(architecture, 1e-6))


def table(vision: ConvNeXt) -> list[Entry]:
    """Describes the places of all arrays but those of the projection."""
    entries = [
        convolution("vision/conv_stem/kernel", FIRST_WEIGHT, 4, 3, vision.widths[0]),
        same("vision/conv_stem/bias", "stem.0.bias", vision.widths[0]),
        *norm("vision/ln_stem", "stem.1", vision.widths[0]),
        *norm("vision/ln_post", "head.norm", vision.widths[-1]),
    ]
    inputs = vision.widths[0]
    for stage, (number, width) in enumerate(zip(vision.depths, vision.widths, strict=True)):
        ours, theirs = f"vision/stage_{stage}", f"stages.{stage}"
        if stage:
            entries += [
                *norm(f"{ours}/ln_down", f"{theirs}.downsample.0", inputs),
                convolution(f"{ours}/conv_down/kernel", f"{theirs}.downsample.1.weight", 2, inputs, width),
                same(f"{ours}/conv_down/bias", f"{theirs}.downsample.1.bias", width),
            ]
        for i in block_numbers(number):
            entries += _block(f"{ours}/block_{i}", f"{theirs}.blocks.{i}", width)
        inputs = width
    return entries


def _block(ours: str, theirs: str, width: int) -> list[Entry]:
    return [
        convolution(f"{ours}/conv/kernel", f"{theirs}.conv_dw.weight", KERNEL, 1, width),
        same(f"{ours}/conv/bias", f"{theirs}.conv_dw.bias", width),
        *norm(f"{ours}/ln", f"{theirs}.norm", width),
        *linear(f"{ours}/mlp_in", f"{theirs}.mlp.fc1", width, MLP_RATIO * width),
        *linear(f"{ours}/mlp_out", f"{theirs}.mlp.fc2", MLP_RATIO * width, width),
        same(f"{ours}/layer_scale", f"{theirs}.gamma", width),
    ]


def projection_table(vision: ConvNeXt, name: str) -> list[Entry]:
    """Describes the MLP into the space of the texts, if there is one.

    Args:
        vision: the network.
        name: what stands before `fc1` and `fc2` in the names of its arrays, with the separator.
    """
    if vision.projection is None:
        return []
    hidden, features = vision.projection
    return [
        *linear("vision/proj_in", f"{name}fc1", vision.widths[-1], hidden),
        transposed("vision/proj_out/kernel", f"{name}fc2.weight", hidden, features),
    ]
