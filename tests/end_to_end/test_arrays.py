"""Arrays of every kind survive the way there and back: values, shapes, strides, byte orders, dtypes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gradwire as gw


def test_nan_and_infinities_are_data() -> None:
    x = np.array([np.nan, np.inf, -np.inf, -0.0, 1e-320])
    got = gw.remote(lambda x: x * 1.0)(x)
    np.testing.assert_array_equal(got, x)
    assert np.signbit(got[3])
    np.testing.assert_array_equal(gw.remote(np.log)(np.array([0.0, -1.0])), [-np.inf, np.nan])
    assert gw.grad(np.sqrt)(0.0) == np.inf


@pytest.mark.parametrize("shape", [(0,), (0, 3), (2, 0), (), (1,), (1, 1), (4, 3)], ids=str)
def test_shapes(shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(3).normal(size=shape)
    value, gradient = gw.value_and_grad(lambda x: np.sum(np.sin(x)))(x)
    np.testing.assert_allclose(value, np.sum(np.sin(x)), rtol=1e-14)
    np.testing.assert_allclose(gradient, np.cos(x), rtol=1e-14)
    assert gradient.shape == shape


def test_an_empty_batch() -> None:
    values, gradients = gw.vmap(gw.value_and_grad(lambda x: np.sum(x**2)))(np.empty((0, 3)))
    assert values.shape == (0,)
    assert gradients.shape == (0, 3)
    summed = gw.vmap(gw.grad(lambda x: np.sum(x**2)), reduce="sum")(np.empty((0, 3)))
    np.testing.assert_array_equal(summed, np.zeros(3))


def test_strides_and_byte_orders() -> None:
    base = np.random.default_rng(4).normal(size=(6, 8))

    def f(x: Any) -> Any:
        return np.sum(x * np.arange(x.size).reshape(x.shape))

    for x in (base.T, base[::2, ::-1], base.astype(">f8"), np.asfortranarray(base), base[:, 3]):
        got = gw.grad(f)(x)
        np.testing.assert_array_equal(got, np.arange(x.size, dtype=float).reshape(x.shape))
        np.testing.assert_array_equal(gw.remote(lambda x: x + 0.0)(x), x)


def test_results_are_scalars_or_writable_arrays_in_c_order() -> None:
    value, gradient = gw.value_and_grad(lambda x: np.sum(x.T))(np.ones((2, 3)))
    assert isinstance(value, np.float64)
    assert gradient.flags.writeable
    assert gradient.flags.c_contiguous
    gradient[0, 0] = 5.0


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.int64, np.bool_])
def test_dtypes_stay(dtype: Any) -> None:
    x = np.array([[0, 1], [1, 0]], dtype=dtype)
    got = gw.remote(lambda x: x.T)(x)
    assert got.dtype == dtype
    np.testing.assert_array_equal(got, x.T)


def test_float32_gradients_are_float32() -> None:
    x = np.float32([0.5, 1.5])
    gradient = gw.grad(lambda x: np.sum(np.sin(x) * 2.0))(x)
    assert gradient.dtype == np.float32
    np.testing.assert_allclose(gradient, 2 * np.cos(x), rtol=1e-6)
