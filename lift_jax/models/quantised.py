"""Frozen kernels in eight bits, and the products with them.

A kernel has a scale for each output channel and is quantised once; the activations have one for each token and are
quantised at each product (Dettmers et al. 2022, arXiv 2208.07339, section 2.1, "vector-wise"). The scales come out of
the product: with x = diag(s) q and W = v diag(t), x W = diag(s) (q v) diag(t), and q v has no scale inside.
"""

from typing import Any, Literal

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from flax.core import meta
from jaxtyping import Array, Float, Shaped

from lift_jax.models.fsdp import Shard

Format = Literal["int8", "fp8"]

STORED: dict[Format, Any] = {"int8": jnp.int8, "fp8": jnp.float8_e4m3fn}
"""The types of kernels and activations. Products of int8 are summed in int32, those of float8_e4m3fn in float32
(Micikevicius et al. 2022, arXiv 2209.05433)."""


@flax.struct.dataclass
class Quantised(meta.AxisMetadata[Array]):
    """A kernel [i, o] in eight bits. A module that asks for the parameter gets its values in float32.

    Attributes:
        values: [i, o], int8 or float8_e4m3fn; a `Shard` of it inside a `shard_map` with fsdp.
        scale: [o], float32; the kernel is values times scale.
    """

    values: Any
    scale: Any

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    @property
    def size(self) -> int:
        return self.values.size

    def gathered(self) -> "Quantised":
        """Returns the kernel as a whole, from all devices."""
        return Quantised(meta.unbox(self.values), meta.unbox(self.scale))

    def unbox(self) -> Float[Array, "i o"]:
        whole = self.gathered()
        return whole.values.astype(jnp.float32) * whole.scale

    def replace_boxed(self, val: Any) -> "Quantised":
        raise NotImplementedError("A quantised parameter is never changed.")

    def add_axis(self, index: int, params: dict[Any, Any]) -> "Quantised":
        raise NotImplementedError("A quantised parameter gets no further axis.")

    def remove_axis(self, index: int, params: dict[Any, Any]) -> "Quantised":
        raise NotImplementedError("A quantised parameter loses no axis.")


def quantise_kernel(kernel: Float[np.ndarray, "i o"], format: Format) -> Quantised:
    """Quantises a kernel on the host.

    Args:
        kernel: in the precision of the file that it came from.
        format: of the result.
    """
    values, scale = _scaled(np.asarray(kernel, np.float32), 0, STORED[format], np)
    return Quantised(values, scale[0])


def matmul(x: Float[Array, "*b i"], kernel: Quantised) -> Float[Array, "*b o"]:
    """x kernel in eight bits; see `_product` and `_backward`. No gradient of the kernel is ever computed.

    With fsdp the kernel is gathered for this product, and again for the gradient (see `fsdp.sharded_matmul`).
    """
    if isinstance(kernel.values, Shard):
        return jax.checkpoint(lambda x, kernel: _matmul(x, kernel.gathered()))(x, kernel)
    return _matmul(x, kernel)


def _product(x: Float[Array, "*b i"], kernel: Quantised) -> Float[Array, "*b o"]:
    """Quantises the rows of x as the kernel is, and multiplies."""
    values, scale = _scaled(x.astype(jnp.float32), -1, kernel.values.dtype, jnp)
    return (_dot(values, kernel.values, 0) * scale * kernel.scale).astype(x.dtype)


_matmul = jax.custom_vjp(_product)


def _forward(x: Array, kernel: Quantised) -> tuple[Array, Quantised]:
    return _product(x, kernel), kernel


def _backward(kernel: Quantised, g: Float[Array, "*b o"]) -> tuple[Array, None]:
    """Returns g W' for the kernel W as it is stored, its scale folded into g.

    With fp8 the rows of the scaled gradient are quantised as well: with a scale for each row e4m3 has range enough, and
    it rounds half as coarsely as e5m2. With int8 the product is in the dtype of the activations, where int8 values are
    exact.
    """
    scaled = g.astype(jnp.float32) * kernel.scale
    if kernel.values.dtype == STORED["int8"]:
        return _dot(scaled.astype(g.dtype), kernel.values.astype(g.dtype), 1).astype(g.dtype), None
    values, scale = _scaled(scaled, -1, kernel.values.dtype, jnp)
    return (_dot(values, kernel.values, 1) * scale).astype(g.dtype), None


_matmul.defvjp(_forward, _backward)


def _dot(x: Shaped[Array, "*b n"], kernel: Shaped[Array, "i o"], axis: int) -> Float[Array, "*b m"]:
    """Returns the product of x with one axis of the kernel, summed exactly in int32 or else in float32."""
    wide = jnp.int32 if jnp.issubdtype(x.dtype, jnp.integer) else jnp.float32
    numbers = (((x.ndim - 1,), (axis,)), ((), ()))
    return jax.lax.dot_general(x, kernel, numbers, preferred_element_type=wide).astype(jnp.float32)


def _scaled(x: Any, axis: int, dtype: Any, xp: Any) -> tuple[Any, Any]:
    """Returns eight-bit values and scales along an axis (which is kept), such that the largest magnitude is the type's.

    Args:
        x: float32.
        axis: along which the values share a scale.
        dtype: of the values.
        xp: NumPy or jax.numpy.
    """
    whole = jnp.issubdtype(dtype, jnp.integer)
    largest = float(jnp.iinfo(dtype).max if whole else jnp.finfo(dtype).max)
    scale = xp.max(xp.abs(x), axis=axis, keepdims=True) / np.float32(largest)
    scale = xp.where(scale == 0, np.float32(1), scale)
    values = x / scale
    return (xp.round(values) if whole else values).astype(dtype), scale
