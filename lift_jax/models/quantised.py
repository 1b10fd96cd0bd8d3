"""Frozen kernels in eight bits, and the products with them.

An int8 kernel has a scale for each output channel and is quantised once; the activations have one for each token and
are quantised at each product (Dettmers et al. 2022, arXiv 2208.07339, section 2.1, "vector-wise"). The scales come out
of the product: with x = diag(s) q and W = v diag(t), x W = diag(s) (q v) diag(t), and q v has no scale inside. int8 has
equal steps, so both are measured from the middle of their range as well (section 2.1, "zeropoint"): all steps are used,
however unequal largest and smallest value are, as after an activation. With x = diag(s) q + z 1' and
W = v diag(t) + 1 m', what comes to diag(s) (q v) diag(t) has rank one: z (1' v) diag(t) + (x 1) m'.

fp8 is as precise for small numbers as for large ones, down to 1 / 28,672 of the largest. So its scales need not fit,
and there are two numbers: one for the kernel, and one for all activations of the layer, where the weights say how large
these can be (`lift_jax.models.limits`). No activation is measured, and cuBLAS multiplies by such scales itself, adds
bias and residual, and writes the sum in the activations' dtype. Both are powers of two, which every float holds.
"""

import functools
from collections.abc import Sequence
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

_LARGEST = float(jnp.finfo(jnp.float8_e4m3fn).max)


@flax.struct.dataclass
class Quantised(meta.AxisMetadata[Array]):
    """A kernel [i, o] in eight bits. A module that asks for the parameter gets its values in float32.

    Attributes:
        values: [i, o], int8 or float8_e4m3fn; a `Shard` of it inside a `shard_map` with fsdp.
        scale: [o] for int8 and [] for float8_e4m3fn, float32; the kernel is values times scale, plus middle.
        middle: [o], float32; none for float8_e4m3fn.
        input_scale: [], float32, of the activations; none for int8, which measures each token.
    """

    values: Any
    scale: Any
    middle: Any = None
    input_scale: Any = None

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    @property
    def size(self) -> int:
        return self.values.size

    def gathered(self) -> "Quantised":
        """Returns the kernel as a whole, from all devices."""
        return Quantised(*(meta.unbox(each) for each in (self.values, self.scale, self.middle, self.input_scale)))

    def unbox(self) -> Float[Array, "i o"]:
        whole = self.gathered()
        scaled = whole.values.astype(jnp.float32) * whole.scale
        return scaled if whole.middle is None else scaled + whole.middle

    def split(self, parts: int) -> "list[Quantised]":
        """Cuts the kernel into equal parts of its outputs."""

        def cut(x: Any) -> Sequence[Any]:
            return [x] * parts if x is None or x.ndim == 0 else jnp.split(x, parts, axis=-1)

        cuts = zip(cut(self.values), cut(self.scale), cut(self.middle), strict=True)
        return [Quantised(values, scale, middle, self.input_scale) for values, scale, middle in cuts]

    def replace_boxed(self, val: Any) -> "Quantised":
        raise NotImplementedError("A quantised parameter is never changed.")

    def add_axis(self, index: int, params: dict[Any, Any]) -> "Quantised":
        raise NotImplementedError("A quantised parameter gets no further axis.")

    def remove_axis(self, index: int, params: dict[Any, Any]) -> "Quantised":
        raise NotImplementedError("A quantised parameter loses no axis.")


def quantise_kernel(kernel: Float[np.ndarray, "i o"], format: Format, limit: float) -> Quantised:
    """Quantises a kernel on the host.

    Args:
        kernel: in the precision of the file that it came from.
        format: of the result.
        limit: the largest magnitude of the activations; what is larger is cut off. int8, whose steps are equal,
            measures them and has no use for it.
    """
    kernel = np.asarray(kernel, np.float32)
    if format == "int8":
        values, scale, middle = _rounded(kernel, 0, STORED[format], np)
        return Quantised(values, scale[0], middle[0])
    scale = _power_of_two(np.abs(kernel).max())
    return Quantised((kernel / scale).astype(STORED[format]), scale, input_scale=_power_of_two(limit))


def _power_of_two(largest: Any) -> np.float32:
    """Returns the least power of two by which a magnitude can be divided to be one of float8_e4m3fn."""
    mantissa, exponent = np.frexp(np.float32(largest) / _LARGEST)
    return np.ldexp(np.float32(1), exponent - (mantissa == 0.5)) if largest else np.float32(1)


def products(x: Float[Array, "*b i"], kernel: Quantised, parts: int = 1) -> tuple[Float[Array, "*b p"], ...]:
    """Returns x kernel in eight bits and equal parts, by a product for each; see `_product` and `_backward`.

    No gradient of the kernel is ever computed. With fsdp the kernel is gathered for these products, and again for the
    gradient (see `fsdp.gathering`).
    """
    if isinstance(kernel.values, Shard):
        return jax.checkpoint(lambda x, kernel: _products(x, kernel.gathered(), parts))(x, kernel)
    return _products(x, kernel, parts)


