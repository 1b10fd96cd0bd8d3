"""A run's weights for other programs: plain backbones, adapters of peft, the authors' checkpoints."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import safetensors.numpy
from flax import traverse_util

from lift_jax import weights
from lift_jax.errors import UserError
from lift_jax.inference.model import Model
from lift_jax.models import partition
from lift_jax.models.heads import Classifier
from lift_jax.models.image_input import ImageInput
from lift_jax.models.resnet import ResNet
from lift_jax.weights import huggingface, merge, open_clip, peft, reference, safetensors_files

HEAD_FILE = "head.safetensors"
REFERENCE_FILE = "checkpoint.pth.tar"


def write_merged(model: Model, folder: Path) -> Path:
    """Writes the trained backbone without tuners in the layout of transformers (a ResNet: of open_clip), and the head.

    Raises:
        UserError: if the folder is not empty, or the run's method is no linear change of the image tower's weights.
    """
    _check_images_alone(model, "a plain backbone")
    if model.config.frozen_dtype != "auto":
        raise UserError(
            f"The run's config.frozen_dtype is {model.config.frozen_dtype!r}, but the kernels of a plain backbone "
            "are whole, and it would predict something else; export it with --format stablehlo or safetensors."
        )
    check_new(folder)
    parts = jax.device_get(model.network.parts)
    # The frozen weights as they were loaded: those of the run may be rounded to bfloat16.
    own = traverse_util.flatten_dict({partition.BACKBONE: dict(model.backbone.params["vision"])})
    flat = {**traverse_util.flatten_dict(dict(parts.frozen)), **own, **traverse_util.flatten_dict(dict(parts.tuner))}
    params = traverse_util.unflatten_dict(flat)[partition.BACKBONE]
    merged = merge.merge(model.backbone, model.network.classifier.backbone, params)
    save = open_clip.save_backbone if isinstance(merged.vision, ResNet) else huggingface.save_backbone
    save(folder, merged)
    return _write_head(model, folder)


def read_merged(model: Model, folder: Path) -> Model:
    """Gives the run with what `write_merged` wrote in the place of its own network and parameters."""
    backbone = weights.load(str(folder))
    dtype = model.network.input.dtype
    head = traverse_util.unflatten_dict(safetensors.numpy.load_file(folder / HEAD_FILE), sep="/")
    network = dataclasses.replace(
        model.network,
        classifier=Classifier(backbone.vision.clone(dtype=dtype), model.network.classifier.head),
        input=ImageInput(backbone.resolution, backbone.mean, backbone.std, dtype, model.network.input.precision),
    )
    params = {partition.BACKBONE: backbone.params["vision"], partition.HEAD: head}
    return dataclasses.replace(model, network=network, params=params)


def write_peft(model: Model, folder: Path) -> Path:
    """Writes LoRA as an adapter of peft, and the head.

    Raises:
        UserError: if the folder is not empty, or the run trained something else of the backbone.
    """
    _check_images_alone(model, "a peft adapter")
    check_new(folder)
    peft.save(folder, model.backbone, model.network.parts.tuner.get(partition.BACKBONE, {}))
    return _write_head(model, folder)


def write_reference(model: Model, folder: Path) -> Path:
    """Writes checkpoint.pth.tar of the authors' implementation.

    Raises:
        UserError: as `lift_jax.weights.reference.save` does.
    """
    file = folder / REFERENCE_FILE
    reference.save(file, model.network.tuning, jax.device_get(model.network.parts))
    return file


def read_reference(model: Model, folder: Path) -> Model:
    """Gives the run with its trained parameters from what `write_reference` wrote."""
    parts = reference.load(folder / REFERENCE_FILE, model.network.tuning, jax.device_get(model.network.parts))
    return dataclasses.replace(model, params=partition.merge(*parts))


def _write_head(model: Model, folder: Path) -> Path:
    """Writes the head beside the backbone; transformers and peft leave the file alone."""
    head: dict[str, Any] = traverse_util.flatten_dict(jax.device_get(model.network.parts.head)[partition.HEAD], sep="/")
    method = model.network.method
    header = {
        "head": method.name if method.zero_shot or method.closed_form else model.config.head,
        "scale": str(model.network.classifier.head.scale),
        "class_names": json.dumps(list(model.class_names)),
    }
    arrays = {name: np.ascontiguousarray(array, np.float32) for name, array in head.items()}
    safetensors_files.write(folder / HEAD_FILE, arrays, header)
    return folder


def _check_images_alone(model: Model, what: str) -> None:
    if model.network.method.tunes_text:
        raise UserError(
            f"The run's method is {model.config.method}, which trains the text side; {what} has no place for that."
        )


def check_new(folder: Path) -> None:
    """Sees to it that a folder is empty or not there.

    Raises:
        UserError: if it has something in it.
    """
    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"{folder} is not empty; name a new folder with --output.")
