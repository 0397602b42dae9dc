"""Transforms: what they make of a graph, their signatures, and that their compositions agree."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from tests.engine.building import F64, f64, graph_of, operations, run
from tests.engine.derivatives import higher

from gradwire_engine.attributes import Axes, DotGeneral
from gradwire_engine.builder import GraphBuilder
from gradwire_engine.errors import EngineError, GraphError, LimitError
from gradwire_engine.graph import Graph
from gradwire_engine.passes.pipeline import before_differentiation, optimise
from gradwire_engine.prepare import prepare
from gradwire_engine.program import Grad, Jacobian, JacobianMode, Jvp, Layout, Limits, Program, Transform, Vjp, Vmap
from gradwire_engine.transforms.apply import apply
from gradwire_engine.transforms.jacobian import jacobian, jacobian_forward, jacobian_reverse
from gradwire_engine.transforms.jvp import jvp
from gradwire_engine.transforms.linearize import linearize
from gradwire_engine.transforms.reverse import grad, vjp
from gradwire_engine.transforms.transpose import transpose
from gradwire_engine.transforms.vmap import batch, vmap
from gradwire_engine.types import ROWS, DType, TensorType
from gradwire_engine.value import Value
from gradwire_engine.verify import verify
from gradwire_engine.vocabulary import (
    astype,
    broadcast_to,
    cos,
    dot_general,
    exp,
    expit,
    integer_power,
    log,
    logsumexp,
    max_over,
    prod_over,
    reshape,
    sin,
    softmax,
    sqrt,
    square,
    sum_over,
    where,
)

FORWARD, REVERSE, AUTO = JacobianMode.FORWARD, JacobianMode.REVERSE, JacobianMode.AUTO


def signature(graph: Graph) -> tuple[list[str], list[str]]:
    """Inputs and outputs as text."""
    inputs = [f"{one.name}: {one.type}" for one in graph.inputs]
    return inputs, [f"{graph.output_name(i)}: {type}" for i, type in enumerate(graph.output_types)]


def matvec(matrix: Value, vector: Value) -> Value:
    return dot_general(matrix, vector, DotGeneral((1,), (0,)))


def small_network(w: Value, x: Value, y: Value) -> Value:
    """A loss with most kinds of ops in it: contraction, softmax, selection, reduction, power."""
    hidden = matvec(w, x)
    chosen = where(hidden > 0.0, sin(hidden), exp(hidden) - 1.0)
    return sum_over(square(softmax(chosen, [0]) - y), [0]) + integer_power(logsumexp(chosen, [0]), 3)


NETWORK = (f64(3, 4), f64(4), f64(3))


def network_point(seed: int = 0, rows: tuple[int, ...] = ()) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [np.asarray(rng.standard_normal((*rows, *type.shape))) for type in NETWORK]


# The two worked examples


def test_forward_mode_of_sin_x_plus_x_y() -> None:
    graph = graph_of(lambda x, y: sin(x) + x * y, F64, F64)
    parts = linearize(graph, [0, 1], [0])
    assert (
        str(parts.primal)
        == """\
graph(x: float64, y: float64) {
  v2: float64 = sin(x)
  v3: float64 = cos(x)
  v4: float64 = multiply(x, y)
  v5: float64 = add(v2, v4)
  return v5, v3, y, x
}"""
    )
    assert (
        str(parts.linear)
        == """\
graph(residual0: float64, residual1: float64, residual2: float64, d_x: float64, d_y: float64) {
  v5: float64 = multiply(residual0, d_x)
  v6: float64 = multiply(residual1, d_x)
  v7: float64 = multiply(residual2, d_y)
  v8: float64 = add(v6, v7)
  v9: float64 = add(v5, v8)
  return v9
}"""
    )
    x, y = 0.7, -1.3
    for d_x, d_y in ((1.0, 0.0), (0.0, 1.0), (2.0, 3.0)):
        value, tangent = run(jvp(graph, [0, 1]), x, y, d_x, d_y)
        assert value == np.sin(x) + x * y
        np.testing.assert_allclose(tangent, (np.cos(x) + y) * d_x + x * d_y, rtol=1e-15)


def test_reverse_mode_of_x1_plus_x2_times_x2() -> None:
    graph = graph_of(lambda x1, x2: (x1 + x2) * x2, F64, F64, names=["x1", "x2"])
    parts = linearize(graph, [0, 1], [0])
    assert (
        str(parts.primal)
        == """\
