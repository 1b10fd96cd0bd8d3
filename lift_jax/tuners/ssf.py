"""SSF (Lian et al. 2022, arXiv 2210.08823, eq. 3): a scale and a shift for each channel after an operation."""

import functools

import flax.linen as nn
from jaxtyping import Array, Float

from lift_jax.models.sites import LinearName, NormName, Tuner
from lift_jax.tuners.effects import ScalesAndShifts
from lift_jax.tuners.spec import TunerSpec


class ScaleShift(nn.Module):
    """y * scale + shift, drawn about the identity: scale from normal(1, 0.02), shift from normal(0, 0.02)."""

    @nn.compact
    def __call__(self, y: Float[Array, "b t d"]) -> Float[Array, "b t d"]:
        normal, shape = nn.initializers.normal(0.02), y.shape[-1:]
        scale = self.param("scale", lambda key, shape: 1 + normal(key, shape), shape)
        shift = self.param("shift", normal, shape)
        return y * scale.astype(y.dtype) + shift.astype(y.dtype)


class LinearSSF(Tuner):
    """Scales and shifts the outputs of linear layers; that of `mlp_in` before the activation.

    Attributes:
        layers: their names.
    """

    layers: tuple[LinearName, ...]

    @nn.compact
    def linear(self, name: LinearName, x: Float[Array, "b t i"], y: Float[Array, "b t o"]) -> Float[Array, "b t o"]:
        return ScaleShift(name=name)(y) if name in self.layers else y


class NormSSF(Tuner):
    """Scales and shifts the outputs of both layer norms."""

    @nn.compact
    def norm(self, name: NormName, y: Float[Array, "b t d"]) -> Float[Array, "b t d"]:
        return ScaleShift(name=name)(y)


SSF_ATTN = TunerSpec(
    "ssf_attn",
    "the outputs of the attention's linear layers",
    module=lambda sizes, block: functools.partial(LinearSSF, ("attn_in", "attn_out")),
    acts_in=("vit", "text", "resnet"),
    effect=ScalesAndShifts(),
    reference="ssf_attn_list",
)
SSF_MLP = TunerSpec(
    "ssf_mlp",
    "the outputs of the MLP's linear layers",
    module=lambda sizes, block: functools.partial(LinearSSF, ("mlp_in", "mlp_out")),
    effect=ScalesAndShifts(),
    reference="ssf_mlp_list",
)
SSF_LN = TunerSpec(
    "ssf_ln",
    "the outputs of the layer norms",
    module=lambda sizes, block: NormSSF,
    effect=ScalesAndShifts(),
    reference="ssf_ln_list",
)
