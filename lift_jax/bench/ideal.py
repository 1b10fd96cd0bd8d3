"""The floating-point operations that a step cannot do without, counted from the shapes."""

from typing import NamedTuple

import ml_collections

from lift_jax.classifier.network import Network
from lift_jax.models.vit import VisionTransformer


class Operations(NamedTuple):
    """Operations for one image in matrix products alone; a multiplication and an addition count as two.

    Attributes:
        forward: images to logits.
        backward: through the activations, from the logits to the first tuner, and to the weights that are trained.
    """

    forward: int
    backward: int

    @property
    def total(self) -> int:
        return self.forward + self.backward


def operations(config: ml_collections.FrozenConfigDict, network: Network) -> Operations | None:
    """Counts the operations of AdaptFormer in all blocks of a ViT with a class token; None for other methods."""
    vision = network.classifier.backbone
    if not isinstance(vision, VisionTransformer) or vision.pool != "class":
        return None
    if network.method.tuners != ("adaptformer",) or config.tuner.partial:
        return None
    tuner = network.parts.tuner["backbone"]["block_0"]["tuner_adaptformer"]
    dim = tuner["down_proj"]["kernel"].shape[-1]
    return adaptformer(vision, network.input.resolution, dim, network.classifier.head.num_classes)


def adaptformer(vision: VisionTransformer, resolution: int, dim: int, num_classes: int) -> Operations:
    """Counts the operations of training AdaptFormer in every block and a head without bias.

    A linear layer of t tokens takes 2 t i o operations forward and as many backward to its input; a trained one as many
    again to its weight. The two products of attention take 2 s t d each forward, s being the queries, and twice that
    backward. After the last block only the class token is used, so that block needs no more than its query, though the
    keys and values of all tokens. What lies before the first block's MLP needs no backward pass, for nothing is trained
    there; of that MLP, whose input is the first tuner's, only the tuner itself.
    """
    patches, d = (resolution // vision.patch_size) ** 2, vision.width
    t, products_of_mlp = patches + 1 + vision.num_registers, 3 if vision.gated else 2
    head = 2 * d * num_classes
    forward = 2 * patches * 3 * vision.patch_size**2 * d + head
    backward = 2 * head
    for block in range(vision.depth):
        s = 1 if block == vision.depth - 1 else t
        linear = 2 * s * 2 * d * d + 2 * t * 2 * d * d + 2 * products_of_mlp * s * d * vision.mlp_dim
        products = 4 * s * t * d
        down = up = 2 * s * d * dim
        forward += linear + products + down + up
        if block == 0:
            backward += 2 * up + down  # to both weights and to the bottleneck, not to the input
        else:
            backward += linear + 2 * products + 2 * (down + up)
    return Operations(forward, backward)
