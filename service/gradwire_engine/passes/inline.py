"""Replace every `call` by the graph that it calls, innermost first, within a limit on the size of the result."""

from __future__ import annotations

from collections.abc import Sequence

from gradwire_engine.builder import GraphBuilder
from gradwire_engine.errors import LimitError
from gradwire_engine.graph import Graph, Node
from gradwire_engine.op import op_of
from gradwire_engine.passes.rewrite import everywhere, rewrite
from gradwire_engine.value import Value


def inline_calls(graph: Graph, limit: int) -> Graph:
    """`graph` without calls; LimitError if that makes more than `limit` nodes."""
    if not any(node.subgraphs for node in graph.nodes):
        return graph
    if graph.size > limit:
        raise LimitError(
            "the program is too large with its subgraphs in place",
            value=graph.size,
            limit=limit,
            unit="nodes",
            name="max-program-nodes",
        )
    return everywhere(graph, lambda each: rewrite(each, _inlined))


def _inlined(builder: GraphBuilder, first: int, node: Node, operands: list[Value]) -> Sequence[Value] | None:
    if op_of(node).control.inlined != "first":
        return None
    return builder.inline(node.subgraphs[0], operands)
