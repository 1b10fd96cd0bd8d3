"""The named sites of a transformer block at which a tuner may act.

A block knows these five sites and nothing about tuning. A tuner is a small module that answers at the sites it cares
about and is the identity elsewhere; a block's tuners act one after the other, in the order in which they are given.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import flax.linen as nn
from jaxtyping import Array, Float

LinearName = Literal["attn_in", "attn_out", "mlp_in", "mlp_out"]
"""`attn_in` projects to queries, keys and values side by side, and in a gated MLP `mlp_in` to the gate and what it
multiplies."""

NormName = Literal["ln_1", "ln_2"]


class Tuner(nn.Module):
    """The identity at every site. A tuner overrides the methods of the sites at which it acts."""

    def tokens(self, x: Float[Array, "b t d"], length: int) -> Float[Array, "b s d"]:
        """Acts before the block.

        Args:
            x: the tokens, those included that an earlier block's tuners put in.
            length: the number of the model's own tokens: class, registers and patches. In a model with rotary
                positions they have to stay in front.
        """
        return x

    def norm(self, name: NormName, y: Float[Array, "b t d"]) -> Float[Array, "b t d"]:
        """Acts after a layer norm, given its output."""
        return y

    def weight(
        self, name: LinearName, kernel: Float[Array, "i o"], bias: Float[Array, " o"]
    ) -> tuple[Float[Array, "i o"], Float[Array, " o"]]:
        """Acts before a linear layer, given its kernel and bias."""
        return kernel, bias

    def linear(self, name: LinearName, x: Float[Array, "b t i"], y: Float[Array, "b t o"]) -> Float[Array, "b t o"]:
        """Acts after a linear layer, given its input and output."""
        return y

    def mlp(self, x: Float[Array, "b t d"], h: Float[Array, "b t d"]) -> Float[Array, "b t d"]:
        """Acts after the MLP branch and its layer scale, given the residual stream before it and its output."""
        return h


TunerMaker = Callable[..., Tuner]
"""Makes the tuner of one block; takes the module's `name`."""

BlockTuners = Mapping[str, TunerMaker]
"""The tuners of one block, by name, in the order in which they act."""


class TextTuner(nn.Module):
    """The identity at the sites of a `lift_jax.models.text_head.TextHead`, outside of its text tower's blocks."""

    def embeddings(self, x: Float[Array, "n l d"]) -> Float[Array, "n l d"]:
        """Acts after the embedding of a class's tokens, before their positions are added."""
        return x

    def shared(self, side: Literal["image", "text"], x: Float[Array, "n e"]) -> Float[Array, "n e"]:
        """Acts after a side's projection into the shared space, before it is normalised."""
        return x


TextTuners = Mapping[str, Callable[..., TextTuner]]
"""Makers of text tuners, by name, in the order in which they act; each takes the module's `name`."""


def acts_on_tokens(tuners: BlockTuners) -> bool:
    """Whether one of a block's tuners acts at the site `tokens`."""
    return any(type(make(parent=None)).tokens is not Tuner.tokens for make in tuners.values())


def no_tuners(block: int) -> BlockTuners:
    """Returns the tuners of block `block` of a network that has none."""
    return {}


class Sites:
    """The tuners of one block, composed: what the block calls."""

    def __init__(self, tuners: Sequence[Tuner] = ()):
        self._tuners = tuple(tuners)

    def tokens(self, x: Array, length: int) -> Array:
        for tuner in self._tuners:
            x = tuner.tokens(x, length)
        return x

    def norm(self, name: NormName, y: Array) -> Array:
        for tuner in self._tuners:
            y = tuner.norm(name, y)
        return y

    def weight(self, name: LinearName, kernel: Array, bias: Array) -> tuple[Array, Array]:
        for tuner in self._tuners:
            kernel, bias = tuner.weight(name, kernel, bias)
        return kernel, bias

    def linear(self, name: LinearName, x: Array, y: Array) -> Array:
        for tuner in self._tuners:
            y = tuner.linear(name, x, y)
        return y

    def mlp(self, x: Array, h: Array) -> Array:
        for tuner in self._tuners:
            h = tuner.mlp(x, h)
        return h
