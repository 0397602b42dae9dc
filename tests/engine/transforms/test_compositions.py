"""Transforms of transforms: every road to a derivative leads to the same numbers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from tests.kit.engine.building import F64, f64, graph_of, operations, run
from tests.kit.engine.derivatives import higher
from tests.kit.engine.network import NETWORK, matvec, network_point, small_network

from gradwire_engine.graph import Graph
from gradwire_engine.program import Grad, Jacobian, JacobianMode, Jvp, Transform, Vjp
from gradwire_engine.transform import apply
from gradwire_engine.transforms.jacobian import jacobian, jacobian_forward, jacobian_reverse
from gradwire_engine.transforms.jvp import jvp
from gradwire_engine.transforms.reverse import grad, vjp
from gradwire_engine.types import DType, TensorType
from gradwire_engine.value import Value
from gradwire_engine.vocabulary import (
    astype,
    broadcast_to,
    exp,
    expit,
    integer_power,
    log,
    sin,
    softmax,
    sum_over,
)

FORWARD, REVERSE, AUTO = JacobianMode.FORWARD, JacobianMode.REVERSE, JacobianMode.AUTO


# The same derivative by different roads


@pytest.mark.parametrize("wrt", [(0,), (1,), (2, 0)])
def test_forward_reverse_and_auto_jacobians_agree(wrt: tuple[int, ...]) -> None:
    graph = graph_of(lambda w, x, y: softmax(matvec(w, x), [0]) * exp(y), *NETWORK)
    found = [run(jacobian(graph, wrt, mode), *network_point()) for mode in (FORWARD, REVERSE, AUTO)]
    for forward, reverse, auto in zip(*found, strict=True):
        np.testing.assert_allclose(forward, reverse, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(auto, reverse, rtol=1e-12, atol=1e-14)


def test_auto_takes_forward_for_few_inputs_and_reverse_for_few_outputs() -> None:
    wide = graph_of(lambda x: sin(broadcast_to(x, (50,))), F64)
    assert str(jacobian(wide, [0])) == str(jacobian_forward(wide, [0]))
    tall = graph_of(lambda x: sum_over(sin(x), [0]), f64(50))
    assert str(jacobian(tall, [0])) == str(jacobian_reverse(tall, [0]))


def test_large_jacobians_use_computed_seeds() -> None:
    """Unit seeds of more than 64 elements are not stored in the program."""
    graph = graph_of(lambda x: x * x, f64(9, 9))
    for mode in (FORWARD, REVERSE):
        transformed = jacobian(graph, [0], mode)
        assert "iota" in operations(transformed)
        x = np.arange(81.0).reshape(9, 9)
        (found,) = run(transformed, x)
        np.testing.assert_array_equal(found.reshape(81, 81), np.diag(2 * x.ravel()))


def test_gradients_of_the_network_are_columns_of_its_jacobians() -> None:
    graph = graph_of(small_network, *NETWORK)
    point = network_point()
    gradients = run(grad(graph, [0, 1, 2]), *point)
    for i, gradient in enumerate(gradients):
        np.testing.assert_allclose(run(jacobian_forward(graph, [i]), *point)[0], gradient, rtol=1e-12)
        direction = np.asarray(np.random.default_rng(i).standard_normal(point[i].shape))
        tangent = run(jvp(graph, [i]), *point, direction)[1]
        np.testing.assert_allclose(tangent, np.sum(gradient * direction), rtol=1e-12)


def hessian(inner: str, outer: str) -> list[Transform]:
    modes = {"forward": FORWARD, "reverse": REVERSE}
    return [Grad((1,)) if inner == "grad" else Jacobian((1,), modes[inner]), Jacobian((1,), modes[outer])]


def test_hessians_agree_whatever_their_modes_and_are_symmetric() -> None:
    graph = graph_of(small_network, *NETWORK)
    point = network_point()
    found = {
        f"{outer} over {inner}": run(apply(graph, hessian(inner, outer)), *point)[0]
        for inner in ("grad", "forward", "reverse")
        for outer in ("forward", "reverse")
    }
    expected = found["forward over grad"]
    assert expected.shape == (4, 4)
    for how, matrix in found.items():
        np.testing.assert_allclose(matrix, expected, rtol=1e-11, atol=1e-13, err_msg=how)
    np.testing.assert_allclose(expected, expected.T, rtol=1e-12, atol=1e-14)
    step = 1e-5
    gradient = grad(graph, [1])
    for column, unit in enumerate(np.eye(4)):
        ahead, behind = (run(gradient, point[0], point[1] + s * unit, point[2])[0] for s in (step, -step))
        np.testing.assert_allclose(expected[:, column], (ahead - behind) / (2 * step), rtol=1e-7, atol=1e-9)


def test_a_hessian_times_a_vector_by_three_roads() -> None:
    graph = graph_of(small_network, *NETWORK)
    point, v = network_point(), np.array([1.0, -2.0, 0.5, 0.0])
    matrix = run(apply(graph, [Grad((1,)), Jacobian((1,))]), *point)[0]
    forward_over_reverse = run(apply(graph, [Grad((1,)), Jvp((1,))]), *point, v)[1]
    reverse_over_reverse = run(apply(graph, [Grad((1,)), Vjp((1,))]), *point, v)[1]
    directional = Graph(*(lambda g: (g.inputs, g.nodes, g.outputs[1:]))(apply(graph, [Jvp((1,))])))
    reverse_over_forward = run(apply(directional, [Grad((1,))]), *point, v)[0]
    for product in (forward_over_reverse, reverse_over_reverse, reverse_over_forward):
        np.testing.assert_allclose(product, matrix @ v, rtol=1e-11)


@pytest.mark.parametrize(
    ("function", "point", "derivatives"),
    [
        (sin, 0.6, [np.cos(0.6), -np.sin(0.6), -np.cos(0.6), np.sin(0.6)]),
        (exp, 0.3, [np.exp(0.3)] * 4),
        (lambda x: integer_power(x, 4), 1.5, [4 * 1.5**3, 12 * 1.5**2, 24 * 1.5, 24.0]),
        (log, 2.0, [1 / 2, -1 / 4, 1 / 4, -3 / 8]),
        (lambda x: x.emit("pow", x.like(3.0)), 2.0, [12.0, 12.0, 6.0, 0.0]),
        (lambda x: expit(x), 0.0, [0.25, 0.0, -0.125, 0.0]),
    ],
    ids=["sin", "exp", "x**4", "log", "pow", "expit"],
)
def test_derivatives_to_the_fourth_by_every_mixture_of_modes(
    function: Callable[[Value], Value], point: float, derivatives: list[float]
) -> None:
    for order, expected in enumerate(derivatives, start=1):
        graphs = higher(graph_of(function, F64), order)
        assert len(graphs) == 2**order
        for modes, graph in graphs.items():
            np.testing.assert_allclose(run(graph, point)[0], expected, rtol=1e-12, atol=1e-14, err_msg=modes)


# Values that are used more than once, not at all, and inside other derivatives


@pytest.mark.parametrize("mode", ["forward", "reverse"])
def test_a_function_of_one_value_twice(mode: str) -> None:
    """f(x, x): the two contributions add."""
    graph = graph_of(lambda x: (x / (x + 1.0)) * (x * x), F64)
    derivative = jacobian_forward(graph, [0]) if mode == "forward" else grad(graph, [0])
    x = 2.0
    np.testing.assert_allclose(run(derivative, x)[0], 3 * x**2 / (x + 1) - x**3 / (x + 1) ** 2, rtol=1e-15)


def test_a_value_used_many_times_gets_every_contribution() -> None:
    def function(x: Value) -> Value:
        total = x
        for _ in range(10):
            total = total + total * x
        return total

    graph = graph_of(function, F64)
    assert run(grad(graph, [0]), 0.0) == [1.0]
    assert run(grad(graph, [0]), 1.0) == [2.0**10 + 10 * 2.0**9]


def test_perturbations_of_nested_derivatives_are_not_confused() -> None:
    """d/dx [x · d/dy (x + y)] is 1; confusing the two perturbations gives 2."""
    inner = graph_of(lambda x, y: x + y, F64, F64)
    for transforms in ([Jacobian((1,), FORWARD)], [Jacobian((1,), REVERSE)], [Grad((1,))]):
        derivative = apply(inner, transforms)

        def outer(x: Value, derivative: Graph = derivative) -> Value:
            (slope,) = x.builder.inline(derivative, [x, x.like(1.0)])  # type: ignore[attr-defined]
            return x * slope

        graph = graph_of(outer, F64)
        for road in (jacobian_forward, jacobian_reverse, grad):
            assert run(road(graph, [0]), 5.0) == [1.0]


def test_a_derivative_inside_a_function_by_the_variable_it_closes_over() -> None:
    """d/dx [x · d/dy (x y²) at y = x] = d/dx 2 x³ = 6 x²."""
    inner = graph_of(lambda x, y: x * y * y, F64, F64)
    for mode in (FORWARD, REVERSE):
        derivative = apply(inner, [Jacobian((1,), mode)])
        graph = graph_of(lambda x, d=derivative: x * x.builder.inline(d, [x, x])[0], F64)
        for road in (jacobian_forward, jacobian_reverse):
            np.testing.assert_allclose(run(road(graph, [0]), 2.0)[0], 24.0)


def test_a_tangent_passed_through_two_levels_stays_with_its_level() -> None:
    """jvp of jvp with two different directions: the mixed second directional derivative."""
    graph = graph_of(lambda x, y: x * x * y, F64, F64)
    twice = jvp(jvp(graph, [0, 1]), [0, 1])
    x, y = 2.0, 3.0
    (value, inner, outer, both) = run(twice, x, y, 1.0, 0.0, 0.0, 1.0)
    assert (value, inner, outer, both) == (12.0, 12.0, 4.0, 4.0)


@pytest.mark.parametrize(
    "transforms",
    [[Grad((1,))], [Jacobian((1,), FORWARD)], [Jacobian((1,), REVERSE)], [Grad((0,)), Jacobian((1,))]],
    ids=["grad", "forward", "reverse", "second"],
)
def test_an_input_that_does_not_matter_has_a_derivative_of_zeros(transforms: list[Transform]) -> None:
    graph = graph_of(lambda x, y: sin(x), F64, f64(2, 3))
    (found,) = run(apply(graph, transforms), 0.5, np.ones((2, 3)))
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, np.zeros((2, 3)))


def test_sweeps_of_what_does_not_vary_give_zeros() -> None:
    graph = graph_of(lambda x, y: [sin(x), astype(y, DType.INT32)], F64, f64(2))
    assert run(jvp(graph, [1]), 0.5, [1.0, 2.0], [5.0, 5.0])[2] == 0.0
    np.testing.assert_array_equal(run(vjp(graph, [1]), 0.5, [1.0, 2.0], 7.0)[2], [0.0, 0.0])


def test_a_constant_function_and_an_output_that_is_an_input() -> None:
    graph = graph_of(lambda x: [x.like(3.0), x, x], F64)
    assert run(jvp(graph, [0]), 0.5, 2.0) == [3.0, 0.5, 0.5, 0.0, 2.0, 2.0]
    assert run(vjp(graph, [0]), 0.5, 1.0, 10.0, 100.0) == [3.0, 0.5, 0.5, 110.0]
    assert run(grad(graph, [0]), 0.5) == [0.0, 0.5, 0.5]


def test_empty_arrays_have_empty_derivatives() -> None:
    graph = graph_of(lambda x: sin(x), f64(0, 3))
    for mode in (FORWARD, REVERSE, AUTO):
        (found,) = run(jacobian(graph, [0], mode), np.zeros((0, 3)))
        assert found.shape == (0, 3, 0, 3)
    total = graph_of(lambda x: sum_over(sin(x), [0, 1]), f64(0, 3))
    assert run(grad(total, [0], keep_value=True), np.zeros((0, 3)))[1].shape == (0, 3)


def test_float32_stays_float32() -> None:
    graph = graph_of(lambda x: sum_over(softmax(x, [0]) * 2.0, [0]), TensorType(DType.FLOAT32, (3,)))
    for transformed in (grad(graph, [0]), jvp(graph, [0]), vjp(graph, [0]), jacobian(graph, [0])):
        assert {type.dtype for type in transformed.output_types} == {DType.FLOAT32}
