"""Tuners that are linear in the weights, merged into them: a plain backbone that computes the same."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jaxtyping import Array, Float

from lift_jax.errors import UserError
from lift_jax.models.linear import Linear
from lift_jax.models.partition import Tree
from lift_jax.models.sites import BlockTuners, LinearName, NormName, Sites, Tuner
from lift_jax.models.vit import VisionTransformer
from lift_jax.weights.backbone import Backbone, content_hash

_LINEARS: tuple[LinearName, ...] = ("attn_in", "attn_out", "mlp_in", "mlp_out")
_NORMS: tuple[NormName, ...] = ("ln_1", "ln_2")


def merge(backbone: Backbone, vision: nn.Module, params: Tree) -> Backbone:
    """Returns the backbone with its vision tower as a run has trained it: LoRA, SSF, masks, and whatever it trains.

    What a tuner does to a layer is found by applying it to the layer with the identity as its input, so nothing here
    knows the tuners' formulas.

    Args:
        backbone: the run's backbone.
        vision: its network with tuners.
        params: the network's parameters, those of its tuners included.

    Raises:
        UserError: if a tuner is no linear change of the weights (VPT, Adapter, AdaptFormer).
    """
    tree = jax.tree.map(_numpy, dict(params))
    if isinstance(vision, VisionTransformer):
        for i in range(vision.depth):
            tree[f"block_{i}"] = _block(vision.tuners(i), tree[f"block_{i}"])
    elif any(part.startswith("tuner_") for path in traverse_util.flatten_dict(tree) for part in path):
        raise UserError("The tuners of a ResNet cannot be merged into its weights; only a ViT's can.")
    merged = {**backbone.params, "vision": tree}
    return dataclasses.replace(backbone, name=f"{backbone.name} merged", params=merged, hash=content_hash(merged))


def _block(makers: BlockTuners, params: Tree) -> dict[str, Any]:
    for name, make in makers.items():
        tuner = type(make(name=name))
        if tuner.tokens is not Tuner.tokens or tuner.mlp is not Tuner.mlp:
            raise UserError(
                f"The tuner {name} is no linear change of the weights, so it cannot be merged into them; "
                "LoRA, SSF, masks and methods that train the backbone's own parameters can."
            )
    plain = {key: value for key, value in params.items() if not key.startswith("tuner_")}
    tuners = {key: value for key, value in params.items() if key.startswith("tuner_")}
    if tuners:
        # The formats' tolerance is 2e-5, and TPUs and GPUs would round the operands.
        with jax.default_matmul_precision("highest"):
            plain |= {name: _linear(name, makers, tuners, plain[name]) for name in _LINEARS}
            plain |= {name: _norm(name, makers, tuners, plain[name]) for name in _NORMS}
    return plain


class _Layer(nn.Module):
    """A linear layer of a block with the block's tuners, and nothing else of the block."""

    makers: BlockTuners
    features: int

    @nn.compact
    def __call__(self, x: Float[Array, "b t i"], layer: LinearName) -> Float[Array, "b t o"]:
        return Linear(self.features, name=layer)(x, _sites(self.makers))


class _AfterNorm(nn.Module):
    """What a block's tuners do after a layer norm."""

    makers: BlockTuners

    @nn.compact
    def __call__(self, y: Float[Array, "b t d"], norm: NormName) -> Float[Array, "b t d"]:
        return _sites(self.makers).norm(norm, y)


def _sites(makers: BlockTuners) -> Sites:
    return Sites([make(name=f"tuner_{name}") for name, make in makers.items()])


def _linear(name: LinearName, makers: BlockTuners, tuners: Tree, layer: Tree) -> Tree:
    inputs, outputs = layer["kernel"].shape
    x = jnp.concatenate([jnp.zeros((1, inputs)), jnp.eye(inputs)])[None]
    y = _Layer(nn.FrozenDict(makers), outputs).apply({"params": {**tuners, name: layer}}, x, name)
    bias, *rows = np.asarray(y)[0]
    return {"kernel": np.stack(rows) - bias, "bias": bias}


def _norm(name: NormName, makers: BlockTuners, tuners: Tree, norm: Tree) -> Tree:
    y = jnp.stack([jnp.zeros_like(norm["bias"]), norm["bias"], norm["scale"]])[None]
    zero, bias, scale = np.asarray(_AfterNorm(nn.FrozenDict(makers)).apply({"params": tuners}, y, name))[0]
    return {"scale": scale - zero, "bias": bias}


def _numpy(x: Any) -> np.ndarray:
    """Converts floating-point numbers to float32; the positions of a mask stay integers."""
    return np.asarray(x, np.float32) if jnp.issubdtype(x.dtype, jnp.floating) else np.asarray(x)