def _product(x: Float[Array, "*b i"], kernel: Quantised) -> Float[Array, "*b o"]:
    """Quantises x, by its rows or by the scale that the kernel knows, and multiplies."""
    if kernel.input_scale is not None:
        values = jnp.clip(x.astype(jnp.float32) / kernel.input_scale, -_LARGEST, _LARGEST).astype(kernel.values.dtype)
        return _scaled_dot(values, kernel, x.dtype)
    values, scale, middle = _rounded(x.astype(jnp.float32), -1, jnp.int8, jnp)
    y = _dot(values, kernel.values, 0, jnp.int32) * scale
    total = scale * _sum(values, -1) + x.shape[-1] * middle
    return ((y + middle * _sum(kernel.values, 0)[0]) * kernel.scale + total * kernel.middle).astype(x.dtype)


def _every_product(x: Array, kernel: Quantised, parts: int) -> tuple[Array, ...]:
    return tuple(_product(x, part) for part in kernel.split(parts))


_products: Any = jax.custom_vjp(_every_product, nondiff_argnums=(2,))


def _forward(x: Array, kernel: Quantised, parts: int) -> tuple[tuple[Array, ...], Quantised]:
    return _every_product(x, kernel, parts), kernel


def _backward(parts: int, kernel: Quantised, gs: tuple[Float[Array, "*b p"], ...]) -> tuple[Array, None]:
    """Returns g W' for the kernel W as it is stored, its scale folded into g, whose rows are then quantised as well.

    With a scale for each row e4m3 has range enough, and it rounds half as coarsely as e5m2.
    """
    g = jnp.concatenate(gs, axis=-1)
    wide = g.astype(jnp.float32)
    values, scale, middle = _rounded(wide * kernel.scale, -1, kernel.values.dtype, jnp)
    if kernel.middle is None:
        return (_narrow_dot(values, kernel.values, g.dtype) * scale).astype(g.dtype), None
    y = _dot(values, kernel.values, 1, jnp.int32) * scale
    y = y + middle * _sum(kernel.values, 1)[:, 0] + jnp.sum(wide * kernel.middle, axis=-1, keepdims=True)
    return y.astype(g.dtype), None


_products.defvjp(_forward, _backward)


def _scaled_dot(values: Shaped[Array, "*b i"], kernel: Quantised, dtype: Any) -> Float[Array, "*b o"]:
    """Returns the product of activations in fp8 with a kernel, both by their scales, in `dtype`.

    For CUDA it is written as the product of what the numbers stand for, which is how XLA knows cuBLAS's with scales.
    """

    def cuda(values: Array, weights: Array, input_scale: Array, scale: Array) -> Array:
        # XLA does not know it where several products share a factor; see also `lift_jax.models.linear`.
        values, weights = jax.lax.optimization_barrier((values, weights))
        return (values.astype(dtype) * input_scale.astype(dtype)) @ (weights.astype(dtype) * scale.astype(dtype))

    def default(values: Array, weights: Array, input_scale: Array, scale: Array) -> Array:
        return (_dot(values, weights, 0, jnp.float32) * (input_scale * scale)).astype(dtype)

    given = values, kernel.values, kernel.input_scale, kernel.scale
    return jax.lax.platform_dependent(*given, cuda=cuda, default=default)


def _narrow_dot(values: Shaped[Array, "*b o"], weights: Shaped[Array, "i o"], dtype: Any) -> Float[Array, "*b i"]:
    """Returns the product of a gradient in fp8 with a transposed kernel in fp8, without their scales.

    cuBLAS sums fp8 in float32 and writes it in the activations' dtype, which the result gets at last in any case: half
    of the bytes are written and read again. Other compilers would sum in that dtype as well.
    """
    written, exact = (functools.partial(_dot, axis=1, kept=kept) for kept in (dtype, jnp.float32))
    return jax.lax.platform_dependent(values, weights, cuda=written, default=exact)


def _dot(x: Shaped[Array, "*b n"], kernel: Shaped[Array, "i o"], axis: int, kept: Any) -> Float[Array, "*b m"]:
    """Returns the product of x with one axis of the kernel, summed in `kept` and given in float32."""
    numbers = (((x.ndim - 1,), (axis,)), ((), ()))
    return jax.lax.dot_general(x, kernel, numbers, preferred_element_type=kept).astype(jnp.float32)


def _sum(values: Shaped[Array, "..."], axis: int) -> Float[Array, "..."]:
    """Adds up int8 values exactly along an axis, which is kept."""
    return jnp.sum(values, axis=axis, keepdims=True, dtype=jnp.int32).astype(jnp.float32)


def _rounded(x: Any, axis: int, dtype: Any, xp: Any) -> tuple[Any, Any, Any]:
    """Returns eight-bit values, scales and, of whole numbers, the middles along an axis, which is kept.

    The largest magnitude of the values is that of their type.

    Args:
        x: float32.
        axis: along which the values share scale and middle.
        dtype: of the values.
        xp: NumPy or jax.numpy.
    """
    if not jnp.issubdtype(dtype, jnp.integer):
        scale = _scale(xp.max(xp.abs(x), axis=axis, keepdims=True), jnp.finfo(dtype).max, xp)
        return (x / scale).astype(dtype), scale, None
    low, high = xp.min(x, axis=axis, keepdims=True), xp.max(x, axis=axis, keepdims=True)
    scale = _scale(high / 2 - low / 2, jnp.iinfo(dtype).max, xp)
    middle = low / 2 + high / 2
    return xp.round((x - middle) / scale).astype(dtype), scale, middle


def _scale(largest: Any, largest_value: Any, xp: Any) -> Any:
    scale = largest / np.float32(largest_value)
    return xp.where(scale == 0, np.float32(1), scale)
