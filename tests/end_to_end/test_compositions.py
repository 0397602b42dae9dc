"""Transformations compose, through real RPCs, and every route to a number gives the same number."""

from __future__ import annotations

from typing import Any

import autograd
import autograd.numpy as anp
import numpy as np
import pytest

import gradwire as gw

RNG = np.random.default_rng(20)
X = RNG.normal(size=5)
W = RNG.normal(size=(3, 5))


def vector(x: Any) -> Any:
    """R^5 -> R^3, with a bit of everything."""
    hidden = np.tanh(W @ x) + np.exp(-(x[1:4] ** 2))
    return hidden * np.sum(np.sin(x)) / (1.0 + np.abs(x[:3]))


def scalar(x: Any) -> Any:
    return np.sum(vector(x) ** 2) + np.max(x) * x[0]


def scalar_for_autograd(x: Any) -> Any:
    hidden = anp.tanh(anp.dot(W, x)) + anp.exp(-(x[1:4] ** 2))
    values = hidden * anp.sum(anp.sin(x)) / (1.0 + anp.abs(x[:3]))
    return anp.sum(values**2) + anp.max(x) * x[0]


def close(got: Any, expected: Any, tolerance: float = 1e-12) -> None:
    np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance)


def differences(function: Any, x: np.ndarray, step: float = 1e-6) -> np.ndarray:
    """Central differences; the derivative's axis last."""
    columns = [(function(x + step * e) - function(x - step * e)) / (2 * step) for e in np.eye(len(x))]
    return np.stack(columns, axis=-1)


def test_values_are_numpys() -> None:
    close(gw.remote(vector)(X), vector(X))


def test_forward_and_reverse_jacobians_agree_with_differences() -> None:
    forward, reverse = gw.jacfwd(vector)(X), gw.jacrev(vector)(X)
    close(forward, reverse)
    close(gw.jacobian(vector)(X), forward)
    close(forward, differences(vector, X), 1e-8)


def test_gradients_agree_with_an_independent_engine() -> None:
    close(gw.grad(scalar)(X), autograd.grad(scalar_for_autograd)(X))
    close(gw.hessian(scalar)(X), autograd.hessian(scalar_for_autograd)(X), 1e-11)


def test_jacobians_agree_at_an_infinite_slope() -> None:
    at = np.array([0.0, 4.0])
    expected = np.array([[np.inf, 0.0], [0.0, 0.25]])
    np.testing.assert_array_equal(gw.jacfwd(np.sqrt)(at), expected)
    np.testing.assert_array_equal(gw.jacrev(np.sqrt)(at), expected)


def test_jacobians_agree_where_a_partial_does_not_exist() -> None:
    def power(x: Any, y: Any) -> Any:
        return x**y

    for jacobian in (gw.jacfwd, gw.jacrev):
        by_x, by_y = jacobian(power, argnums=(0, 1))(-2.0, 2.0)
        assert by_x == -4.0
        assert np.isnan(by_y)


def test_the_hessian_is_the_differences_of_gradients_and_symmetric() -> None:
    hessian = gw.hessian(scalar)(X)
    close(hessian, hessian.T)
    close(hessian, differences(gw.grad(scalar), X), 1e-7)


def test_a_hessian_vector_product_is_the_hessian_times_the_vector() -> None:
    v = RNG.normal(size=5)
    gradient, product = gw.hvp(scalar, (X,), (v,))
    close(gradient, gw.grad(scalar)(X))
    close(product, gw.hessian(scalar)(X) @ v)


def test_a_vjp_is_the_jacobian_from_the_left_and_a_jvp_from_the_right() -> None:
    u, v = RNG.normal(size=3), RNG.normal(size=5)
    jacobian = gw.jacobian(vector)(X)
    value, tangent = gw.jvp(vector, (X,), (v,))
    close(value, vector(X))
    close(tangent, jacobian @ v)
    value, (cotangent,) = gw.vjp(vector, (X,), u)
    close(value, vector(X))
    close(cotangent, u @ jacobian)


def test_batched_gradients_are_a_loop_of_gradients() -> None:
    points = RNG.normal(size=(7, 5))
    batched = gw.vmap(gw.grad(scalar))(points)
    close(batched, np.stack([gw.grad(scalar)(point) for point in points]))
    close(gw.vmap(gw.hessian(scalar))(points), np.stack([gw.hessian(scalar)(point) for point in points]), 1e-11)
    close(gw.jacfwd(gw.vmap(scalar))(points), np.stack([np.eye(7)[i][:, None] * batched[i] for i in range(7)]))