graph(x1: float64, x2: float64) {
  v2: float64 = add(x1, x2)
  v3: float64 = multiply(v2, x2)
  return v3, x2, v2
}"""
    )
    assert (
        str(parts.linear)
        == """\
graph(residual0: float64, residual1: float64, d_x1: float64, d_x2: float64) {
  v4: float64 = add(d_x1, d_x2)
  v5: float64 = multiply(residual0, v4)
  v6: float64 = multiply(residual1, d_x2)
  v7: float64 = add(v5, v6)
  return v7
}"""
    )
    assert (
        str(transpose(parts.linear, parts.residuals))
        == """\
graph(residual0: float64, residual1: float64, ct0: float64) {
  v3: float64 = constant(value=0.0)
  v4: bool = not_equal(ct0, v3)
  v5: bool = constant(value=True)
  v6: float64 = masked_multiply(residual1, ct0, v5, v4)
  v7: float64 = masked_multiply(residual0, ct0, v5, v4)
  v8: float64 = add(v6, v7)
  return v7, v8
}"""
    )
    assert (
        str(optimise(grad(graph, [0, 1])))
        == """\
graph(x1: float64, x2: float64) {
  v2: float64 = add(x1, x2)
  v3: float64 = add(v2, x2)
  return x2, v3
}"""
    )
    assert run(grad(graph, [0, 1], keep_value=True), 3.0, 4.0) == [28.0, 4.0, 11.0]


# Signatures


def with_side_outputs(x: Value, n: Value, w: Value) -> list[Value]:
    """Of a vector, an integer and a matrix: a loss, an integer, a vector."""
    return [sum_over(matvec(w, x), [0]), n + n, sin(x)]


SIDE = (f64(4), TensorType(DType.INT64), f64(3, 4))


def side_graph() -> Graph:
    return graph_of(with_side_outputs, *SIDE, names=["x", "n", "w"], output_names=["loss", "", "s"])


@pytest.mark.parametrize(
    ("transform", "inputs", "outputs"),
    [
        (Grad((0,)), [], ["grad_x: float64[4]", "out1: int64", "s: float64[4]"]),
        (Grad((2, 0)), [], ["grad_w: float64[3,4]", "grad_x: float64[4]", "out1: int64", "s: float64[4]"]),
        (
            Grad((0,), keep_value=True),
            [],
            ["loss: float64", "grad_x: float64[4]", "out1: int64", "s: float64[4]"],
        ),
        (
            Jvp((2, 0)),
            ["d_w: float64[3,4]", "d_x: float64[4]"],
            ["loss: float64", "out1: int64", "s: float64[4]", "d_loss: float64", "d_s: float64[4]"],
        ),
        (
            Vjp((2, 0)),
            ["ct_loss: float64", "ct_s: float64[4]"],
            ["loss: float64", "out1: int64", "s: float64[4]", "grad_w: float64[3,4]", "grad_x: float64[4]"],
        ),
        (
            Jacobian((2, 0), FORWARD),
            [],
            [
                "d_loss_d_w: float64[3,4]",
                "d_loss_d_x: float64[4]",
                "d_s_d_w: float64[4,3,4]",
                "d_s_d_x: float64[4,4]",
            ],
        ),
    ],
)
def test_signatures(transform: Transform, inputs: list[str], outputs: list[str]) -> None:
    graph = side_graph()
    transformed = apply(graph, [transform])
    verify(transformed)
    assert signature(transformed) == (signature(graph)[0] + inputs, outputs)


def test_all_modes_of_a_jacobian_have_one_signature() -> None:
    expected = signature(apply(side_graph(), [Jacobian((0,), FORWARD)]))
    for mode in (REVERSE, AUTO):
        assert signature(apply(side_graph(), [Jacobian((0,), mode)])) == expected


def test_vmap_puts_the_new_axis_where_it_is_asked_for() -> None:
    mapped = apply(side_graph(), [Vmap(7, (1, 0, -1), (0, 0, 1))])
    verify(mapped)
    assert signature(mapped) == (
        ["x: float64[4,7]", "n: int64[7]", "w: float64[3,4]"],
        ["loss: float64[7]", "out1: int64[7]", "s: float64[4,7]"],
    )


def test_a_batch_has_its_rows_in_front_and_keeps_names() -> None:
    layout = Layout(shared_inputs=(2,), summed_outputs=(2,), outputs=(2, 0))
    batched = batch(side_graph(), layout)
    verify(batched)
    assert signature(batched) == (
        ["x: float64[B,4]", "n: int64[B]", "w: float64[3,4]"],
        ["s: float64[4]", "loss: float64[B]"],
    )


def test_other_outputs_of_grad_come_out_unchanged_and_in_order() -> None:
    x, n, w = np.arange(4.0), 3, np.ones((3, 4))
    value, by_x, by_w, doubled, sines = run(grad(side_graph(), [0, 2], keep_value=True), x, n, w)
    assert value == 18.0
    np.testing.assert_array_equal(by_x, [3.0] * 4)
    np.testing.assert_array_equal(by_w, [x, x, x])
    assert doubled == 6
    np.testing.assert_array_equal(sines, np.sin(x))


# Refusals


@pytest.mark.parametrize("transform", [Grad((1,)), Jvp((1,)), Vjp((1,)), Jacobian((1,)), Jacobian((0, 1), FORWARD)])
def test_integers_are_not_differentiated(transform: Transform) -> None:
    with pytest.raises(GraphError, match="only floating-point inputs vary") as refused:
        apply(side_graph(), [Vmap(2, (0, 0, 0)), transform] if not isinstance(transform, Grad) else [transform])
    position = 0 if isinstance(transform, Grad) else 1
    which = transform.inputs.index(1)  # type: ignore[union-attr]
    assert refused.value.path == f"transforms[{position}].inputs[{which}]"
    assert refused.value.reason == "INVALID_GRAPH"


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (Grad((3,)), "got input 3 of 3"),
        (Grad((0, 0)), "listed twice"),
        (Vmap(2, (0, 0)), "2 in_axes and 3 out_axes"),
        (Vmap(2, (2, 0, 0)), "got axis 2 for input 'x'"),
        (Vmap(2, (0, 0, 0), (0, 0)), "for 3 inputs and 3 outputs"),
        (Vmap(2, (0, 0, 0), (1, 0, 0)), "got axis 1 for output 0"),
        (Vmap(-1, (0, 0, 0)), "size -1"),
        (Vmap(2**63, (0, 0, 0)), "elements"),
    ],
)
def test_transforms_that_do_not_fit_say_why(transform: Transform, message: str) -> None:
    with pytest.raises(GraphError, match=message) as refused:
        apply(side_graph(), [transform])
    assert refused.value.path.startswith("transforms[0]")


def test_very_many_inputs_are_looked_through_once() -> None:
    """Were each compared with all before it, this would take hours."""
    count = 300_000
    builder = GraphBuilder()
    inputs = [builder.input("", F64) for _ in range(count)]
    graph = builder.finish([sin(inputs[0])])
    with pytest.raises(GraphError, match="input 0 is listed twice"):
        apply(graph, [Jvp((*range(count), 0))])


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: x, r"got float64\[4\]; use jacobian or vjp"),
        (lambda x: sum_over(astype(x, DType.INT64), [0]), "got int64"),
        (lambda x: [], "without outputs"),
    ],
)
def test_grad_is_of_a_floating_point_scalar(function: Callable[[Value], Any], message: str) -> None:
    with pytest.raises(GraphError, match=message):
        apply(graph_of(function, f64(4)), [Grad((0,))])


@pytest.mark.parametrize(
    ("layout", "path"),
    [
        (Layout(shared_inputs=(3,)), "batch.shared_inputs[0]"),
        (Layout(summed_outputs=(0, 5)), "batch.summed_outputs[1]"),
        (Layout(outputs=(0, 9)), "outputs[1]"),
        (Layout(shared_inputs=(1, 0)), "batch.shared_inputs"),
        (Layout(summed_outputs=(1, 1)), "batch.summed_outputs"),
    ],
)
def test_layouts_that_do_not_fit_say_where(layout: Layout, path: str) -> None:
    with pytest.raises(GraphError) as refused:
        prepare(Program(side_graph()), layout)
    assert refused.value.path == path


def test_a_program_that_grows_too_large_is_refused_with_the_transform_at_which_it_did() -> None:
    graph = graph_of(small_network, *NETWORK)
    with pytest.raises(LimitError) as refused:
        apply(graph, [Grad((0,)), Jacobian((0,)), Jacobian((0,))], Limits(nodes=300))
    assert refused.value.name == "max-program-nodes"
    assert refused.value.path.startswith("transforms[")
    assert refused.value.value > 300


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


def test_differentiating_by_no_input_at_all() -> None:
    graph = side_graph()
    for transform in (Grad(()), Jvp(()), Vjp(()), Jacobian(())):
        verify(apply(graph, [transform]))
    assert apply(graph, [Jacobian(())]).outputs == ()


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


# Linear maps


def test_linearize_is_the_derivative_and_linear() -> None:
    graph = graph_of(small_network, *NETWORK)
    point = network_point()
    parts = linearize(graph, [0, 1], [0])
    verify(parts.primal)
    verify(parts.linear)
    value, *residuals = run(parts.primal, *point)
    np.testing.assert_array_equal(value, run(graph, *point)[0])
    assert len(residuals) == parts.residuals
    rng = np.random.default_rng(1)
    first, second = ([np.asarray(rng.standard_normal(type.shape)) for type in NETWORK[:2]] for _ in range(2))

    def linear(moves: Sequence[np.ndarray]) -> float:
        return float(run(parts.linear, *residuals, *moves)[0])

    np.testing.assert_allclose(linear(first), run(jvp(graph, [0, 1]), *point, *first)[1], rtol=1e-13)
    combined = [2.0 * a - 3.0 * b for a, b in zip(first, second, strict=True)]
    np.testing.assert_allclose(linear(combined), 2.0 * linear(first) - 3.0 * linear(second), rtol=1e-12)


def test_what_depends_on_no_varied_input_is_not_active() -> None:
    graph = graph_of(lambda x, y: [sin(x), cos(y), x * y], F64, F64)
    assert linearize(graph, [0], [0, 1, 2]).active == (0, 2)
    assert linearize(graph, [1], [2, 1, 0]).active == (0, 1)
    assert linearize(graph, [], [0, 1]).active == ()


def test_transposing_twice_gives_the_map_back() -> None:
    graph = graph_of(small_network, *NETWORK)
    parts = linearize(graph, [0, 1], [0])
    backward = transpose(parts.linear, parts.residuals)
    again = transpose(backward, parts.residuals)
    for transposed in (backward, again):
        verify(transposed)
    assert again.input_types == parts.linear.input_types
    residuals = run(parts.primal, *network_point())[1:]
    rng = np.random.default_rng(2)
    moves = [np.asarray(rng.standard_normal(type.shape)) for type in NETWORK[:2]]
    (once,), (thrice,) = (run(linear, *residuals, *moves) for linear in (parts.linear, again))
    np.testing.assert_allclose(thrice, once, rtol=1e-13)


# A new axis


def in_place(array: np.ndarray, axis: int) -> np.ndarray:
    return np.moveaxis(array, 0, axis)


@pytest.mark.parametrize("axes", list(itertools.product((-1, 0, 1, 2), (-1, 0, 1), (-1, 0, 1))))
def test_vmap_is_a_loop_wherever_the_axis_stands(axes: tuple[int, int, int]) -> None:
    size = 3
    graph = graph_of(lambda w, x, y: [matvec(w, x) * y, w], *NETWORK)
    stacks, shared = network_point(1, (size,)), network_point(2)
    inputs = [one if axis < 0 else in_place(stack, axis) for stack, one, axis in zip(stacks, shared, axes, strict=True)]
    loop = []
    for i in range(size):
        point = [one if axis < 0 else stack[i] for stack, one, axis in zip(stacks, shared, axes, strict=True)]
        loop.append(run(graph, *point))
    for out_axes in ((0, 0), (1, 2)):
        mapped = vmap(graph, size, axes, out_axes)
        verify(mapped)
        for found, place, expected in zip(run(mapped, *inputs), out_axes, zip(*loop, strict=True), strict=True):
            np.testing.assert_allclose(found, in_place(np.stack(expected), place), rtol=1e-14)


def test_vmap_of_vmap() -> None:
    graph = graph_of(lambda x, y: sum_over(sin(x) * y, [0]), f64(4), f64(4))
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal((2, 4)), rng.standard_normal((3, 4))
    every_pair = vmap(vmap(graph, 3, [-1, 0]), 2, [0, -1])
    verify(every_pair)
    np.testing.assert_allclose(run(every_pair, x, y)[0], np.sin(x) @ y.T, rtol=1e-14)
    other_way = vmap(vmap(graph, 2, [0, -1]), 3, [-1, 0], [1])
    np.testing.assert_allclose(run(other_way, x, y)[0], np.sin(x) @ y.T, rtol=1e-14)


@pytest.mark.parametrize("size", [0, 1])
def test_vmap_of_few_or_none(size: int) -> None:
    graph = graph_of(small_network, *NETWORK)
    (found,) = run(vmap(grad(graph, [1]), size, [-1, 0, -1]), *network_point()[:1], np.ones((size, 4)), np.ones(3))
    assert found.shape == (size, 4)


def test_the_gradient_of_a_vmap_and_the_vmap_of_a_gradient() -> None:
    graph = graph_of(small_network, *NETWORK)
    w, x, y = network_point(4, (5,))
    gradients = run(apply(graph, [Grad((0, 1)), Vmap(5, (0, 0, 0))]), w, x, y)
    mapped = vmap(graph, 5, [0, 0, 0])
    cotangent = np.array([1.0, 2.0, 0.0, -1.0, 0.5])
    weighted = run(vjp(mapped, [0, 1]), w, x, y, cotangent)[1:]
    for each, weights in zip(gradients, weighted, strict=True):
        for i in range(5):
            np.testing.assert_allclose(weights[i], cotangent[i] * each[i], rtol=1e-12, atol=1e-14)


# The request's batch


@pytest.mark.parametrize("shared", [(), (0,), (1,), (2,), (0, 2), (0, 1), (0, 1, 2)])
@pytest.mark.parametrize("transforms", [(), (Grad((0, 1)),), (Jvp((1,)),), (Vjp((0,)),), (Jacobian((1,)),)], ids=repr)
def test_rows_at_once_are_rows_one_by_one_and_sums_are_sums(
    transforms: tuple[Transform, ...], shared: tuple[int, ...]
) -> None:
    rows = 4
    program = Program(graph_of(small_network, *NETWORK), transforms)
    single = apply(program.graph, transforms)
    rng = np.random.default_rng(5)
    stacks = [np.asarray(rng.standard_normal((rows, *one.type.shape))) for one in single.inputs]
    inputs = [stack[0] if i in shared else stack for i, stack in enumerate(stacks)]
    loop = [run(single, *[x if i in shared else x[row] for i, x in enumerate(inputs)]) for row in range(rows)]
    expected = [np.stack(outputs) for outputs in zip(*loop, strict=True)]

    stacked = prepare(program, Layout(shared_inputs=shared)).graph
    verify(stacked)
    for found, wanted in zip(run(stacked, *inputs, rows=rows), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-13)
    everything = tuple(range(len(expected)))
    summed = prepare(program, Layout(shared_inputs=shared, summed_outputs=everything)).graph
    verify(summed)
    for found, wanted in zip(run(summed, *inputs, rows=rows), expected, strict=True):
        np.testing.assert_allclose(found, wanted.sum(axis=0), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("rows", [0, 1, 5])
def test_what_is_shared_by_all_rows_is_repeated_or_multiplied(rows: int) -> None:
    graph = graph_of(lambda x, y: [sin(x), y], F64, F64)
    layout = Layout(shared_inputs=(0,), summed_outputs=(0,), outputs=(0, 1))
    total, each = run(batch(graph, layout), 0.5, np.arange(rows), rows=rows)
    np.testing.assert_allclose(total, rows * np.sin(0.5))
    np.testing.assert_array_equal(each, np.arange(rows))
    (repeated,) = run(batch(graph, Layout(shared_inputs=(0, 1), outputs=(0,))), 0.5, 1.0, rows=rows)
    np.testing.assert_array_equal(repeated, np.full(rows, np.sin(0.5)))


def test_the_batch_axis_stands_in_front_only() -> None:
    graph = graph_of(small_network, *NETWORK)
    for transforms in ((), (Grad((0, 1, 2)),), (Grad((0,)), Jacobian((1,)))):
        for layout in (Layout(), Layout(shared_inputs=(0,))):
            batched = batch(apply(graph, transforms), layout)
            assert not [type for type in batched.types if ROWS in type.shape[1:]]


def test_bools_cannot_be_summed() -> None:
    graph = graph_of(lambda x: x > 0.0, F64)
    with pytest.raises(GraphError, match="output 0 is bool and cannot be summed"):
        prepare(Program(graph), Layout(summed_outputs=(0,)))


def test_outputs_come_in_the_order_asked_for_and_more_than_once() -> None:
    graph = graph_of(lambda x: [x, sin(x), cos(x)], F64)
    prepared = prepare(Program(graph), Layout(outputs=(2, 0, 2)))
    assert len(prepared.outputs) == 3
    first, second, third = run(prepared.graph, [0.5], rows=1)
    assert (first, second, third) == (np.cos(0.5), 0.5, np.cos(0.5))


# Everything is checked before and after


PROGRAMS: list[tuple[Transform, ...]] = [
    (),
    (Grad((0,)),),
    (Grad((0, 1, 2), keep_value=True), Jvp((1,))),
    (Jvp((0, 1)), Jvp((1,)), Vjp((2,))),
    (Vjp((1,)), Jvp((1, 3))),
    (Jacobian((1,), FORWARD), Jacobian((1,), REVERSE)),
    (Grad((1,)), Jacobian((1,)), Jacobian((1,), FORWARD)),
    (Vmap(2, (0, -1, 1)), Vmap(3, (1, 0, 0)), Jvp((1,))),
    (Grad((1,)), Vmap(3, (0, 0, 0), (1,)), Jacobian((2,))),
]


@pytest.mark.parametrize("transforms", PROGRAMS, ids=lambda transforms: "-".join(type(t).__name__ for t in transforms))
def test_every_stage_of_a_program_is_sound(transforms: tuple[Transform, ...]) -> None:
    graph = graph_of(small_network, *NETWORK)
    verify(graph)
    for transform in transforms:
        simplified = before_differentiation(graph)
        verify(simplified)
        graph = apply(simplified, [transform])
        verify(graph)
    for layout in (Layout(), Layout(shared_inputs=(0,), summed_outputs=(0,))):
        batched = batch(graph, layout)
        verify(batched)
        verify(optimise(batched))


def test_the_order_of_transforms_does_not_matter_where_the_mathematics_says_so() -> None:
    """Derivatives by different inputs commute."""
    graph = graph_of(small_network, *NETWORK)
    point = network_point(6)
    (one,) = run(apply(graph, [Jacobian((0,)), Jacobian((1,))]), *point)
    (other,) = run(apply(graph, [Jacobian((1,)), Jacobian((0,))]), *point)
    np.testing.assert_allclose(one, np.moveaxis(other, 0, -1), rtol=1e-11, atol=1e-13)


def test_errors_of_transforms_are_ours() -> None:
    """Whatever is asked of whatever graph: an EngineError or a sound graph."""
    graph = side_graph()
    indices = [(), (0,), (1,), (2, 0), (5,)]
    asked: list[Transform] = [kind(i) for kind in (Grad, Jvp, Vjp, Jacobian) for i in indices]
    asked += [Vmap(n, axes) for n in (0, 2) for axes in ((0, 0, 0), (-1, 0, 2), (3, 0, 0), ())]
    refused = set()
    for first in asked:
        for then in asked:
            try:
                transformed = apply(graph, [first, then])
            except EngineError as error:
                refused.add(error.path.partition(".")[0])
            else:
                verify(transformed)
    assert refused == {"transforms[0]", "transforms[1]"}


def test_reductions_over_several_axes_keep_their_place_under_maps() -> None:
    graph = graph_of(
        lambda x: [prod_over(x, [0, 2]), max_over(x, [1]), reshape(x, (6, 4)), x.emit("norm", attributes=Axes((0, 1)))],
        f64(2, 3, 4),
    )
    x = np.random.default_rng(7).standard_normal((5, 2, 3, 4))
    mapped = run(vmap(graph, 5, [0]), x)
    for found, expected in zip(mapped, zip(*[run(graph, each) for each in x], strict=True), strict=True):
        np.testing.assert_allclose(found, np.stack(expected), rtol=1e-14)


def test_roots_of_sums_of_squares_have_the_gradient_of_a_norm() -> None:
    graph = graph_of(lambda x: sqrt(sum_over(square(x), [0])), f64(3))
    x = np.array([1.0, 2.0, 2.0])
    np.testing.assert_allclose(run(grad(graph, [0]), x)[0], x / 3.0, rtol=1e-15)
