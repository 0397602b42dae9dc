"""Transformed functions inside of traced ones, and functions that are not plain functions."""

from __future__ import annotations

from typing import Any

import numpy as np
from tests.kit.client.evaluating import assert_same

import gradwire as gw


def f(x: Any, y: Any) -> Any:
    return np.sin(x) + x * y


X = np.array([0.5, -1.0, 2.0])


def test_a_transformed_function_inside_a_traced_one() -> None:
    def outer(x: Any) -> Any:
        return x * gw.grad(lambda y: x * y**2)(x)  # 2 x^3

    assert_same(gw.remote(outer)(3.0), np.float64(54.0))
    assert_same(gw.grad(outer)(3.0), np.float64(54.0))
    assert_same(gw.grad(gw.grad(outer))(3.0), np.float64(36.0))


def test_levels_of_differentiation_are_not_confused() -> None:
    # d/dx (x * d/dy (x + y)) = 1; confusing x's tangent with y's gives 2.
    assert_same(gw.grad(lambda x: x * gw.grad(lambda y: x + y)(1.0))(2.0), np.float64(1.0))
    forward = gw.jvp(lambda x: x * gw.jvp(lambda y: x + y, (1.0,), (1.0,))[1], (2.0,), (1.0,))[1]
    assert_same(forward, np.float64(1.0))
    both = gw.jvp(lambda x: gw.grad(lambda y: x**2 * y**3)(2.0), (3.0,), (1.0,))[1]
    assert_same(both, np.float64(72.0))  # d/dx 12 x^2


def test_every_transformation_inside_a_trace() -> None:
    def cube(x: Any) -> Any:
        return np.sum(x**3)

    def everything(x: Any) -> Any:
        value, gradient = gw.value_and_grad(cube)(x)
        _, tangent = gw.jvp(cube, (x,), (np.ones(3),))
        _, (pulled,) = gw.vjp(cube, (x,), 2.0)
        _, product = gw.hvp(cube, (x,), (x,))
        rows = gw.vmap(lambda t: t * x)(np.arange(2.0))
        total = gw.vmap(lambda t: t * x, reduce="mean")(np.arange(2.0))
        diagonal = np.diagonal(gw.hessian(cube)(x)) + np.diagonal(gw.jacfwd(gw.grad(cube))(x))
        return value, gradient, tangent, pulled, product, rows, total, diagonal, gw.remote(cube)(x)

    x = X
    expected = (
        np.sum(x**3), 3 * x**2, np.sum(3 * x**2), 6 * x**2, 6 * x * x, np.stack([0 * x, x]), x / 2, 12 * x,
        np.sum(x**3),
    )  # fmt: skip
    assert_same(gw.remote(everything)(x), expected)


def test_third_derivatives() -> None:
    third = gw.grad(gw.grad(gw.grad(lambda x: np.sin(x) * x)))
    assert_same(third(0.7), np.float64(-3 * np.sin(0.7) - 0.7 * np.cos(0.7)))
    assert_same(gw.jacfwd(gw.jacrev(gw.jacfwd(lambda x: x**4)))(2.0), np.float64(48.0))
    assert_same(gw.grad(lambda x: np.sum(gw.hessian(lambda y: np.sum(y**4))(x)))(X), 24 * X)


def test_the_same_argument_twice() -> None:
    assert_same(gw.grad(lambda x: f(x, x))(1.5), np.float64(np.cos(1.5) + 3.0))


def test_large_arrays_of_the_function_around() -> None:
    table = np.random.default_rng(0).normal(size=(10, 10))

    def outer(x: Any) -> Any:
        return np.sum(gw.grad(lambda y: np.sum((table @ y) ** 2) * np.sum(x))(x))

    x = np.ones(10)
    expected = gw.grad(lambda x: np.sum(2 * table.T @ (table @ x)) * np.sum(x))(x)
    assert_same(gw.grad(outer)(x), expected)


def test_functions_that_are_not_plain_functions() -> None:
    import functools

    class Scaled:
        def __init__(self, by: float) -> None:
            self.by = by

        def __call__(self, x: Any) -> Any:
            return np.sum(x**2) * self.by

        def method(self, x: Any) -> Any:
            return np.sum(x**2) * self.by

    assert_same(gw.grad(Scaled(2.0))(X), 4 * X)
    assert_same(gw.grad(Scaled(3.0).method)(X), 6 * X)
    assert_same(gw.grad(functools.partial(f, y=2.0))(1.5), np.float64(np.cos(1.5) + 2.0))
    assert_same(gw.grad(np.sin)(1.5), np.float64(np.cos(1.5)))
