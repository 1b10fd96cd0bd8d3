"""Products in eight bits: as near to those in float64 as rounding allows, and the gradient through them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lift_jax.models import quantised

FORMATS: list[quantised.Format] = ["int8", "fp8"]
ROWS, INPUTS, OUTPUTS = 5, 32, 7

MATMUL = jax.jit(lambda x, kernel: quantised.products(x, kernel)[0])
GRADIENT = jax.jit(lambda x, kernel, g: jax.vjp(lambda x: quantised.products(x, kernel)[0], x)[1](g)[0])


def steps(x: np.ndarray, axis: int) -> np.ndarray:
    """By how much each entry may change in int8: half of a step, of which 254 go from the smallest to the largest."""
    return np.broadcast_to(np.ptp(x, axis=axis, keepdims=True) / 254 / 2, x.shape)


def places(x: np.ndarray, scale: np.ndarray | float) -> np.ndarray:
    """By how much each entry may change in fp8: half a unit in the last place, or half of the least number."""
    return np.maximum(np.abs(x) * 2.0**-4, scale * 2.0**-10)


def rows(x: np.ndarray, format: quantised.Format) -> np.ndarray:
    """By how much each entry may change if each row is measured."""
    return steps(x, 1) if format == "int8" else places(x, np.abs(x).max(axis=1, keepdims=True) / 448)


def bound(x: np.ndarray, dx: np.ndarray, w: np.ndarray, dw: np.ndarray) -> np.ndarray:
    """How far a product may be off if its factors are changed by at most dx and dw, and float32 rounds it."""
    return 1.0001 * (dx @ np.abs(w) + (np.abs(x) + dx) @ dw) + 1e-5 * np.abs(x) @ np.abs(w)


@st.composite
def factors(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of very different size, with single entries that stand out."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x, w = generator.normal(size=(ROWS, INPUTS)), generator.normal(size=(INPUTS, OUTPUTS))
    x *= 10.0 ** np.array(draw(st.lists(st.integers(-6, 6), min_size=ROWS, max_size=ROWS)))[:, None]
    w *= 10.0 ** np.array(draw(st.lists(st.integers(-6, 6), min_size=OUTPUTS, max_size=OUTPUTS)))
    x[:, draw(st.integers(0, INPUTS - 1))] *= draw(st.sampled_from([0, 1, 40, 1000]))
    w[draw(st.integers(0, INPUTS - 1))] *= draw(st.sampled_from([0, 1, 40, 1000]))
    return x.astype(np.float32), w.astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(drawn=factors())
def test_a_product_in_int8_is_within_the_bound_of_its_rounding(drawn):
    x, w = drawn
    y = np.asarray(MATMUL(x, quantised.quantise_kernel(w, "int8", np.inf)), np.float64)
    x, w = x.astype(np.float64), w.astype(np.float64)
    assert (np.abs(y - x @ w) <= bound(x, steps(x, 1), w, steps(w, 0))).all()


@settings(max_examples=60, deadline=None)
@given(drawn=factors(), looseness=st.sampled_from([1, 30, 1000]))
def test_a_product_in_fp8_is_within_the_bound_of_its_rounding_however_loose_the_limit_is(drawn, looseness):
    x, w = drawn
    limit = float(looseness * np.abs(x).max())
    kernel = quantised.quantise_kernel(w, "fp8", limit)
    y = np.asarray(MATMUL(x, kernel), np.float64)
    x, w = x.astype(np.float64), w.astype(np.float64)
    # A power of two is less than twice as large as it must be.
    dx, dw = places(x, 2 * limit / 448), places(w, 2 * np.abs(w).max() / 448)
    assert (np.abs(y - x @ w) <= bound(x, dx, w, dw)).all()


@pytest.mark.parametrize("largest", [0, 2.0**-120, 447, 448, 449, 1e30])
def test_the_scales_of_fp8_are_powers_of_two_by_which_the_largest_number_just_fits(largest):
    kernel = quantised.quantise_kernel(np.array([[largest, -largest / 3]], np.float32), "fp8", largest)
    for scale in kernel.scale, kernel.input_scale:
        assert scale.dtype == np.float32 and np.frexp(scale)[0] == 0.5
        assert largest / scale <= 448 and (largest == 0 or largest / scale > 224)
    np.testing.assert_allclose(kernel.unbox(), [[largest, -largest / 3]], rtol=2.0**-4)


@pytest.mark.parametrize("format", FORMATS)
@settings(max_examples=60, deadline=None)
@given(drawn=factors(), seed=st.integers(0, 2**32 - 1))
def test_the_gradient_is_that_of_the_stored_kernel_within_the_bound_of_its_rounding(format, drawn, seed):
    x, w = drawn
    kernel = quantised.quantise_kernel(w, format, 1.0)
    # The gradient's columns differ in size where the kernel's do, so that the scales have to be folded in.
    g = np.random.default_rng(seed).normal(size=(ROWS, OUTPUTS)).astype(np.float32)
    found = np.asarray(GRADIENT(x, kernel, g), np.float64)
    values, scaled = np.asarray(kernel.values, np.float64), g * np.asarray(kernel.scale, np.float64)
    middle = np.zeros(OUTPUTS) if kernel.middle is None else np.asarray(kernel.middle, np.float64)
    changed = rows(scaled, format)
    expected = scaled @ values.T + (g @ middle)[:, None]
    allowed = bound(scaled, changed, values.T, np.zeros_like(values.T)) + 1e-5 * (np.abs(g) @ np.abs(middle))[:, None]
    assert (np.abs(found - expected) <= allowed).all()
    products = values * np.asarray(kernel.scale, np.float64)
    assert (np.abs(kernel.unbox() - (products + middle)) <= 1e-6 * (np.abs(products) + np.abs(middle))).all()


@pytest.mark.parametrize("format", FORMATS)
def test_what_eight_bits_hold_exactly_is_multiplied_exactly(format):
    x = np.array([[448, -224, 0, 14], [0, 0, 0, 0]], np.float32) if format == "fp8" else None
    x = np.array([[127, -127, 0, 50], [0, 0, 0, 0]], np.float32) if x is None else x
    kernel = quantised.quantise_kernel(np.stack([x[0], 2 * x[0], 0 * x[0]], axis=1), format, 448.0)
    np.testing.assert_array_equal(MATMUL(x, kernel), x @ np.stack([x[0], 2 * x[0], 0 * x[0]], axis=1))
    np.testing.assert_array_equal(kernel.unbox(), np.stack([x[0], 2 * x[0], 0 * x[0]], axis=1))


def test_what_is_beyond_the_limit_counts_as_the_limit():
    kernel = quantised.quantise_kernel(np.eye(4, dtype=np.float32), "fp8", 14.0)
    x = np.array([[14, 15, -1e6, 7]], np.float32)
    np.testing.assert_allclose(MATMUL(x, kernel), [[14, 14, -14, 7]], rtol=1e-6)
    np.testing.assert_allclose(GRADIENT(x, kernel, 0 * x + 2), [[2, 2, 2, 2]], rtol=1e-6)


def test_int8_uses_all_its_steps_however_far_from_zero_the_middle_of_the_values_is():
    x = np.array([[1000, 1001, 1127, 1254], [-5, -5, -5, -5]], np.float32)
    w = np.array([[7, 300], [7, 301], [7, 430], [7, 554]], np.float32)
    kernel = quantised.quantise_kernel(w, "int8", np.inf)
    np.testing.assert_array_equal(kernel.unbox(), w)
    np.testing.assert_allclose(MATMUL(x, kernel), x @ w, rtol=1e-6)
    g = np.array([[254, 127], [0, 0]], np.float32)  # the kernel's scales are 1 and 1
    np.testing.assert_allclose(GRADIENT(x, kernel, g), g @ w.T, rtol=1e-6)


@pytest.mark.parametrize("format", FORMATS)
def test_what_is_no_number_stays_none_and_spoils_its_row_alone(format):
    x = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    kernel = quantised.quantise_kernel(np.eye(4, dtype=np.float32), format, 9.0)
    before = np.asarray(MATMUL(x, kernel))
    x[1, 2] = np.nan
    after = np.asarray(MATMUL(x, kernel))
    assert np.isnan(after[1]).all()
    np.testing.assert_array_equal(after[[0, 2]], before[[0, 2]])


@pytest.mark.parametrize("format", FORMATS)
def test_activations_of_bfloat16_give_bfloat16_and_members_give_what_each_gives_alone(format):
    generator = np.random.default_rng(0)
    kernel = quantised.quantise_kernel(generator.normal(size=(INPUTS, OUTPUTS)).astype(np.float32), format, 4.0)
    x = jnp.asarray(generator.normal(size=(2, ROWS, INPUTS)), jnp.bfloat16)
    g = jnp.asarray(generator.normal(size=(2, ROWS, OUTPUTS)), jnp.bfloat16)
    y, gradient = jax.vmap(MATMUL, (0, None))(x, kernel), jax.vmap(GRADIENT, (0, None, 0))(x, kernel, g)
    assert y.dtype == gradient.dtype == jnp.bfloat16
    for member in range(2):
        np.testing.assert_array_equal(y[member], MATMUL(x[member], kernel))
        np.testing.assert_array_equal(gradient[member], GRADIENT(x[member], kernel, g[member]))
