"""Transforms: what they make of a graph, their signatures, what they refuse, and that all they make is sound."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from tests.kit.engine.building import F64, f64, graph_of, run
from tests.kit.engine.network import NETWORK, matvec, network_point, small_network

from gradwire_engine.attributes import Axes
from gradwire_engine.builder import GraphBuilder
from gradwire_engine.errors import EngineError, GraphError, LimitError
from gradwire_engine.graph import Graph
from gradwire_engine.passes.pipeline import before_differentiation, optimise
from gradwire_engine.prepare import prepare
from gradwire_engine.program import Grad, Jacobian, JacobianMode, Jvp, Layout, Limits, Program, Transform, Vjp, Vmap
from gradwire_engine.transform import apply
from gradwire_engine.transforms.jvp import jvp
from gradwire_engine.transforms.linearize import linearize
from gradwire_engine.transforms.reverse import grad
from gradwire_engine.transforms.transpose import transpose
from gradwire_engine.transforms.vmap import batch, vmap
from gradwire_engine.types import DType, TensorType
from gradwire_engine.value import Value
from gradwire_engine.verify import verify
from gradwire_engine.vocabulary import (
    astype,
    cos,
    max_over,
    prod_over,
    reshape,
    sin,
    sqrt,
    square,
    sum_over,
)

FORWARD, REVERSE, AUTO = JacobianMode.FORWARD, JacobianMode.REVERSE, JacobianMode.AUTO


def signature(graph: Graph) -> tuple[list[str], list[str]]:
    """Inputs and outputs as text."""
    inputs = [f"{one.name}: {one.type}" for one in graph.inputs]
    return inputs, [f"{graph.output_name(i)}: {type}" for i, type in enumerate(graph.output_types)]


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


def test_differentiating_by_no_input_at_all() -> None:
    graph = side_graph()
    for transform in (Grad(()), Jvp(()), Vjp(()), Jacobian(())):
        verify(apply(graph, [transform]))
    assert apply(graph, [Jacobian(())]).outputs == ()


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
    """Were each compared with all before it, this would take minutes."""
    count = 100_000
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
