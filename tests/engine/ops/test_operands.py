"""Groups of operands: the one table of where they stand, and that nodes are what is made of their groups."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.kit.engine.building import F64, f64, graph_of
from tests.kit.engine.loops import EXAMPLES, Example, cond, scan, while_loop

from gradwire_engine.attributes import Scan
from gradwire_engine.builder import GraphBuilder
from gradwire_engine.graph import Graph, Node
from gradwire_engine.ops.control.operands import SIGNATURES, Group, emit, groups_of, in_order
from gradwire_engine.ops.table import OPS
from gradwire_engine.prepare import prepare
from gradwire_engine.program import Grad, Jacobian, JacobianMode, Layout, Program, Vmap
from gradwire_engine.types import DType, TensorType
from gradwire_engine.value import Value
from gradwire_engine.vocabulary import sin

COUNT = TensorType(DType.INT64)


def nodes_of(graph: Graph) -> Iterator[tuple[Node, list[TensorType]]]:
    """Those that refer to graphs, in this one and inside, with the types of their operands."""
    for node in graph.nodes:
        if node.subgraphs:
            yield node, [graph.types[n] for n in node.operands]
            for subgraph in node.subgraphs:
                yield from nodes_of(subgraph)


def positions(places: dict[Group, range]) -> dict[Group, list[int]]:
    return {name: list(members) for name, members in places.items() if members}


def test_exactly_the_ops_that_refer_to_graphs_have_a_signature() -> None:
    with_graphs = {name: op.subgraphs for name, op in OPS.items() if op.subgraphs}
    assert {name: len(signature.graphs) for name, signature in SIGNATURES.items()} == with_graphs


@pytest.mark.parametrize("name", SIGNATURES)
def test_graphs_take_operands_and_return_results(name: str) -> None:
    """Besides what a graph takes from another one of its node (`taped`), and what only steers a loop (`predicate`)."""
    signature = SIGNATURES[name]
    taken = {group for inputs, _ in signature.graphs for group in inputs}
    returned = {group for _, outputs in signature.graphs for group in outputs}
    assert taken - {"taped"} <= set(signature.operands)
    assert returned - {"predicate", "snapshots"} <= set(signature.results)


@pytest.mark.parametrize("name", SIGNATURES)
def test_groups_that_are_each_others_cotangents_are_all_that_is_linear(name: str) -> None:
    signature = SIGNATURES[name]
    if not signature.cotangents:
        return
    inputs, outputs = signature.graphs[-1]
    assert set(signature.cotangents) == set(inputs)
    assert sorted(signature.cotangents.values()) == sorted(outputs)


def test_where_the_groups_of_a_scan_stand() -> None:
    def function(n: Value, w: Value, c: Value, xs: Value) -> list[Value]:
        steps = n
        return list(scan(lambda w, c, x: [c * w, x, sin(x), c + x], [w], [c], [xs], 4, sums=1, count=steps))

    ((node, _),) = nodes_of(graph_of(function, COUNT, F64, F64, f64(4)))
    groups = groups_of(node)
    assert positions(groups.operands) == {"count": [0], "constants": [1], "carries": [2], "stacked": [3]}
    assert positions(groups.inputs[0]) == {"constants": [0], "carries": [1], "stacked": [2]}
    assert positions(groups.outputs[0]) == {"carries": [0], "stacked": [1, 2], "sums": [3]}
    assert positions(groups.results) == positions(groups.outputs[0])
    assert groups.operands_of(0) == [1, 2, 3]
    assert groups.constants_of(0) == 1
    assert groups.carried_by(0) == [2]
    assert groups.over_rows == [False]


def test_where_the_groups_of_a_while_stand() -> None:
    def function(a: Value, c: Value, d: Value) -> list[Value]:
        return list(while_loop(lambda a, c, d: c < a, lambda a, c, d: [c * a, d + c], [a], [c, d], 9))

    ((node, _),) = nodes_of(graph_of(function, F64, F64, F64))
    groups = groups_of(node)
    assert positions(groups.operands) == {"tests": [0], "constants": [1], "carries": [2, 3]}
    assert [positions(inputs) for inputs in groups.inputs] == [
        {"tests": [0], "carries": [1, 2]},
        {"constants": [0], "carries": [1, 2]},
    ]
    assert groups.steps == (1,)
    assert (groups.operands_of(0), groups.operands_of(1)) == ([0, 2, 3], [1, 2, 3])
    assert (groups.carried_by(0), groups.carried_by(1)) == ([], [2, 3])


def test_where_the_groups_of_a_branch_stand() -> None:
    graph = graph_of(lambda x, y: cond(x > y, lambda x, y: [x, y], lambda x, y: [y, x], x, y), F64, F64)
    ((node, _),) = nodes_of(graph)
    groups = groups_of(node)
    assert positions(groups.operands) == {"predicate": [0], "constants": [1, 2]}
    assert positions(groups.results) == {"outputs": [0, 1]}
    assert groups.steps == (0, 1)
    assert groups.carried_by(0) == []


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
@pytest.mark.parametrize("snapshot_bytes", [1 << 20, 40])
def test_a_node_made_of_its_groups_is_the_same_node(example: Example, snapshot_bytes: int) -> None:
    """Of all kinds: differentiated, with rows, with snapshots, replayed. Attributes follow from the groups."""
    rest = (-1,) * (len(example.types) - 1)
    names = set()
    for transforms in ((Grad((0, 1)),), (Grad((0, 1)), Jacobian((0,), JacobianMode.REVERSE), Vmap(2, (0, *rest)))):
        program = Program(example.graph, transforms, snapshot_bytes=snapshot_bytes)
        for node, types in nodes_of(prepare(program, Layout((1,), (0,))).graph):
            builder = GraphBuilder()
            values = [builder.input("", type) for type in types]
            groups = groups_of(node)
            results = emit(builder, node.op, node.attributes, groups.all(values), node.subgraphs, groups.over_rows)
            assert in_order(results) == list(builder.emit_all(node.op, values, node.attributes, node.subgraphs))
            assert builder.node_count == 1
            names.add(node.op.name)
    assert names
    assert ("replay" in names) == (snapshot_bytes == 40 and example.name != "cond")


def test_attributes_follow_the_groups() -> None:
    """Constants of a loop with rows, one shared and one not, are exchanged, and one is added."""

    def function(builder: GraphBuilder) -> tuple[Value, ...]:
        body = graph_of(lambda v, w, c: [c * v + w, c], F64, F64, F64)
        v, w, c = builder.input("v", f64(3)), builder.input("w", F64), builder.input("c", f64(3))
        attributes = Scan(constants=2, carries=1, length=2, row_axes=1, shared=(1,))
        return builder.emit_all("scan", [v, w, c], attributes, [body])

    builder = GraphBuilder()
    graph = builder.finish(function(builder))
    (node,) = graph.nodes
    groups, again = groups_of(node), GraphBuilder()
    arguments = groups.all([again.input("", type) for type in graph.input_types])
    v, w = arguments["constants"]
    arguments["constants"] = [w, v, w]
    body = graph_of(lambda w, v, u, c: [c * v + w * u, c], F64, F64, F64, F64)
    results = emit(again, "scan", node.attributes, arguments, [body])
    (new,) = again.finish(in_order(results)).nodes
    assert isinstance(new.attributes, Scan)
    assert new.attributes.constants == 3
    assert new.attributes.shared == (0, 2)
    assert new.operands == (1, 0, 1, 2)
    assert {name: len(values) for name, values in results.items() if values} == {"carries": 1, "stacked": 1}
