"""Sums over rows of what a loop adds up over its steps are added up in the loop.

The training gradient is the case that matters: the gradient by the weights of a recurrent model is a sum over steps and
rows. Added up row by row it takes rows times weights of memory; as a sum over both, each step's term is one matrix
product. Runs once the request's batch is in place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gradwire_engine.attributes import Axes, Rowwise
from gradwire_engine.builder import GraphBuilder
from gradwire_engine.graph import Graph, Node
from gradwire_engine.ops.control.operands import emit, groups_of, in_order
from gradwire_engine.passes.rewrite import rewrite
from gradwire_engine.value import Value


def sum_rows(graph: Graph) -> Graph:
    """`graph` with such sums inside its loops."""
    summed = _summed(graph)
    if not summed:
        return graph

    def rule(builder: GraphBuilder, first: int, node: Node, operands: list[Value]) -> Sequence[Value] | None:
        if node.op.name == "sum" and node.operands[0] in summed:
            return operands
        if not node.subgraphs:
            return None
        groups = groups_of(node)
        sums = zip(groups.results.get("sums", ()), groups.over_rows, strict=True)
        over_rows = [before or first + j in summed for j, before in sums]
        if over_rows == groups.over_rows:
            return None
        return in_order(emit(builder, node.op, node.attributes, groups.all(operands), node.subgraphs, over_rows))

    return rewrite(graph, rule)


def _summed(graph: Graph) -> set[int]:
    """The sums over steps that are used in sums over all their row axes only."""
    sums = _sums_by_row(graph)
    summed: set[int] = set()
    others = set(graph.outputs)
    for node in graph.nodes:
        for n in node.operands:
            if n in sums:
                (summed if _is_sum_over(node, sums[n]) else others).add(n)
    return summed - others


def _sums_by_row(graph: Graph) -> Mapping[int, int]:
    """The sums over steps that are not yet sums over the rows, and how many row axes they have."""
    sums: dict[int, int] = {}
    for first, node in graph.numbered():
        if not isinstance(node.attributes, Rowwise) or node.attributes.batched:
            continue
        groups = groups_of(node)
        if groups.row_axes and not groups.results.get("positions"):
            positions = groups.results.get("sums", ())
            pairs = zip(positions, groups.over_rows, strict=True)
            sums.update({first + j: groups.row_axes for j, over_rows in pairs if not over_rows})
    return sums


def _is_sum_over(node: Node, axes: int) -> bool:
    leading: Sequence[int] = tuple(range(axes))
    return node.op.name == "sum" and isinstance(node.attributes, Axes) and node.attributes.axes == leading
