"""From graphs that can be differentiated to graphs that can be run.

A `checkpoint` becomes its body behind a barrier: what it needs is computed again from its operands, and nothing merges
that with what was computed before. The graphs of `cond`, `scan` and `while` get the rows as an axis of their own, so
that they are optimised, and run, for many rows at once. Runs once everything has been differentiated and batched.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gradwire_engine.attributes import Rowwise
from gradwire_engine.batching import batched_graph
from gradwire_engine.builder import GraphBuilder
from gradwire_engine.graph import Graph, Node
from gradwire_engine.op import op_of
from gradwire_engine.ops.control.operands import groups_of
from gradwire_engine.passes.rewrite import rewrite
from gradwire_engine.program import Layout
from gradwire_engine.value import Value


def lower(graph: Graph) -> Graph:
    """`graph`, ready to run; itself, where it is so already."""
    return rewrite(graph, _lowered) if _has_work(graph) else graph


def _has_work(graph: Graph) -> bool:
    return any(
        node.subgraphs and (_stands_for_its_graph(node) or _gets_rows(node) or any(map(_has_work, node.subgraphs)))
        for node in graph.nodes
    )


def _stands_for_its_graph(node: Node) -> bool:
    return op_of(node).control.inlined == "last"


def _gets_rows(node: Node) -> bool:
    return isinstance(node.attributes, Rowwise) and node.attributes.row_axes > 0 and not node.attributes.batched


def _lowered(builder: GraphBuilder, first: int, node: Node, operands: list[Value]) -> Sequence[Value] | None:
    if not node.subgraphs:
        return None
    if _stands_for_its_graph(node):
        behind = builder.emit_all("barrier", operands) if operands else ()
        return builder.inline(lower(node.subgraphs[0]), behind)
    if not isinstance(node.attributes, Rowwise) or not _gets_rows(node):
        return builder.copy(node._replace(subgraphs=tuple([lower(graph) for graph in node.subgraphs])), operands)
    graphs = [lower(_with_rows(builder, node, g)) for g in range(len(node.subgraphs))]
    return builder.emit_all(node.op, operands, replace(node.attributes, batched=True), graphs)


def _with_rows(builder: GraphBuilder, node: Node, g: int) -> Graph:
    """A graph of a node for many rows; as it is, where its carries, and so all that it does, are the same for them."""
    groups, graph = groups_of(node), node.subgraphs[g]
    operands_of = groups.operands_of(g)
    carries = groups.carried_by(g)
    if carries and all(i in groups.shared for i in carries):
        return graph
    sums = groups.outputs[g].get("sums", ())
    shared = tuple(i for i, operand in enumerate(operands_of) if operand in groups.shared)
    summed = tuple(j for j, over_rows in zip(sums, groups.over_rows, strict=False) if over_rows)
    return batched_graph(builder.fresh(), graph, Layout(shared, summed))
