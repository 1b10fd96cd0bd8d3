"""Host memory: of the evaluation of a small and of a large test set, and of the frozen weights in a training.

    python -m lift_jax.bench.memory [--images 2000]

The first lines are the peaks of the resident set of processes that evaluate so many images, and four times as many.
The last line is from two processes that train for a step on a CPU, with backbones of six blocks of width 768 and 1536:
by how much their resident sets differ afterwards, over the difference of their frozen weights. It is the number of
copies that a training holds. Programs, and what the compiler keeps, fall out: they depend on the depth alone.
"""

import argparse
import ctypes
import dataclasses
import gc
import os
import tempfile
from pathlib import Path

import jax
import ml_collections
import numpy as np
from jaxtyping import UInt8

from lift_jax import config as lift_config
from lift_jax import tuners, weights
from lift_jax.bench.load import apart, peak, write
from lift_jax.classifier import network as networks
from lift_jax.cluster import placement
from lift_jax.data import Dataset, test_loader
from lift_jax.evaluation.evaluator import Evaluator
from lift_jax.models.heads import Classifier, CosineHead
from lift_jax.models.image_input import ImageInput
from lift_jax.models.vit import VisionTransformer
from lift_jax.training import objective, step
from lift_jax.training.state import initial_state
from lift_jax.weights.huggingface import CLIP_MEAN, CLIP_STD
from lift_jax.workdir.logs import Logs

_CLASSES = 100


class _Noise:
    """Images that are made when they are asked for."""

    def __init__(self, images: int):
        self._images = images

    def __len__(self) -> int:
        return self._images

    def __getitem__(self, index: int) -> UInt8[np.ndarray, "height width 3"]:
        return np.random.default_rng(index).integers(0, 256, (100, 120, 3), np.uint8)


def evaluation_peak(images: int) -> int:
    """Evaluates so many images, with five views each, and gives the peak bytes of this process."""
    classifier = Classifier(VisionTransformer(16, 64, 2, 2, 128), CosineHead(_CLASSES))
    params = classifier.init(jax.random.key(0), np.zeros((1, 64, 64, 3), np.float32))["params"]
    names = tuple(map(str, range(_CLASSES)))
    dataset = Dataset("noise", _Noise(images), np.arange(images, dtype=np.int32) % _CLASSES, names)
    loader = test_loader(dataset, batch_size=64, resolution=64, expand=8, mode="fivecrop")
    image_input = ImageInput(64, CLIP_MEAN, CLIP_STD, np.dtype(np.float32))
    replicated = placement.replicate(params, placement.make_mesh())
    Evaluator(classifier, image_input)(replicated, loader, Logs(None, enabled=False), "")
    return peak()


def training_memory(width: int) -> tuple[int, int]:
    """Takes a step of training: gives the bytes of this process, and those of its frozen weights."""
    with tempfile.TemporaryDirectory() as folder:
        heads = width // 64
        vision = dict(hidden_size=width, intermediate_size=4 * width, num_hidden_layers=6, num_attention_heads=heads)
        text = dict(hidden_size=64, intermediate_size=64, num_hidden_layers=1, num_attention_heads=1, vocab_size=100)
        clip = {
            "model_type": "clip",
            "projection_dim": 64,
            "vision_config": vision | dict(patch_size=16, image_size=32),
            "text_config": text | dict(eos_token_id=2),
        }
        apart(write, folder, clip)
        config = lift_config.default()
        config.update(backbone=folder, method="adaptformer", batch_size=4, head_init="random")
        config = lift_config.resolve(config)
        network, mesh = _network(config), placement.make_mesh()
        goal = objective.make(config, np.ones(_CLASSES, np.int64))
        batch = {
            "image": np.zeros((4, 32, 32, 3), np.uint8),
            "label": np.zeros(4, np.int32),
            "mask": np.ones(4, np.bool_),
        }
        state, key = initial_state(network.parts, goal.tx(), mesh), placement.replicated_key(0, mesh)
        train = jax.jit(dataclasses.replace(step.make(config, network, goal, mesh), accumulate=1, mirrored=False))
        jax.block_until_ready(train(state, network.parts.frozen, batch, key, goal.hyperparameters.placed(mesh)))
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what was freed, but not yet given back
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return resident, sum(x.nbytes for x in jax.tree.leaves(network.parts.frozen))


def _network(config: ml_collections.FrozenConfigDict) -> networks.Network:
    """Puts the network of a run on all devices; the host's copy of the backbone is let go."""
    backbone, names = weights.load(config.backbone), tuple(map(str, range(_CLASSES)))
    method = tuners.resolve(config.method, config.tuner)
    return networks.build(config, method, backbone, names).placed(placement.make_mesh())


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000)
    images = parser.parse_args().images
    small, large = (apart(evaluation_peak, count) for count in (images, 4 * images))
    print(f"evaluation of {images:,} images: peak {small / 1e6:,.0f} MB")
    print(f"evaluation of {4 * images:,} images: peak {large / 1e6:,.0f} MB, {large / small:.3f} times as much")
    (narrow, frozen), (wide, more_frozen) = (apart(training_memory, width) for width in (768, 1536))
    copies = (wide - narrow) / (more_frozen - frozen)
    print(f"training: {copies:.2f} copies of the frozen weights ({frozen / 1e6:,.0f} and {more_frozen / 1e6:,.0f} MB)")


if __name__ == "__main__":
    main()
