"""The stage of `lift_jax.bench.gpu` that compares the device with the CPU."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from lift_jax import weights
from lift_jax.bench.gpu_stages import Found
from lift_jax.bench.workload import Workload
from lift_jax.classifier import frozen as storage
from lift_jax.models import image_input, partition
from lift_jax.models.device import suited_to

_EXACT = "float32", "highest", "auto"
_CASES: dict[str, tuple[str, str, str]] = {
    "float32": _EXACT,
    "float32 by TF32": ("float32", "default", "auto"),
    "bfloat16": ("bfloat16", "default", "auto"),
    "bfloat16 with fp8 kernels": ("bfloat16", "default", "fp8"),
    "bfloat16 with int8 kernels": ("bfloat16", "default", "int8"),
}
"""config.dtype, config.matmul_precision and config.frozen_dtype."""


def parity(smoke: bool) -> Found:
    """Compares features, loss and gradient of the small CLIP with those of the CPU in float32."""
    backbone = weights.load("quickstart")
    vision: Any = backbone.vision
    work = Workload(vision, backbone.resolution, 8, 10, 8 if smoke else 64)
    given = backbone.params["vision"]
    expected = _outcome(work, given, *_EXACT, jax.devices("cpu")[0])
    here = jax.devices()[0]
    found: Found = {}
    for name, case in _CASES.items():
        features, loss, gradient = _outcome(work, given, *case, here)
        apart = np.linalg.norm(features - expected[0]) / np.linalg.norm(expected[0])
        cosine = gradient @ expected[2] / (np.linalg.norm(gradient) * np.linalg.norm(expected[2]))
        found[name] = f"features {apart:.1e}, loss {abs(loss - expected[1]):.1e}, cosine of the gradient {cosine:.6f}"
    return found


def _outcome(
    work: Workload, backbone: Any, dtype: str, precision: str, frozen_dtype: str, device: Any
) -> tuple[np.ndarray, float, np.ndarray]:
    """Gives features, loss and gradient of a workload's batch with a backbone's own weights on a device."""
    vision = work.vision.clone(dtype=jnp.dtype(dtype))
    classifier = suited_to(device, dataclasses.replace(work, vision=vision).classifier)
    rows, parts = work.rows(), work.parts()
    frozen = storage.stored(parts._replace(frozen={partition.BACKBONE: backbone}), jnp.dtype(dtype), frozen_dtype)

    def loss(trainable: Any) -> tuple[Any, Any]:
        params = partition.merge(frozen, *trainable.values())
        images = image_input.normalize(jnp.asarray(rows["image"]), 0.5, 0.5, jnp.dtype(dtype))
        features: Any = classifier.apply({"params": params}, images, method="features")
        logits: Any = classifier.apply({"params": params}, features, method="logits")
        chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), jnp.asarray(rows["label"])[:, None], axis=1)
        return -chosen.mean(), features

    with jax.default_device(device), jax.default_matmul_precision(precision):
        (value, features), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(parts.trainable)
    return np.asarray(features, np.float64), float(value), np.asarray(ravel_pytree(gradient)[0], np.float64)
