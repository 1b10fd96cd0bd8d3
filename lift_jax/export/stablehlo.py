"""The classifier as StableHLO in jax.export's envelope."""

from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import export
from jaxtyping import Float, UInt8

from lift_jax.export.classifier import function
from lift_jax.inference import Model

FILE = "model.stablehlo"
_PLATFORMS = ("cpu", "cuda", "rocm", "tpu")

Run = Callable[[UInt8[np.ndarray, "b side side 3"]], Float[np.ndarray, "b classes"]]
"""An exported classifier: images to logits."""


def write(model: Model, folder: Path) -> Path:
    """Writes the classifier for batches of any size, on CPU, GPU and TPU."""
    side = model.pixels.resolution
    (batch,) = export.symbolic_shape("batch")
    images = jax.ShapeDtypeStruct((batch, side, side, 3), jnp.uint8)
    exported = export.export(jax.jit(function(model)), platforms=_PLATFORMS)(images)
    (folder / FILE).write_bytes(exported.serialize())
    return folder / FILE


def read(file: Path) -> Run:
    """The exported classifier, without anything of lift_jax."""
    exported = export.deserialize(bytearray(file.read_bytes()))
    return lambda images: np.asarray(exported.call(images))
