"""Every op of the table, tested from its own record; what the checks say and how, is in `checks`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from tests.kit.engine import oracles
from tests.kit.engine.applications import BY_DEFINITION, applications
from tests.kit.engine.building import F64, f64, graph_of, operations, run
from tests.kit.engine.checks import CHECKS, check_against

from gradwire_engine.attributes import Cast
from gradwire_engine.builder import GraphBuilder
from gradwire_engine.errors import GraphError, LimitError
from gradwire_engine.graph import Graph
from gradwire_engine.op import Op, Refused, Zero
from gradwire_engine.ops.table import OPS
from gradwire_engine.passes.inline import inline_calls
from gradwire_engine.prepare import prepare
from gradwire_engine.program import Grad, Jacobian, Jvp, Layout, Program
from gradwire_engine.transform import apply
from gradwire_engine.transforms.jvp import jvp
from gradwire_engine.transforms.reverse import grad, vjp
from gradwire_engine.types import DType, TensorType
from gradwire_engine.value import Value
from gradwire_engine.verify import verify
from gradwire_engine.vocabulary import astype, masked_multiply, sin

TABLE = [op for op in OPS.values() if not op.subgraphs and op.name != "barrier"]
DIFFERENTIABLE = [op for op in TABLE if not isinstance(op.derivative, Zero) and op.name not in BY_DEFINITION]


@pytest.mark.parametrize("op", TABLE, ids=lambda op: op.name)
@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS.keys())
def test_it_holds_for_every_op(check: Callable[[Op], None], op: Op) -> None:
    check(op)


@pytest.mark.parametrize("op", TABLE, ids=lambda op: op.name)
def test_graphs_of_an_op_and_of_its_derivatives_are_sound(op: Op) -> None:
    for application in applications(op):
        verify(application.graph)
        if application.varied:
            verify(jvp(application.graph, application.varied))
            verify(vjp(application.graph, application.varied))


@pytest.mark.parametrize("op", DIFFERENTIABLE, ids=lambda op: op.name)
@pytest.mark.parametrize(
    "engine", [name if name != "jax" else pytest.param(name, marks=pytest.mark.long) for name in oracles.NAMES]
)
def test_it_agrees_with_another_engine(engine: str, op: Op) -> None:
    if not oracles.available(engine):
        pytest.skip(f"{engine} is not installed")
    check_against(oracles.oracle(engine), op)


def test_at_least_one_engine_knows_every_differentiable_op() -> None:
    """autograd is always there, so comparing with another engine is never skipped altogether."""
    assert {op.name for op in DIFFERENTIABLE} - oracles.oracle("autograd").functions.keys() == set()


def test_only_what_no_differentiated_graph_holds_refuses_to_be_differentiated() -> None:
    assert [op.name for op in OPS.values() if isinstance(op.derivative, Refused)] == ["call", "replay", "barrier"]


# The two ops whose derivative is not that of their values


def test_the_gradient_stops_at_stop_gradient() -> None:
    graph = graph_of(lambda x: x.emit("stop_gradient") * x, F64)
    assert run(grad(graph, [0]), 3.0) == [3.0]
    assert run(jvp(graph, [0]), 3.0, 1.0) == [9.0, 3.0]


def test_masked_multiply_is_a_product_of_factors_that_are_known_to_be_zero_where_they_are_not_active() -> None:
    """The derivative by a factor is the other one, where that is active; that this one is zero does not matter."""
    boolean = TensorType(DType.BOOL, (3,))
    graph = graph_of(masked_multiply, f64(3), f64(3), boolean, boolean)
    operands = [[np.inf, 3.0, 0.0], [0.0, 5.0, np.inf], [True, True, False], [False, True, True]]
    assert run(graph, *operands)[0].tolist() == [0.0, 15.0, 0.0]
    assert run(jvp(graph, [0]), *operands, [7.0] * 3)[1].tolist() == [0.0, 35.0, np.inf]
    assert run(jvp(graph, [1]), *operands, [7.0] * 3)[1].tolist() == [np.inf, 21.0, 0.0]
    by_x, by_y = run(vjp(graph, [0, 1]), *operands, [1.0] * 3)[1:]
    assert by_x.tolist() == [0.0, 5.0, np.inf]
    assert by_y.tolist() == [np.inf, 3.0, 0.0]


@pytest.mark.parametrize("narrow", [True, False])
def test_conversions_between_floating_point_types_convert_derivatives_too(narrow: bool) -> None:
    source, target = (DType.FLOAT64, DType.FLOAT32) if narrow else (DType.FLOAT32, DType.FLOAT64)
    graph = graph_of(lambda x: astype(x, target), TensorType(source, (2,)))
    point, move = np.array([0.1, 0.2], dtype=source.numpy), np.array([0.3, 0.4], dtype=source.numpy)
    tangent = run(jvp(graph, [0]), point, move)[1]
    assert tangent.dtype == target.numpy
    assert tangent.tobytes() == move.astype(target.numpy).tobytes()
    gradient = run(vjp(graph, [0]), point, move.astype(target.numpy))[1]
    assert gradient.dtype == source.numpy
    np.testing.assert_allclose(gradient, move, rtol=1e-7)


def test_a_value_converted_to_integers_and_back_has_no_derivative() -> None:
    graph = graph_of(lambda x: astype(x.emit("astype", attributes=Cast(DType.INT64)), DType.FLOAT64) * x, F64)
    assert run(grad(graph, [0]), 2.75) == [2.0]


# call


def calling(callee: Graph, *types: TensorType, levels: int = 1) -> Graph:
    """A graph that calls another, through so many others."""
    for _ in range(levels):
        builder = GraphBuilder()
        operands = [builder.input(name, type) for name, type in zip("xyz", types, strict=False)]
        callee = builder.finish(builder.emit_all("call", operands, subgraphs=[callee]))
    return callee


def two_results(x: Value, y: Value) -> list[Value]:
    return [x * y, sin(x), y]


@pytest.mark.parametrize("levels", [1, 2, 5])
def test_a_call_is_what_it_calls(levels: int) -> None:
    callee = graph_of(two_results, f64(3), f64(3))
    graph = calling(callee, f64(3), f64(3), levels=levels)
    verify(graph)
    assert graph.nesting == levels
    assert graph.size == levels * len(callee.outputs) + callee.size  # a node of several results counts as several
    assert graph.output_types == callee.output_types
    inlined = inline_calls(graph, 1000)
    verify(inlined)
    assert "call" not in operations(inlined)
    assert str(inlined) == str(callee)


def test_results_of_calls_are_used_in_any_order_and_more_than_once() -> None:
    callee = graph_of(two_results, F64, F64)

    def caller(x: Value, y: Value) -> list[Value]:
        a, b, c = x.builder.emit_all("call", [x, y], subgraphs=[callee])
        d, *_ = x.builder.emit_all("call", [c, b], subgraphs=[callee])
        return [d, a, c, a]

    found = run(apply(graph_of(caller, F64, F64), ()), 2.0, 3.0)
    np.testing.assert_allclose(found, [3.0 * np.sin(2.0), 6.0, 3.0, 6.0])


def test_calls_are_differentiated_and_batched_like_what_they_call() -> None:
    callee = graph_of(lambda x, y: sin(x) * y, F64, F64)
    graph = calling(callee, F64, F64, levels=3)
    x, y = np.linspace(0.1, 1.0, 4), np.linspace(2.0, 3.0, 4)
    for transforms in ((), (Grad((0, 1)),), (Jvp((0,)),), (Jacobian((0, 1)), Jacobian((0,)))):
        called, direct = (prepare(Program(g, transforms), Layout()) for g in (graph, callee))
        assert str(called.graph) == str(direct.graph)
    prepared = prepare(Program(graph, (Grad((0, 1)),)), Layout())
    by_x, by_y = run(prepared.graph, x, y, rows=4)
    np.testing.assert_allclose(by_x, np.cos(x) * y)
    np.testing.assert_allclose(by_y, np.sin(x))


def test_equal_calls_are_one_node() -> None:
    callee, same = (graph_of(two_results, F64, F64) for _ in range(2))
    builder = GraphBuilder()
    operands = [builder.input("x", F64), builder.input("y", F64)]
    assert builder.emit_all("call", operands, subgraphs=[callee]) is builder.emit_all(
        "call", operands, subgraphs=[same]
    )


def test_a_call_with_operands_that_do_not_fit_is_refused() -> None:
    callee = graph_of(two_results, F64, F64)
    with pytest.raises(GraphError, match=r"call: got \(float64\[2\], float64\[2\]\) for a graph that takes"):
        calling(callee, f64(2), f64(2))


def test_calls_that_multiply_are_counted_before_they_are_put_in_place() -> None:
    graph = graph_of(lambda x: sin(x), F64)
    for _ in range(25):
        builder = GraphBuilder()
        x = builder.input("x", F64)
        (once,) = builder.emit_all("call", [x], subgraphs=[graph])
        graph = builder.finish(builder.emit_all("call", [once], subgraphs=[graph]))
    assert graph.size > 2**25
    with pytest.raises(LimitError) as refused:
        inline_calls(graph, 10_000)
    assert refused.value.value == graph.size
