"""AdaptFormer (Chen et al. 2022, arXiv 2205.13535, eq. 4 and 5): a bottleneck beside the MLP."""

import functools

import flax.linen as nn
from jaxtyping import Array, Float

from lift_jax.models.sites import Tuner
from lift_jax.tuners.bottleneck import bottleneck, kaiming_normal, learnable_scale
from lift_jax.tuners.effects import Branches
from lift_jax.tuners.spec import TunerSpec


class AdaptFormer(Tuner):
    """Adds scale * up(relu(down(ln(x)))) to the MLP branch, x being the residual stream before `ln_2`.

    Attributes:
        dim: width of the bottleneck.
        scale: a fixed scale; None for a learnable one that starts at 1, LIFT's default.
        down_init: initialiser of the down projection.
    """

    dim: int
    scale: float | None = None
    down_init: nn.initializers.Initializer = kaiming_normal

    @nn.compact
    def mlp(self, x: Float[Array, "b t d"], h: Float[Array, "b t d"]) -> Float[Array, "b t d"]:
        scale = learnable_scale(self) if self.scale is None else self.scale
        return h + bottleneck(x, self.dim, self.down_init, scale)


ADAPTFORMER = TunerSpec(
    "adaptformer",
    "the MLP branch, by a bottleneck beside it",
    module=lambda sizes, block: functools.partial(AdaptFormer, sizes.dim, sizes.scale, sizes.down_init),
    options=("dim", "scale"),
    effect=Branches(),
    reference="adaptformer_list",
)
