"""Scaled dot-product attention (Vaswani et al. 2017, arXiv 1706.03762, eq. 1), softmax in float32."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lift_jax.models.attention_kernels import Attention, fused_attention
from lift_jax.models.rotary import rotate


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def scaled_dot_product(
    q: Float[Array, "n s d"], k: Float[Array, "n t d"], v: Float[Array, "n t d"], causal: bool = False
) -> Float[Array, "n s d"]:
    """Computes softmax(q k' / sqrt(d)) v. If `causal`, a token sees those before it and itself alone.

    There is one batch axis, over examples and heads: XLA for the CPU runs such products at several times the speed of
    the einsum over (b, q, h, d), and the TPU and GPU compilers make the same program of both.

    Where no gradient is asked for, the softmax's division comes after the product with v, which is the smaller array
    (Dao 2023, arXiv 2307.08691, section 3.1), and both results differ by their rounding. The gradient needs the
    quotient itself; to keep the two factors for it made the TPU compiler move more bytes.
    """
    scores = _scores(q, k, causal)
    # Rounded before they are summed: the TPU compilers then write one array and not two.
    exponentials = jnp.exp(scores - jnp.max(scores, axis=-1, keepdims=True)).astype(v.dtype)
    total = jnp.sum(exponentials, axis=-1, keepdims=True, dtype=jnp.float32)
    y = jnp.matmul(exponentials, v, preferred_element_type=jnp.float32)
    return (y / total).astype(v.dtype)


def _scores(q: Array, k: Array, causal: bool) -> Float[Array, "n s t"]:
    scores = jnp.matmul(q * q.shape[-1] ** -0.5, k.transpose(0, 2, 1), preferred_element_type=jnp.float32)
    if not causal:
        return scores
    return jnp.where(jnp.tril(jnp.ones(scores.shape[1:], bool)), scores, jnp.finfo(jnp.float32).min)


def _forward(q: Array, k: Array, v: Array, causal: bool) -> tuple[Array, Any]:
    def normalized(q: Array, k: Array, v: Array) -> Array:
        return jax.nn.softmax(_scores(q, k, causal), axis=-1).astype(v.dtype) @ v

    return jax.vjp(normalized, q, k, v)


def _backward(causal: bool, transposed: Any, g: Array) -> tuple[Array, Array, Array]:
    return transposed(g)


scaled_dot_product.defvjp(_forward, _backward)


def multi_head_attention(
    qkv: Float[Array, "b t d3"],
    num_heads: int,
    causal: bool = False,
    first: int | None = None,
    angles: Float[Array, "n r"] | None = None,
    attention: Attention = "plain",
    hidden: int = 0,
) -> Float[Array, "b s d"]:
    """Computes multi-head attention up to the output projection (Vaswani et al. 2017, section 3.2.2).

    Args:
        qkv: queries, keys and values side by side, in this order.
        num_heads: number of heads; divides the width.
        causal: whether a token sees those before it and itself alone.
        first: number of tokens whose result is asked for, from the first; all if absent.
        angles: rotary positions, by which the queries and keys of the first n tokens are turned; none if absent.
        attention: who computes it.
        hidden: number of tokens that none sees, the last ones; their results have no meaning. Not with "plain".
    """
    b, t, d3 = qkv.shape
    d = d3 // (3 * num_heads)
    if attention != "plain":
        q, k, v = (x.reshape(b, t, num_heads, d) for x in jnp.split(qkv, 3, axis=-1))
        if angles is not None:
            q, k = (jax.vmap(rotate, in_axes=(2, None), out_axes=2)(x, angles) for x in (q, k))
        return fused_attention(q[:, :first], k, v, causal, attention, hidden).reshape(b, -1, num_heads * d)
    q, k, v = qkv.reshape(b, t, 3, num_heads, d).transpose(2, 0, 3, 1, 4).reshape(3, b * num_heads, t, d)
    if angles is not None:
        q, k = rotate(q, angles), rotate(k, angles)
    y: Array = scaled_dot_product(q[:, :first], k, v, causal)  # pyright: ignore[reportAssignmentType]
    return y.reshape(b, num_heads, -1, d).transpose(0, 2, 1, 3).reshape(b, -1, num_heads * d)


def query_attention(
    query: Float[Array, "b d"], kv: Float[Array, "b t d2"], num_heads: int, attention: Attention = "plain"
) -> Float[Array, "b d"]:
    """Computes multi-head attention of one query over tokens, up to the output projection.

    Args:
        query: projected already.
        kv: keys and values side by side, in this order.
        num_heads: number of heads; divides the width.
        attention: who computes it.
    """
    b, width = query.shape
    q, k, v = (x.reshape(b, -1, num_heads, width // num_heads) for x in (query, *jnp.split(kv, 2, axis=-1)))
    if attention != "plain":
        return fused_attention(q, k, v, False, attention).reshape(b, width)
    q, k, v = (x.transpose(0, 2, 1, 3).reshape(b * num_heads, -1, x.shape[-1]) for x in (q, k, v))
    y: Array = scaled_dot_product(q, k, v)  # pyright: ignore[reportAssignmentType]
    return y.reshape(b, width)


@jax.custom_vjp
def written(y: Float[Array, "b s d"]) -> Float[Array, "b s d"]:
    """Returns y, which the compiler for TPUs, in a training step, then makes no one kernel of with what follows.

    A kernel of attention's result and of the layer norm that EVA02 has there moves more bytes, and at a width of
    1,024 the compiler aborts over it (libtpu 0.0.52). Other devices, and evaluation, have the program of before.
    """
    return y


def _written_forward(y: Array) -> tuple[Array, None]:
    return jax.lax.platform_dependent(y, tpu=jax.lax.optimization_barrier, default=lambda y: y), None


def _written_backward(_: None, g: Array) -> tuple[Array]:
    return (g,)


written.defvjp(_written_forward, _written_backward)
