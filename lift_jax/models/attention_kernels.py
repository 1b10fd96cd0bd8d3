"""Attention by the kernels of `jax.nn.dot_product_attention`: cuDNN's on NVIDIA GPUs (Dao 2023, arXiv 2307.08691)."""

import functools
import logging
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

_LOGGER = logging.getLogger(__name__)

Attention = Literal["plain", "xla", "cudnn"]
"""Who computes attention: "plain" is `lift_jax.models.attention`'s own form, from matrix products, for every compiler;
the others are implementations of `jax.nn.dot_product_attention`, of which "xla" runs on every device."""


@functools.cache
def best(device: Any, dtype: np.dtype, head_dim: int) -> Attention:
    """Chooses the attention for a device: "cudnn" on a GPU if it runs there, else "plain"; a GPU without it is told of.

    On a GPU the kernel is run once on three tokens, forward and backward, for nothing else knows whether this card,
    driver, cuDNN and JAX can do it together.

    Args:
        device: one of the devices that the program will run on.
        dtype: of the activations.
        head_dim: width of an attention head.
    """
    if device.platform != "gpu":
        return "plain"
    x = jax.ShapeDtypeStruct((1, 3, 1, head_dim), dtype, sharding=jax.sharding.SingleDeviceSharding(device))
    reason = f"it does not compute in {dtype}" if dtype.itemsize != 2 else _reason_against(x)
    if reason is None:
        return "cudnn"
    _LOGGER.warning("Attention is computed without cuDNN (%s), which is slower and takes more memory.", reason)
    return "plain"


def _reason_against(x: jax.ShapeDtypeStruct) -> str | None:
    """Runs cuDNN's attention forward and backward on arrays of a shape; gives the reason if it fails."""

    def total(x: Array) -> tuple[Array, Array]:
        attention = functools.partial(fused_attention, x, x, x, implementation="cudnn")
        ys = [attention(causal=False), attention(causal=True), attention(causal=False, hidden=1)]
        return jnp.sum(jnp.stack(ys), dtype=jnp.float32), ys[-1][:, -1]

    try:
        ones = jax.device_put(np.ones(x.shape, x.dtype), x.sharding)
        _, unseen = jax.jit(jax.grad(total, has_aux=True))(ones)
        if np.any(np.asarray(unseen)):
            return "it leaves numbers where a hidden token asks"
    except Exception as error:  # JAX's, XLA's and cuDNN's have no common base
        return str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
    return None


def fused_attention(
    q: Float[Array, "b s h d"],
    k: Float[Array, "b t h d"],
    v: Float[Array, "b t h d"],
    causal: bool,
    implementation: Literal["xla", "cudnn"],
    hidden: int = 0,
) -> Float[Array, "b s h d"]:
    """Computes softmax(q k' / sqrt(d)) v of each head. If `causal`, a token sees those before it and itself alone.

    No token sees the last `hidden` ones, which get no gradient; what they ask is answered by zeros. An axis that
    `jax.vmap` maps becomes part of the batch, for the kernel has no batching rule for given lengths.
    """
    return _attention(q, k, v, causal, implementation, hidden)  # pyright: ignore[reportReturnType]


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5))
def _attention(
    q: Array, k: Array, v: Array, causal: bool, implementation: Literal["xla", "cudnn"], hidden: int
) -> Array:
    return _folded(_kernel(causal, implementation, hidden))(q, k, v)


def _kernel(
    causal: bool, implementation: Literal["xla", "cudnn"], hidden: int
) -> Callable[[Array, Array, Array], Array]:
    """Gives attention for any lengths.

    cuDNN's backward pass takes only even lengths, so odd ones get a token of zeros, which no token sees.
    """

    def attention(q: Array, k: Array, v: Array) -> Array:
        batch, s, t = q.shape[0], q.shape[1], k.shape[1]
        lengths = {}
        if s % 2 or t % 2 or hidden:
            lengths["query_seq_lengths"] = jnp.full(batch, min(s, t - hidden), jnp.int32)
            lengths["key_value_seq_lengths"] = jnp.full(batch, t - hidden, jnp.int32)
        q, k, v = (jnp.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, 0), (0, 0))) for x in (q, k, v))
        y = jax.nn.dot_product_attention(q, k, v, is_causal=causal, implementation=implementation, **lengths)
        return y[:, :s]

    return attention


def _forward(
    q: Array, k: Array, v: Array, causal: bool, implementation: Literal["xla", "cudnn"], hidden: int
) -> tuple[Array, tuple[Array, Array, Array]]:
    def forward(q: Array, k: Array, v: Array) -> Array:
        return jax.vjp(_kernel(causal, implementation, hidden), q, k, v)[0]

    return _folded(forward)(q, k, v), (q, k, v)


def _backward(
    causal: bool, implementation: Literal["xla", "cudnn"], hidden: int, saved: tuple[Array, Array, Array], g: Array
) -> tuple[Array, Array, Array]:
    def backward(q: Array, k: Array, v: Array, g: Array) -> tuple[Array, Array, Array]:
        # It begins with the very call that `_forward` made, and XLA makes one of the two: what the kernel keeps for
        # its backward pass need not go through `_folded`.
        gradients = jax.vjp(_kernel(causal, implementation, hidden), q, k, v)[1](g)
        seen = k.shape[1] - hidden
        # Whatever the kernel leaves at hidden tokens must not reach the tuners' gradients, which are sums over tokens.
        dq, dk, dv = (jnp.pad(x[:, :seen], ((0, 0), (0, max(0, x.shape[1] - seen)), (0, 0), (0, 0))) for x in gradients)
        return dq, dk, dv

    return _folded(backward)(*saved, g)


_attention.defvjp(_forward, _backward)


def _folded(function: Callable[..., Any]) -> Callable[..., Any]:
    """Makes `jax.vmap` of a function one call of it, in which the mapped axis is part of the batch.

    Args:
        function: takes and gives arrays whose first axis is the batch.
    """
    folding = jax.custom_batching.custom_vmap(function)

    @folding.def_vmap
    def rule(size: int, is_mapped: list[bool], *arrays: Array) -> tuple[Any, Any]:
        def fold(x: Array, is_mapped: bool) -> Array:
            x = x if is_mapped else jnp.broadcast_to(x, (size, *x.shape))
            return x.reshape(-1, *x.shape[2:])

        results = _folded(function)(*map(fold, arrays, is_mapped))
        results = jax.tree.map(lambda y: y.reshape(size, -1, *y.shape[1:]), results)
        return results, jax.tree.map(lambda _: True, results)

    return folding