def test_summed_is_the_sum_of_stacked() -> None:
    data = RNG.normal(size=(50, 5))

    def loss(w: Any, row: Any) -> Any:
        return np.logaddexp(0.0, np.sum(w * row))

    stacked = gw.vmap(gw.grad(loss), in_axes=(None, 0))(X, data)
    assert stacked.shape == (50, 5)
    close(gw.vmap(gw.grad(loss), in_axes=(None, 0), reduce="sum")(X, data), stacked.sum(axis=0))
    close(gw.vmap(gw.grad(loss), in_axes=(None, 0), reduce="mean")(X, data), stacked.mean(axis=0))
    total = gw.grad(gw.vmap(loss, in_axes=(None, 0), reduce="sum"))
    close(total(X, data), stacked.sum(axis=0))
    values, gradient = gw.vmap(gw.value_and_grad(loss), in_axes=(None, 0), reduce=(None, "sum"))(X, data)
    assert values.shape == (50,)
    close(gradient, stacked.sum(axis=0))


def test_a_gradient_inside_a_traced_function_differentiates_there() -> None:
    def squared_slope(x: Any) -> Any:
        return gw.grad(lambda y: y**3 * x)(x) ** 2  # (3 x^2 x)^2 = 9 x^6

    assert gw.remote(squared_slope)(2.0) == pytest.approx(9 * 2.0**6, rel=1e-14)
    assert gw.grad(squared_slope)(2.0) == pytest.approx(54 * 2.0**5, rel=1e-14)


def test_levels_of_differentiation_do_not_meet() -> None:
    def outer(x: Any) -> Any:
        return x * gw.grad(lambda y: x + y)(x)  # the inner slope is 1, whatever x is

    assert gw.grad(outer)(3.0) == 1.0


def test_third_derivatives() -> None:
    third = gw.grad(gw.grad(gw.grad(lambda x: np.sin(x) * x)))
    assert third(0.7) == pytest.approx(-3 * np.sin(0.7) - 0.7 * np.cos(0.7), rel=1e-13)
    mixed = gw.jacfwd(gw.jacrev(gw.grad(lambda x: np.sum(x**4))))(np.array([1.0, 2.0]))
    expected = np.zeros((2, 2, 2))
    expected[0, 0, 0], expected[1, 1, 1] = 24.0, 48.0
    close(mixed, expected)


def test_the_same_argument_twice() -> None:
    def product(x: Any, y: Any) -> Any:
        return x * y

    assert gw.grad(lambda x: product(x, x))(3.0) == 6.0
    assert gw.grad(product, argnums=(0, 1))(3.0, 3.0) == (3.0, 3.0)


def test_a_dict_of_arrays() -> None:
    parameters = {"w": W, "b": np.arange(3.0), "scale": 0.5}

    def model(p: Any, x: Any) -> Any:
        return np.sum(p["scale"] * np.tanh(p["w"] @ x + p["b"]))

    gradients = gw.grad(model)(parameters, X)
    slope = 1 - np.tanh(W @ X + parameters["b"]) ** 2
    assert gradients.keys() == parameters.keys()
    close(gradients["w"], 0.5 * np.outer(slope, X))
    close(gradients["b"], 0.5 * slope)
    close(gradients["scale"], np.sum(np.tanh(W @ X + parameters["b"])))


@pytest.mark.parametrize("size", [3, 200], ids=["a constant of the graph", "a shared input, sent by digest"])
def test_a_closed_over_array_may_change_between_calls(size: int) -> None:
    weights = np.arange(float(size))
    gradient = gw.grad(lambda x: np.sum(weights * x**2))
    x = np.ones(size)
    close(gradient(x), 2 * weights)
    weights = weights + 1.0
    close(gradient(x), 2 * weights)
    weights[0] = 100.0  # in place
    close(gradient(x), 2 * weights)


def test_auxiliary_results_are_returned_as_they_are() -> None:
    def f(x: Any) -> Any:
        return np.sum(x**2), {"double": 2 * x}

    gradient, aux = gw.grad(f, has_aux=True)(X)
    close(gradient, 2 * X)
    close(aux["double"], 2 * X)
    (value, aux), gradient = gw.value_and_grad(f, has_aux=True)(X)
    close(value, np.sum(X**2))


def test_a_gradient_without_a_path_is_zeros() -> None:
    def f(x: Any, y: Any) -> Any:
        return np.sum(x)

    np.testing.assert_array_equal(gw.grad(f, argnums=1)(X, np.ones((2, 3))), np.zeros((2, 3)))


def test_chunks_of_a_map_are_the_whole_batch() -> None:
    points = RNG.normal(size=(1003, 5))
    close(gw.vmap(gw.grad(scalar)).map(points, chunk=100), gw.vmap(gw.grad(scalar))(points))


def test_a_graph_50_000_nodes_deep() -> None:
    def deep(x: Any) -> Any:
        for i in range(25_000):
            x = np.sin(x) if i % 2 else x * 1.0001
        return x + x

    value, slope = gw.value_and_grad(deep)(0.5)
    nodes = 0.5, 1.0
    for i in range(25_000):
        v, d = nodes
        nodes = (np.sin(v), np.cos(v) * d) if i % 2 else (v * 1.0001, 1.0001 * d)
    assert value == pytest.approx(2 * nodes[0], rel=1e-9)
    assert slope == pytest.approx(2 * nodes[1], rel=1e-9)
