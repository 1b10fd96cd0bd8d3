"""Random sparse tuning ("arbitrary lightweight fine-tuning", Shi et al. 2024, section 5.3): a share of the entries."""

import functools
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from lift_jax.models.sites import LinearName, Tuner
from lift_jax.tuners.effects import Weights
from lift_jax.tuners.rules import MaskedLayers
from lift_jax.tuners.spec import Sizes, TunerSpec

INDEX = "_index"
"""How the names of the parameters end that say which entries are trained. They are integers and never trained."""

NAMES = ("weight", "bias")
LAYERS: tuple[LinearName, ...] = ("attn_in", "attn_out", "mlp_in", "mlp_out")


class Mask(Tuner):
    """Trains a random share of the entries of linear layers; they start at the loaded values.

    The trained entries are vectors `weight` and `bias`, which take the place of the entries at the flat positions
    `weight_index` and `bias_index`. These lie among the frozen parameters, so that another choice can be loaded.

    Attributes:
        block: number of the block, for the choice.
        ratio: share of the entries that are trained.
        seed: of the choice, with the block and the layer.
        layers: names of the layers.
        apart: whether weight and bias have the share each, as in LIFT+, or only together, as in LIFT.
    """

    block: int
    ratio: float
    seed: int
    layers: tuple[LinearName, ...] = LAYERS
    apart: bool = False

    @nn.compact
    def weight(
        self, name: LinearName, kernel: Float[Array, "i o"], bias: Float[Array, " o"]
    ) -> tuple[Float[Array, "i o"], Float[Array, " o"]]:
        if name not in self.layers:
            return kernel, bias
        seed = (self.seed, self.block, LAYERS.index(name))
        return MaskedLinear(lambda i, o: choose(i, o, self.ratio, seed, self.apart), name=name)(kernel, bias)


class MaskedLinear(nn.Module):
    """A linear layer's kernel and bias with trained entries.

    Attributes:
        choose: numbers of entries of kernel and bias to the flat positions of those that are trained.
    """

    choose: Callable[[int, int], tuple[Int[np.ndarray, " n"], Int[np.ndarray, " m"]]]

    @nn.compact
    def __call__(
        self, kernel: Float[Array, "i o"], bias: Float[Array, " o"]
    ) -> tuple[Float[Array, "i o"], Float[Array, " o"]]:
        if self.is_mutable_collection("params"):
            for name, array, chosen in zip(NAMES, (kernel, bias), self.choose(kernel.size, bias.size), strict=True):
                self._start(name, array, chosen)
        return self._replaced("weight", kernel), self._replaced("bias", bias)

    def _start(self, name: str, array: Float[Array, "..."], chosen: Int[np.ndarray, " n"]) -> None:
        if len(chosen):  # checkpoints hold no empty arrays
            self.param(name + INDEX, lambda key: jnp.asarray(chosen))
            self.param(name, lambda key: jnp.ravel(array)[chosen].astype(jnp.float32))

    def _replaced(self, name: str, array: Float[Array, "..."]) -> Float[Array, "..."]:
        # Not through self.param, which would refuse the positions of another choice for their number.
        if not self.has_variable("params", name):
            return array
        index, trained = (self.get_variable("params", n) for n in (name + INDEX, name))
        flat = jnp.ravel(array).at[index].set(trained.astype(array.dtype), unique_indices=True)
        return flat.reshape(array.shape)


def choose(
    weights: int, biases: int, ratio: float, seed: Sequence[int], apart: bool
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " m"]]:
    """Returns the ascending flat positions of the trained entries in a kernel and in a bias.

    Args:
        weights: number of entries of the kernel.
        biases: number of entries of the bias.
        ratio: share that is chosen, in [0, 1]; the number is rounded down.
        seed: of the generator.
        apart: whether the share is of the kernel and of the bias, or of both together.
    """
    generator = np.random.default_rng(seed)

    def draw(size: int) -> np.ndarray:
        return np.sort(generator.choice(size, int(size * ratio), replace=False, shuffle=False)).astype(np.int32)

    if apart:
        return draw(weights), draw(biases)
    both = draw(weights + biases)
    return both[both < weights], both[both >= weights] - weights


def _spec(name: str, layers: tuple[LinearName, ...], covers: MaskedLayers) -> TunerSpec:
    def module(sizes: Sizes, block: int) -> Callable[..., Mask]:
        return functools.partial(Mask, block, sizes.mask_ratio(covers), sizes.mask_seed, layers, apart=sizes.plus)

    return TunerSpec(
        name,
        f"a random share of the weights of {', '.join(layers)}",
        module=module,
        options=("mask_ratio", "mask_seed"),
        family="mask",
        effect=Weights(),
        reference="masked_linear_list",
    )


MASK = _spec("mask", LAYERS, "all")
MASK_ATTN = _spec("mask_attn", ("attn_in", "attn_out"), "attn")
MASK_MLP = _spec("mask_mlp", ("mlp_in", "mlp_out"), "mlp")
