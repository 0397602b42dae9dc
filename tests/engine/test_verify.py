"""The checker finds what is wrong with a graph that did not come from a builder."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.kit.engine.building import F64, f64, graph_of

from gradwire_engine.attributes import NONE, Axes
from gradwire_engine.errors import GraphError
from gradwire_engine.graph import Graph, Input, Node
from gradwire_engine.ops.table import OPS
from gradwire_engine.types import ROWS, DType, TensorType
from gradwire_engine.verify import verify
from gradwire_engine.vocabulary import sin, sum_over

SOUND = graph_of(lambda x: sum_over(sin(x), [0]), f64(3))


def with_node(position: int, **changes: object) -> Graph:
    nodes = list(SOUND.nodes)
    nodes[position] = nodes[position]._replace(**changes)  # type: ignore[arg-type]
    return replace(SOUND, nodes=tuple(nodes))


def calling(callee: Graph) -> Graph:
    results = tuple(callee.types[n] for n in callee.outputs if 0 <= n < len(callee.types))
    node = Node(OPS["call"], (0,), NONE, (callee,), results)
    return Graph(callee.inputs, (node,), (1,))


def test_a_sound_graph_passes() -> None:
    verify(SOUND)
    verify(calling(SOUND))
    verify(Graph((), (), ()))


@pytest.mark.parametrize(
    ("graph", "path", "message"),
    [
        (with_node(0, operands=(5,)), "nodes[0].operands[0]", "value 5 is not defined here; values 0 to 0 are"),
        (with_node(0, operands=(1,)), "nodes[0].operands[0]", "value 1 is not defined here"),
        (with_node(1, operands=(-1,)), "nodes[1].operands[0]", "value -1 is not defined"),
        (with_node(0, results=(f64(4),)), "nodes[0]", "its type rule says"),
        (with_node(0, results=(f64(3), f64(3))), "nodes[0]", "its type rule says"),
        (with_node(1, attributes=Axes((1,))), "nodes[1]", "axes"),
        (with_node(1, attributes=NONE), "nodes[1]", "expected Axes"),
        (with_node(0, subgraphs=(SOUND,)), "nodes[0]", "got 1 subgraphs, expected 0"),
        (with_node(0, op=replace(OPS["sin"])), "nodes[0]", "op 'sin' is not in the table"),
        (with_node(0, op=replace(OPS["sin"], name="mine")), "nodes[0]", "op 'mine' is not in the table"),
        (replace(SOUND, outputs=(0, 3)), "outputs[1].value", "value 3 does not exist; there are 3"),
        (replace(SOUND, outputs=(-1,)), "outputs[0].value", "value -1 does not exist"),
        (replace(SOUND, inputs=(Input("x", f64(3, -1)),)), "inputs[0].type", "at least 0"),
        (replace(SOUND, inputs=(Input("x", f64(*[1] * 17)),)), "inputs[0].type", "rank 17"),
        (calling(with_node(0, operands=(7,))), "nodes[0].subgraphs[0].nodes[0].operands[0]", "value 7"),
        (calling(calling(replace(SOUND, outputs=(9,)))), "nodes[0].subgraphs[0]", "value 9"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(graph: Graph, path: str, message: str) -> None:
    with pytest.raises(GraphError, match=message) as refused:
        verify(graph)
    assert refused.value.path.startswith(path)
    assert refused.value.reason == "INVALID_GRAPH"


def test_the_batch_axis_stands_in_front_or_nowhere() -> None:
    rows = TensorType(DType.FLOAT64, (ROWS, 3))
    verify(Graph((Input("x", rows),), (), (0,)))
    with pytest.raises(GraphError, match="at least 0"):
        verify(Graph((Input("x", TensorType(DType.FLOAT64, (3, ROWS))),), (), (0,)))


@pytest.mark.parametrize(
    ("op", "attributes"),
    [("flip", Axes((0,))), ("softmax", Axes((0,)))],
)
def test_no_op_moves_or_mixes_rows(op: str, attributes: Axes) -> None:
    rows = TensorType(DType.FLOAT64, (ROWS, 3))
    node = Node(OPS[op], (0,), attributes, (), (rows,))
    with pytest.raises(GraphError, match="batch axis"):
        verify(Graph((Input("x", rows),), (node,), (1,)))


def test_subgraphs_nest_at_most_32_deep() -> None:
    graph = graph_of(sin, F64)
    for _ in range(32):
        graph = calling(graph)
    verify(graph)
    with pytest.raises(GraphError, match="nest 33 deep, at most 32 is allowed"):
        verify(calling(graph))
