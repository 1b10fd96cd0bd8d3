"""The classifier as ONNX."""

import logging
import warnings
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from lift_jax.errors import UserError, first_line
from lift_jax.export.classifier import function, in_float32
from lift_jax.export.stablehlo import Run
from lift_jax.inference.model import Model

FILE = "model.onnx"


def write(model: Model, folder: Path) -> Path:
    """Writes the classifier for batches of any size.

    It computes in float32 (see `lift_jax.export.classifier.in_float32`): onnxruntime has no convolution for bfloat16.

    Raises:
        UserError: if jax2onnx is not installed, or does not know an operation of the model.
    """
    try:
        from jax2onnx import to_onnx
    except ImportError as error:
        raise UserError("--format onnx needs the package jax2onnx; pip install jax2onnx onnxruntime.") from error
    logging.getLogger("onnx_ir").setLevel(logging.ERROR)  # it warns of each shape that depends on the batch
    side = model.network.input.resolution
    images: Any = jax.ShapeDtypeStruct(("batch", side, side, 3), jnp.uint8)  # pyright: ignore[reportArgumentType]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            to_onnx(
                function(in_float32(model)), [images], model_name="lift_jax", return_mode="file",
                output_path=str(folder / FILE), input_names=["images"], output_names=["logits"],
            )  # fmt: skip
    except Exception as error:  # of whatever kind the converter's plug-ins raise
        raise UserError(
            f"jax2onnx cannot convert this model ({first_line(error)}); export it with --format stablehlo."
        ) from error
    return folder / FILE


def read(file: Path) -> Run:
    """Loads the exported classifier into onnxruntime."""
    try:
        import onnxruntime
    except ImportError as error:
        raise UserError("Checking an ONNX file needs the package onnxruntime; pip install onnxruntime.") from error
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda images: session.run(None, {name: images})[0]
