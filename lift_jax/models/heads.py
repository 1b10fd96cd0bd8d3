"""Classification heads. All compute in float32, whatever the features' dtype."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lift_jax.models.clip import normalize
from lift_jax.models.layer_norm import standardize


def product(x: Float[Array, "b d"], kernel: Float[Array, "d c"]) -> Float[Array, "b c"]:
    """Returns x kernel in full float32."""
    # TPUs and GPUs would round float32 operands to bfloat16 or TF32.
    return jnp.matmul(x, kernel, precision=jax.lax.Precision.HIGHEST)


def _class_init(key: Array, shape: tuple[int, int]) -> Array:
    """Draws from [-1, 1] and scales each class (column) to a unit vector: where heads of unit class vectors start."""
    return normalize(jax.random.uniform(key, shape, minval=-1.0, maxval=1.0).T).T


_he_normal = nn.initializers.variance_scaling(2.0, "fan_in", "normal")  # Flax's own he_normal is truncated


class Head(nn.Module):
    """Features to logits; `kernel` is (features, classes).

    Attributes:
        num_classes: number of classes.
        scale: of the logits, where the head has one.
    """

    takes_directions: ClassVar[bool] = True
    """Whether the lengths of the class vectors, the kernel's columns, are of no account."""

    num_classes: int
    scale: float = 25.0

    def _kernel(self, x: Array) -> Array:
        return self.param("kernel", _class_init, (x.shape[-1], self.num_classes))


class LinearHead(Head):
    """x W + b, from He's normal initialisation (He et al. 2015, arXiv 1502.01852, eq. 10) and zero."""

    takes_directions: ClassVar[bool] = False

    @nn.compact
    def __call__(self, x: Float[Array, "b d"]) -> Float[Array, "b c"]:
        x = x.astype(jnp.float32)
        kernel = self.param("kernel", _he_normal, (x.shape[-1], self.num_classes))
        bias = self.param("bias", nn.initializers.zeros, (self.num_classes,))
        return product(x, kernel) + bias


class CosineHead(Head):
    """scale * cos(x, w_c): the classifier of LIFT (Shi et al. 2024, section 4.2)."""

    @nn.compact
    def __call__(self, x: Float[Array, "b d"]) -> Float[Array, "b c"]:
        return self.scale * product(normalize(x), normalize(self._kernel(x).T).T)


class L2NormedHead(Head):
    """`x w_c / |w_c|`: unit class vectors, features as they are."""

    @nn.compact
    def __call__(self, x: Float[Array, "b d"]) -> Float[Array, "b c"]:
        return product(x.astype(jnp.float32), normalize(self._kernel(x).T).T)


class LayerNormedHead(Head):
    """`LN(x) w_c / |w_c|`, the layer norm without parameters and with epsilon 1e-12."""

    @nn.compact
    def __call__(self, x: Float[Array, "b d"]) -> Float[Array, "b c"]:
        return product(standardize(x.astype(jnp.float32), 1e-12), normalize(self._kernel(x).T).T)


class ZeroShotHead(Head):
    """scale * cos(x P + b, t_c) in CLIP's shared space, P the visual projection and t_c the text features.

    Attributes:
        embed_dim: of the shared space.
        biased: whether the visual projection has a bias b.
    """

    embed_dim: int = 512
    biased: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "b d"]) -> Float[Array, "b c"]:
        x = x.astype(jnp.float32)
        projection = self.param("projection", nn.initializers.lecun_normal(), (x.shape[-1], self.embed_dim))
        text = self.param("text", _class_init, (self.embed_dim, self.num_classes))
        x = product(x, projection)
        if self.biased:
            x = x + self.param("projection_bias", nn.initializers.zeros, (self.embed_dim,))
        return self.scale * product(normalize(x), text)


class GaussianHead(Head):
    """x W + b of unit features x: Gaussian discriminant analysis (see `lift_jax.training.gaussian`)."""

    @nn.compact
    def __call__(self, x: Float[Array, "b d"]) -> Float[Array, "b c"]:
        kernel = self.param("kernel", nn.initializers.zeros, (x.shape[-1], self.num_classes))
        bias = self.param("bias", nn.initializers.zeros, (self.num_classes,))
        return product(normalize(x), kernel) + bias


class TwoHeads(Head, kw_only=True):
    """The logits of two heads side by side, of the same features: those of `first`, and then those of `second`."""

    first: Head
    second: Head

    def __call__(self, x: Float[Array, "b d"]) -> Float[Array, "b twice_c"]:
        return jnp.concatenate([self.first(x), self.second(x)], axis=-1)


HEADS: Mapping[str, Callable[..., Head]] = {
    "cosine": CosineHead,
    "linear": LinearHead,
    "l2_norm": L2NormedHead,
    "layer_norm": LayerNormedHead,
}


def mean_head(head: Head, members: Sequence[Mapping[str, Any]], shares: Sequence[float]) -> dict[str, Any]:
    """Gives the weighted mean of the parameters of several heads; that of unit class vectors where lengths don't count.

    Args:
        head: the head that all of them are for.
        members: the parameters of each one.
        shares: of each one; their sum is 1.
    """

    def vectors(kernel: Array) -> Array:
        return normalize(kernel.T).T if head.takes_directions else kernel

    taken = [{**each, "kernel": vectors(each["kernel"])} for each in members]
    return jax.tree.map(lambda *arrays: sum(s * x for s, x in zip(shares, arrays, strict=True)), *taken)


class Classifier(nn.Module):
    """A backbone and a head: images to logits.

    Attributes:
        backbone: normalised images (b, h, w, 3) to features (b, d).
        head: features to logits (b, c). One that has a name keeps it among the parameters.
    """

    preserve_adopted_names: ClassVar[bool] = True

    backbone: nn.Module
    head: Head

    def __call__(self, images: Float[Array, "b h w 3"]) -> Float[Array, "b c"]:
        return self.logits(self.backbone(images))

    def features(self, images: Float[Array, "b h w 3"]) -> Float[Array, "b d"]:
        """Returns what the head multiplies with its class weights."""
        return self.backbone(images)

    def logits(self, features: Float[Array, "b d"]) -> Float[Array, "b c"]:
        """Returns the head's logits."""
        return self.head(features)
