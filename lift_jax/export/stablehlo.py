"""The classifier as StableHLO in jax.export's envelope."""

from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import export
from jaxtyping import Float, UInt8

from lift_jax.export import classifier
from lift_jax.inference.model import Model

FILE = "model.stablehlo"
_PLATFORMS = ("cpu", "cuda", "rocm", "tpu")

Run = Callable[[UInt8[np.ndarray, "b height width 3"]], Float[np.ndarray, "b classes"]]
"""An exported classifier is a function from images to logits."""


def write(model: Model, folder: Path, squares: bool = False) -> Path:
    """Writes the classifier for batches of any size, on CPU, GPU and TPU.

    Args:
        model: the run's classifier.
        folder: the folder that the file is written into.
        squares: whether its images are resized and cropped already; otherwise they are of any size, and it does that.
    """
    batch, height, width = export.symbolic_shape("batch, height, width")
    side = model.network.input.resolution
    shape = (batch, side, side, 3) if squares else (batch, height, width, 3)
    function = classifier.function(model) if squares else classifier.of_photographs(model)
    exported = export.export(jax.jit(function), platforms=_PLATFORMS)(jax.ShapeDtypeStruct(shape, jnp.uint8))
    (folder / FILE).write_bytes(exported.serialize())
    return folder / FILE


def read(file: Path) -> Run:
    """Reads the exported classifier, without anything of lift_jax."""
    exported = export.deserialize(bytearray(file.read_bytes()))
    return lambda images: np.asarray(exported.call(images))
