"""How many floating-point operations the compiled training step does, against those it cannot do without.

    python -m lift_jax.bench.flops [--classes 8142] [--dim 256] [--batch 8] [--depth 12]

The step is that of `lift_jax.train` on a CLIP ViT-B/16 at 224 x 224 pixels with AdaptFormer and the cosine head; it is
compiled and not run. A ratio near 1 says that no gradient of a frozen array is computed: with all of them it would be
about 1.5.
"""

import argparse
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lift_jax import losses, optimizer, state
from lift_jax.bench import ideal
from lift_jax.evaluate import Input
from lift_jax.models.heads import Classifier, CosineHead
from lift_jax.models.vit import VisionTransformer
from lift_jax.state import TrainState
from lift_jax.train import make_step
from lift_jax.tuners.adaptformer import AdaptFormer
from lift_jax.weights.huggingface import CLIP_MEAN, CLIP_STD

RESOLUTION = 224


def compiled_operations(vision: VisionTransformer, resolution: int, dim: int, num_classes: int, batch: int) -> float:
    """Operations a batch of the compiled training step, by XLA's own count."""
    tuned = vision.clone(tuners=lambda block: {"adaptformer": functools.partial(AdaptFormer, dim)})
    classifier = Classifier(tuned, CosineHead(num_classes))
    images = jax.ShapeDtypeStruct((1, resolution, resolution, 3), jnp.float32)
    params = jax.eval_shape(classifier.init, jax.random.key(0), images)["params"]
    parts = state.split(params, lambda path: "tuner_adaptformer" in path)
    trainable = {state.TUNER: parts.tuner, state.HEAD: parts.head}
    tx = optimizer.make(0.01, 0.9, 5e-4)
    step_number: Any = jax.ShapeDtypeStruct((), jnp.int32)
    start = TrainState(step_number, trainable, jax.eval_shape(tx.init, trainable))
    rows = {
        "image": jax.ShapeDtypeStruct((batch, resolution, resolution, 3), jnp.uint8),
        "label": jax.ShapeDtypeStruct((batch,), jnp.int32),
        "mask": jax.ShapeDtypeStruct((batch,), jnp.bool_),
    }
    loss = losses.make("LA", np.arange(num_classes, 0, -1))
    pixels = Input(resolution, CLIP_MEAN, CLIP_STD, jnp.float32)
    step = make_step(classifier, loss, tx, pixels, accumulate=1, flip=True)
    lowered = jax.jit(step).lower(start, parts.frozen, rows, jax.eval_shape(lambda: jax.random.key(0)))
    costs: Any = lowered.compile().cost_analysis()
    return costs["flops"]


def main() -> None:
    """Prints the two counts and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", type=int, default=8142)
    parser.add_argument("--dim", type=int, default=256, help="bottleneck width")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--depth", type=int, default=12)
    args = parser.parse_args()
    vision = VisionTransformer(patch_size=16, width=768, depth=args.depth, num_heads=12, mlp_dim=3072)
    least = ideal.adaptformer(vision, RESOLUTION, args.dim, args.classes)
    done = compiled_operations(vision, RESOLUTION, args.dim, args.classes, args.batch) / args.batch
    print(f"ViT-B/16, {args.depth} blocks, AdaptFormer {args.dim}, {args.classes:,} classes; of one image:")
    print(f"  ideal     {least.total / 1e9:8.2f} GFLOP ({least.forward / 1e9:.2f} forward)")
    print(f"  compiled  {done / 1e9:8.2f} GFLOP, {done / least.total:.3f} times the ideal")


if __name__ == "__main__":
    main()
