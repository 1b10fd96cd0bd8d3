"""How near a quantised backbone's gradients are to those of the backbone in float32, block by block.

    python -m lift_jax.bench.quantised --backbone FOLDER [--resolution 112] [--batch 32] [--draws 3] [IMAGE ...]

The gradient is that of LIFT's first step: of AdaptFormer and the cosine head under the logit-adjusted loss, over random
crops of the images (without any, of the two photographs that come with scikit-learn) with random labels. For each way
to keep and multiply the frozen kernels it prints their bytes, and for each block the cosine between the gradient of
its tuner and the one in float32: the smallest of several draws of crops, labels and initial values. The last rows are
the features that the head sees, and the head's gradient.
"""

import argparse
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jaxtyping import Float, UInt8
from PIL import Image

from lift_jax import config as lift_config
from lift_jax import tuners, weights
from lift_jax.classifier import network as networks
from lift_jax.classifier.network import Network
from lift_jax.data.images import open_image, to_rgb
from lift_jax.models import partition
from lift_jax.models.partition import BACKBONE, HEAD, Tree
from lift_jax.text import aligned
from lift_jax.training import losses
from lift_jax.weights import Backbone

_CLASSES = 50
_EXACT = "float32", "auto"
Way = tuple[str, str]
WAYS: Sequence[Way] = (
    ("float32", "bfloat16"),
    ("float32", "int8"),
    ("float32", "fp8"),
    ("bfloat16", "auto"),
    ("bfloat16", "int8"),
    ("bfloat16", "fp8"),
)
"""config.dtype and config.frozen_dtype."""

Vectors = Mapping[str, Float[np.ndarray, " n"]]


def compare(
    backbone: Backbone, photographs: Sequence[Image.Image], batch: int, draws: int, ways: Sequence[Way] = WAYS
) -> dict[str, dict[str, float]]:
    """Measures ways to keep the frozen kernels.

    Args:
        backbone: a vision transformer.
        photographs: from which squares are cut.
        batch: crops of a draw.
        draws: how many.
        ways: config.dtype and config.frozen_dtype of each.

    Returns:
        By "dtype/frozen_dtype" and the names of the rows the least cosine, and as `bytes` the size of the kernels.
    """
    table: dict[str, dict[str, float]] = {"/".join(way): {} for way in ways}
    for seed in range(draws):
        generator = np.random.default_rng(seed)
        images = crops(photographs, backbone.resolution, batch, generator)
        labels = generator.integers(0, _CLASSES, batch)
        exact, _ = _vectors(_network(backbone, *_EXACT, seed), images, labels)
        for way in ways:
            row = table["/".join(way)]
            found, row["bytes"] = _vectors(_network(backbone, *way, seed), images, labels)
            for name, vector in found.items():
                row[name] = min(row.get(name, 1.0), cosine(vector, exact[name]))
    return table


def crops(
    photographs: Sequence[Image.Image], side: int, count: int, generator: np.random.Generator
) -> UInt8[np.ndarray, "b side side 3"]:
    """Cuts random squares of half to all of an image's short side, resized to `side` pixels."""
    squares = []
    for _ in range(count):
        image = photographs[int(generator.integers(len(photographs)))]
        length = int(min(image.size) * generator.uniform(0.5, 1))
        left, top = (int(generator.integers(0, size - length + 1)) for size in image.size)
        square = image.resize((side, side), Image.Resampling.BICUBIC, (left, top, left + length, top + length))
        squares.append(np.asarray(square))
    return np.stack(squares)


def cosine(a: Float[np.ndarray, " n"], b: Float[np.ndarray, " n"]) -> float:
    """The cosine of the angle between two vectors, in float64."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def _network(backbone: Backbone, dtype: str, frozen_dtype: str, seed: int) -> Network:
    config = lift_config.default()
    config.update(method="lift", dtype=dtype, frozen_dtype=frozen_dtype, seed=seed)
    resolved = lift_config.resolve(config)
    names = [str(c) for c in range(_CLASSES)]
    return networks.build(resolved, tuners.resolve(resolved.method, resolved.tuner), backbone, names)


def _vectors(network: Network, images: np.ndarray, labels: np.ndarray) -> tuple[Vectors, int]:
    """Gives the gradients of the blocks and of the head, the features, and the bytes of the blocks' frozen kernels."""
    loss = losses.make("LA", np.arange(_CLASSES, 0, -1))
    mask = jnp.ones(len(images), bool)

    def value(trainable: dict[str, Tree], frozen: Tree, images: Any) -> tuple[Any, Any]:
        params = {"params": partition.merge(frozen, *trainable.values())}
        with network.input.products():
            features: Any = network.classifier.apply(params, network.input.normalize(images), method="features")
            logits: Any = network.classifier.apply(params, features, method="logits")
        return loss(logits, labels, mask, loss.normaliser(jnp.asarray(labels), mask)), features

    gradient, features = jax.jit(jax.grad(value, has_aux=True))(network.parts.trainable, network.parts.frozen, images)
    blocks = {name.replace("_", " "): _flat(tree) for name, tree in gradient[partition.TUNER][BACKBONE].items()}
    kernels = [x for path, x in traverse_util.flatten_dict(dict(network.parts.frozen)).items() if path[-1] == "kernel"]
    found = {**blocks, "features": _flat(features), "head": _flat(gradient[HEAD])}
    return found, sum(x.nbytes for x in jax.tree.leaves(kernels))


def _flat(tree: Any) -> Float[np.ndarray, " n"]:
    return np.concatenate([np.asarray(x, np.float32).ravel() for x in jax.tree.leaves(tree)])


def photographs(files: Sequence[str]) -> list[Image.Image]:
    """Opens image files; without any, the two photographs of scikit-learn."""
    if not files:
        from sklearn.datasets import load_sample_images

        return [Image.fromarray(image) for image in load_sample_images().images]
    opened = []
    for file in files:
        with open(file, "rb") as content:
            opened.append(to_rgb(open_image(content.read(), file), file))
    return opened


def _order(name: str) -> tuple[str, int]:
    """Sorts blocks by their numbers."""
    match = re.fullmatch(r"block (\d+)", name)
    return ("block", int(match[1])) if match else (name, 0)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="quickstart", help="as config.backbone")
    parser.add_argument("--resolution", type=int, help="pixels; the backbone's own by default")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("images", nargs="*", metavar="IMAGE", help="files from which squares are cut")
    given = parser.parse_args()
    backbone = weights.load(given.backbone, given.resolution)
    table = compare(backbone, photographs(given.images), given.batch, given.draws)
    names = sorted(next(iter(table.values())), key=_order)
    rows = [("activations/kernels", *(each.replace("auto", "the same") for each in table))]
    for name in names:
        form = "{:,.0f}" if name == "bytes" else "{:.4f}"
        rows.append((name, *(form.format(row[name]) for row in table.values())))
    print(aligned(rows))


if __name__ == "__main__":
    main()
