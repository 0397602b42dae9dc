"""The walk that passes are made of: what it copies, replaces, drops, and when it returns the graph that it got."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from tests.kit.engine.building import F64, graph_of, operations
from tests.kit.engine.loops import checkpoint, scan

from gradwire_engine.attributes import NONE
from gradwire_engine.builder import GraphBuilder
from gradwire_engine.errors import GraphError
from gradwire_engine.graph import Graph, Node
from gradwire_engine.ops.table import OPS
from gradwire_engine.passes.rewrite import absent, everywhere, inside, rewrite
from gradwire_engine.value import Value
from gradwire_engine.verify import verify
from gradwire_engine.vocabulary import cos, exp, sin


def nothing(builder: GraphBuilder, first: int, node: Node, operands: list[Value]) -> Sequence[Value] | None:
    return None


def sines_become_cosines(
    builder: GraphBuilder, first: int, node: Node, operands: list[Value]
) -> Sequence[Value] | None:
    return (cos(operands[0]),) if node.op.name == "sin" else None


def with_cosines(graph: Graph) -> Graph:
    return rewrite(graph, sines_become_cosines)


def with_a_dead_node() -> Graph:
    """sin(x), exp(x), of which the second is not returned."""
    whole = graph_of(lambda x: [sin(x), exp(x)], F64)
    return Graph(whole.inputs, whole.nodes, whole.outputs[:1], ("y",))


def test_a_graph_in_which_nothing_is_replaced_is_returned_as_it_is() -> None:
    graph = with_a_dead_node()
    assert rewrite(graph, nothing) is graph
    assert rewrite(graph, nothing, used=[True, True, False]) is graph


def test_replaced_nodes_take_the_new_operands_and_dead_nodes_go() -> None:
    changed = with_cosines(graph_of(lambda x: sin(sin(x) * 2.0), F64))
    assert operations(changed) == ["cos", "constant", "multiply", "cos"]
    assert operations(with_cosines(with_a_dead_node())) == ["cos"]
    assert with_cosines(with_a_dead_node()).output_names == ("y",)


def test_a_rule_knows_the_old_values_by_number_and_is_told_of_copies() -> None:
    graph = graph_of(lambda x: exp(sin(x)) * x, F64)
    numbers, copies = [], []

    def rule(builder: GraphBuilder, first: int, node: Node, operands: list[Value]) -> Sequence[Value] | None:
        numbers.append(first)
        return sines_become_cosines(builder, first, node, operands)

    def copied(node: Node, operands: list[Value], results: tuple[Value, ...]) -> None:
        copies.append((node.op.name, [x.number for x in operands], [x.number for x in results]))

    rewrite(graph, rule, copied=copied)
    assert tuple(numbers) == graph.first_results
    assert copies == [("exp", [1], [2]), ("multiply", [2, 0], [3])]


def test_nodes_that_are_not_used_are_not_shown_to_the_rule() -> None:
    shown = []

    def rule(builder: GraphBuilder, first: int, node: Node, operands: list[Value]) -> Sequence[Value] | None:
        shown.append(node.op.name)
        return None

    rewrite(with_a_dead_node(), rule, used=[True, True, False])
    assert shown == ["sin"]


def test_a_node_without_results_does_not_pass_for_the_one_after_it() -> None:
    """They have the same number; only graphs that were not made by a builder have such nodes."""
    whole = graph_of(lambda x: scan(lambda c: sin(c), [], [x], [], 3)[0], F64)
    (loop,) = whole.nodes
    body = loop.subgraphs[0]
    empty = Node(OPS["checkpoint"], (0,), NONE, (Graph(body.inputs, body.nodes, ()),), ())
    graph = Graph(whole.inputs, (empty, loop), whole.outputs)
    verify(graph)
    changed = everywhere(graph, with_cosines)
    verify(changed)
    assert operations(changed) == ["scan"]
    assert operations(changed.nodes[0].subgraphs[0]) == ["cos"]


def test_a_result_that_is_given_up_is_refused_as_an_operand() -> None:
    def rule(builder: GraphBuilder, first: int, node: Node, operands: list[Value]) -> Sequence[Value] | None:
        return [absent(builder, type) for type in node.results] if node.op.name == "sin" else None

    with pytest.raises(GraphError, match="belongs to another graph"):
        rewrite(graph_of(lambda x: exp(sin(x)), F64), rule)


def test_everywhere_goes_from_the_innermost_graph_outwards() -> None:
    def body(c: Value) -> Value:
        return checkpoint(lambda c: sin(c), c)[0] * c

    graph = graph_of(lambda x: sin(scan(body, [], [x], [], 3)[0]), F64)
    sizes = []

    def apply(each: Graph) -> Graph:
        sizes.append(each.size)
        return with_cosines(each)

    changed = everywhere(graph, apply)
    verify(changed)
    assert sizes == sorted(sizes)
    assert len(sizes) == 3
    assert "sin" not in str(changed).replace("cos", "")
    assert everywhere(changed, with_cosines) is changed
    assert inside(graph, lambda each: each) is graph
