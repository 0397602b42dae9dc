"""The trace table: values as numpy has them, derivatives as the transforms have them, the first bad number marked."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gradwire_engine import vocabulary as v
from gradwire_engine.builder import GraphBuilder
from gradwire_engine.errors import GraphError, LimitError
from gradwire_engine.execute.numpy.executable import compile
from gradwire_engine.explain import explain
from gradwire_engine.graph import Graph
from gradwire_engine.transforms.reverse import grad
from gradwire_engine.types import DType, TensorType

SCALAR = TensorType(DType.FLOAT64)


def worked_example() -> Graph:
    builder = GraphBuilder()
    x, y = builder.input("x", SCALAR), builder.input("y", SCALAR)
    return builder.finish([v.sin(x) + x * y], ["f"])


def at(*numbers: float) -> list[np.ndarray]:
    return [np.asarray(number) for number in numbers]


def test_forward_columns_are_the_tangents_of_each_unit_seed() -> None:
    table = explain(worked_example(), at(1.5, 2.0))
    assert table.columns == ("d/dx", "d/dy")
    assert [row.name for row in table.rows] == ["x", "y", "v2", "v3", "v4"]
    assert [row.expression for row in table.rows][2:] == ["sin(x)", "multiply(x, y)", "add(v2, v3)"]
    expected = [(1.0, 0.0), (0.0, 1.0), (math.cos(1.5), 0.0), (2.0, 1.5), (math.cos(1.5) + 2.0, 1.5)]
    np.testing.assert_allclose([row.derivatives for row in table.rows], expected, rtol=1e-15)
    assert table.outputs == (4,)


def test_reverse_columns_are_adjoints_and_end_in_the_gradient() -> None:
    graph = worked_example()
    table = explain(graph, at(1.5, 2.0), "reverse")
    gradient = compile(grad(graph, [0, 1])).run(at(1.5, 2.0), 1)
    assert table.columns == ("d f",)
    np.testing.assert_array_equal([row.derivatives[0] for row in table.rows[:2]], gradient)
    np.testing.assert_array_equal([row.derivatives[0] for row in table.rows[2:]], [1.0, 1.0, 1.0])


def test_adjoints_are_what_the_output_does_when_a_value_is_nudged() -> None:
    builder = GraphBuilder()
    x = builder.input("x", TensorType(DType.FLOAT64, (3,)))
    root = v.sqrt(v.square(x) + 1.0)
    graph = builder.finish([v.sum_over(root * root * x, [0])])
    point = np.array([0.5, -1.0, 2.0])
    table = explain(graph, [point], "reverse")
    by_expression = {row.expression.split("(")[0]: row for row in table.rows}
    adjoint = by_expression["sqrt"].derivatives[0]
    value = by_expression["sqrt"].result
    np.testing.assert_allclose(adjoint, 2 * value * point, rtol=1e-14)  # of sum(root^2 x) by root


def test_seeds_of_ones_own_make_one_column() -> None:
    table = explain(worked_example(), at(1.5, 2.0), "forward", at(2.0, -1.0))
    (slope,) = table.rows[-1].derivatives
    assert slope == pytest.approx(2.0 * (math.cos(1.5) + 2.0) - 1.5, rel=1e-14)


def test_the_first_value_and_the_first_adjoint_that_are_not_finite_are_marked() -> None:
    builder = GraphBuilder()
    x = builder.input("x", SCALAR)
    graph = builder.finish([v.sqrt(x) * 2.0])
    table = explain(graph, at(0.0), "reverse")
    assert not any(row.first_non_finite for row in table.rows)
    assert [row.name for row in table.rows if row.first_non_finite_derivative] == ["x"]
    table = explain(graph, at(-1.0), "forward")
    assert [row.expression for row in table.rows if row.first_non_finite] == ["sqrt(x)"]


def test_integers_have_no_derivative() -> None:
    builder = GraphBuilder()
    x, n = builder.input("x", SCALAR), builder.input("n", TensorType(DType.INT64))
    graph = builder.finish([x * v.astype(n, DType.FLOAT64)])
    for mode in ("forward", "reverse"):
        table = explain(graph, [np.asarray(2.0), np.asarray(3)], mode)
        assert table.rows[1].derivatives == (None,)
        assert table.rows[0].derivatives[0] == (1.0 if mode == "forward" else 3.0)


def test_what_does_not_fit_is_refused() -> None:
    graph = worked_example()
    with pytest.raises(GraphError, match="expected 2"):
        explain(graph, at(1.0))
    with pytest.raises(GraphError, match="input 0"):
        explain(graph, [np.zeros(2), np.asarray(1.0)])
    with pytest.raises(LimitError, match="values") as caught:
        explain(graph, at(1.0, 2.0), max_values=3)
    assert caught.value.reason == "EXPLAIN_TOO_LARGE"
    builder = GraphBuilder()
    wide = builder.finish([v.sin(builder.input("x", TensorType(DType.FLOAT64, (65,))))])
    with pytest.raises(LimitError, match="seeds"):
        explain(wide, [np.zeros(65)])
