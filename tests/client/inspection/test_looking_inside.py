"""Graphs, trace tables, costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from tests.kit.client.evaluating import assert_same
from tests.kit.client.local import LocalClient

import gradwire as gw
from gradwire.inspection.tables import TraceRow, TraceTable


def f(x: Any, y: Any) -> Any:
    return np.sin(x) + x * y


TABLE = np.random.default_rng(0).normal(size=(10, 10))


def quadratic(w: Any) -> Any:
    return np.sum((TABLE @ w["a"]) ** 2) * w["b"]


POINT = {"a": np.ones(10), "b": 2.0}


def test_a_graph_is_printed_one_operation_a_line(service: LocalClient) -> None:
    graph = gw.trace(f, 1.5, 2.0)
    assert str(graph).splitlines() == [
        "graph(x: float64, y: float64) {",
        "  v2: float64 = sin(x)",
        "  v3: float64 = multiply(x, y)",
        "  v4: float64 = add(v2, v3)",
        "  return v4",
        "}",
    ]
    assert repr(graph) == "<gradwire.Graph (x: float64, y: float64) -> (float64), 3 operations>"
    assert (graph.inputs, graph.outputs, len(graph)) == ((("x", "float64"), ("y", "float64")), ("float64",), 3)
    assert service.requests == []


def test_the_graph_of_a_transformed_function_is_the_transformed_graph() -> None:
    assert "cos(x)" in str(gw.grad(f).graph(1.5, 2.0))
    assert gw.vmap(f, in_axes=(0, None)).graph(np.ones(7), 2.0).outputs == ("float64[7]",)


def test_a_graph_is_called_like_its_function(service: LocalClient) -> None:
    graph = gw.trace(quadratic, POINT)
    assert_same(graph(POINT), quadratic(POINT))
    assert_same(gw.grad(graph, argnums=1)(POINT["a"], 2.0), np.float64(np.sum((TABLE @ POINT["a"]) ** 2)))
    assert_same(gw.grad(lambda t: graph({"a": POINT["a"] * t, "b": 1.0}))(1.0), 2 * quadratic(POINT) / 2)
    nested = gw.trace(lambda x: {"y": (x, 2 * x)}, 1.0)
    assert nested(3.0) == {"y": (3.0, 6.0)}


def test_a_graph_is_saved_and_loaded(tmp_path: Path, service: LocalClient) -> None:
    path = tmp_path / "graph"
    gw.trace(gw.value_and_grad(quadratic), POINT).save(path)
    loaded = gw.load(path)
    value, by_a, by_b = loaded(POINT["a"], POINT["b"])
    expected, gradient = gw.value_and_grad(quadratic)(POINT)
    assert_same((value, by_a, by_b), (expected, gradient["a"], gradient["b"]))
    assert len(service.requests[0].program) < 2000  # its large constant travels by digest
    assert str(gw.load(path)) == str(loaded)


def test_a_file_that_holds_no_program_is_named(tmp_path: Path) -> None:
    path = tmp_path / "graph"
    path.write_bytes(b"\xffnonsense")
    with pytest.raises(gw.GradwireError, match="graph holds no valid program") as caught:
        gw.load(path)
    assert caught.value.reason == "MALFORMED_REQUEST"
    with pytest.raises(FileNotFoundError):
        gw.load(tmp_path / "nothing")


def test_a_graph_checks_its_arguments() -> None:
    graph = gw.trace(f, 1.5, 2.0)
    with pytest.raises(TypeError, match="has 2 inputs, got 1"):
        graph(1.0)
    with pytest.raises(TypeError, match=r"input 'y' of this graph is float64, got float64\[3\]"):
        graph(1.0, np.ones(3))


# tables


def test_a_forward_table() -> None:
    table = gw.explain(f, 1.5, 2.0)
    assert table.columns == ("d/dx", "d/dy")
    assert [row.name for row in table.rows] == ["x", "y", "v2", "v3", "v4"]
    assert table.rows[3].expression == "multiply(x, y)"
    assert_same([row.result for row in table.rows], [1.5, 2.0, np.sin(1.5), 3.0, np.sin(1.5) + 3.0])
    assert_same(table.rows[4].derivatives, (np.cos(1.5) + 2.0, np.float64(1.5)))
    text = str(table).splitlines()
    assert text[0].split() == ["value", "is", "result", "d/dx", "d/dy", "line"]
    assert text[2].split()[:3] == ["x", "input", "1.5"]
    assert text[-1].endswith("returned")


def test_a_reverse_table() -> None:
    table = gw.grad(f).explain(1.5, 2.0)
    assert table.mode == "reverse"
    assert table.columns == ("d out0",)
    assert_same([row.derivatives[0] for row in table.rows], [np.cos(1.5) + 2.0, 1.5, 1.0, 1.0, 1.0])
    assert gw.jacfwd(f).explain(1.5, 2.0).mode == "forward"
    assert gw.explain(gw.grad(f), 1.5, 2.0, mode="forward").mode == "forward"


def test_seeds_give_one_column() -> None:
    table = gw.explain(f, 1.5, 2.0, seeds=(1.0, 2.0))
    assert_same(table.rows[-1].derivatives, (np.cos(1.5) + 2.0 + 3.0,))
    table = gw.explain(f, 1.5, 2.0, mode="reverse", seeds=3.0)
    assert_same(table.rows[1].derivatives, (np.float64(4.5),))
    table = gw.explain(quadratic, POINT, seeds=({"a": None, "b": 1},))
    assert_same(table.rows[-1].derivatives, (quadratic(POINT) / 2,))


def test_the_first_value_that_is_not_finite_is_marked() -> None:
    table = gw.explain(lambda x: np.sqrt(x) - 1.0, -1.0)
    assert [row.first_non_finite for row in table.rows].count(True) == 1
    assert "first value that is not finite" in str(table)


def steps(x: Any) -> Any:
    root = np.sqrt(x)  # <the root> & its derivative
    return 2.0 * root


def test_the_user_s_lines_stand_beside_the_values() -> None:
    table = gw.explain(steps, 4.0)
    first = steps.__code__.co_firstlineno
    by_expression = {row.expression.split("(")[0]: row.line for row in table.rows if row.line is not None}
    assert {name: line.line for name, line in by_expression.items()} == {
        "sqrt": first + 1,
        "constant": first + 2,
        "multiply": first + 2,
    }
    assert by_expression["sqrt"].file == __file__
    assert table.rows[0].line is None
    assert f"test_looking_inside.py:{first + 2}  return 2.0 * root" in str(table)


def test_lines_follow_a_graph_that_loses_operations_and_arrays() -> None:
    def g(x: Any) -> Any:
        np.sum(TABLE @ x)  # needed by nothing
        return np.sin(x) + np.sum(TABLE[0])

    table = gw.explain(g, np.ones(10), seeds=(np.ones(10),))
    lines = {row.expression.split("(")[0]: row.line for row in table.rows}
    sine = lines["sin"]
    assert sine is not None
    assert sine.line == g.__code__.co_firstlineno + 2
    assert not any(row.expression.startswith("dot") for row in table.rows)


def test_what_a_loaded_graph_or_an_inner_gradient_computes_is_at_the_line_of_its_call() -> None:
    graph = gw.trace(steps, 4.0)

    def g(x: Any) -> Any:
        return graph(x) + gw.grad(steps)(x)

    lines = {row.line.line for row in gw.explain(g, 4.0).rows if row.line is not None}
    assert lines == {g.__code__.co_firstlineno + 1}


def test_notebooks_show_the_table_with_the_first_bad_numbers_marked() -> None:
    text = gw.grad(steps).explain(0.0)._repr_html_()
    table = ElementTree.fromstring(text)
    rows = [[cell.text or "" for cell in row] for row in table.iter("tr")]
    assert rows[0] == ["value", "is", "result", "d out0", "line", ""]
    assert rows[1][:4] == ["x", "input", "0.", "inf"]
    assert rows[1][-1] == "first adjoint that is not finite"
    marked = [cell.text for cell in table.iter("td") if "background" in cell.attrib["style"]]
    assert marked == ["inf"]
    marked = [
        cell.text
        for cell in ElementTree.fromstring(gw.explain(steps, -1.0)._repr_html_()).iter("td")
        if "background" in cell.attrib["style"]
    ]
    assert marked == ["nan", "nan"]


def test_notebooks_get_no_markup_from_a_function() -> None:
    assert "# &lt;the root&gt; &amp; " in gw.explain(steps, 4.0)._repr_html_()
    row = TraceRow("<b>x</b>", '"><script>', 1.0, (np.array([1.0]),), False, False)
    text = TraceTable((row,), ("<i>",), "forward", (0,))._repr_html_()
    assert not any(markup in text for markup in ("<b>", "<script>", "<i>"))


def test_integers_have_no_derivatives() -> None:
    table = gw.explain(lambda x, n: x * n, 2.0, 3)
    assert table.rows[1].derivatives == (None,)


def test_tables_are_of_one_example() -> None:
    with pytest.raises(TypeError, match="one example"):
        gw.explain(gw.vmap(f), np.ones(3), np.ones(3))
    with pytest.raises(TypeError, match="'forward' or 'reverse'"):
        gw.explain(f, 1.0, 2.0, mode="backward")
    with pytest.raises(TypeError, match=r"seeds\[0\] is float64\[2\], expected float64"):
        gw.explain(f, 1.0, 2.0, seeds=(np.ones(2), 1.0))


# costs


def test_costs_grow_with_the_rows() -> None:
    one = gw.cost(gw.grad(f), 1.0, 2.0)
    many = gw.cost(gw.vmap(gw.grad(f), in_axes=(0, None)), np.ones(100), 2.0)
    assert 0 < one.flops < many.flops <= 100 * one.flops
    assert 0 < one.bytes < many.bytes
    assert one.nodes > 0


def test_shared_constants_are_counted_once() -> None:
    def loss(w: Any) -> Any:
        return np.sum((TABLE @ w) ** 2)

    table_bytes = TABLE.nbytes
    assert gw.cost(gw.vmap(loss), np.ones((1000, 10))).bytes < 1000 * table_bytes
    assert gw.cost(loss, np.ones(10)).bytes >= table_bytes
