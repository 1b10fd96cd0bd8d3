"""CoOp (Zhou et al. 2022, arXiv 2109.01134, eq. 2): a prompt of learnt vectors before the class name."""

import functools

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from lift_jax.models.sites import TextTuner
from lift_jax.tuners.spec import TunerSpec


class CoOp(TextTuner):
    """Puts learnt vectors, the same for all classes, into the place of the tokens after the start token.

    Attributes:
        length: number of vectors.
    """

    length: int

    @nn.compact
    def embeddings(self, x: Float[Array, "n l d"]) -> Float[Array, "n l d"]:
        context = self.param("context", nn.initializers.normal(0.02), (self.length, x.shape[-1])).astype(x.dtype)
        context = jnp.broadcast_to(context, (len(x), *context.shape))
        return jnp.concatenate([x[:, :1], context, x[:, 1 + self.length :]], axis=1)


COOP = TunerSpec(
    "coop",
    "the prompt before the class name",
    module=lambda sizes, block: functools.partial(CoOp, sizes.context_length),
    acts_in=("shared",),
    options=("context_len",),
)
