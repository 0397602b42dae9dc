"""Sums over rows of what a loop adds up over its steps are added up in the loop.

The training gradient is the case that matters: the gradient by the weights of a recurrent model is a sum over steps and
rows. Added up row by row it takes rows times weights of memory; as a sum over both, each step's term is one matrix
product. Runs once the request's batch is in place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gradwire_engine.attributes import Axes, Replay, Scan
from gradwire_engine.builder import GraphBuilder
from gradwire_engine.graph import Graph, Node
from gradwire_engine.value import Value


def sum_rows(graph: Graph) -> Graph:
    """`graph` with such sums inside its loops."""
    inside = _sums(graph)
    if not inside:
        return graph
    builder = GraphBuilder()
    values: list[Value] = [builder.input(one.name, one.type) for one in graph.inputs]
    for first, node in graph.numbered():
        operands = [values[n] for n in node.operands]
        here = [k for k in range(_count(node)) if first + len(node.results) - _count(node) + k in inside]
        if here:
            assert isinstance(node.attributes, Scan | Replay)
            wider = replace(node.attributes, row_sums=tuple(sorted({*node.attributes.row_sums, *here})))
            values.extend(builder.emit_all(node.op, operands, wider, node.subgraphs))
        elif node.op.name == "sum" and node.operands[0] in inside:
            values.append(operands[0])
        else:
            values.extend(builder.copy(node, operands))
    return builder.finish([values[n] for n in graph.outputs], graph.output_names)


def _count(node: Node) -> int:
    """The number of sums, which are the last results; 0 for loops that return something after them."""
    a = node.attributes
    if isinstance(a, Replay) or (isinstance(a, Scan) and not a.snapshots):
        return a.sums
    return 0


def _sums(graph: Graph) -> set[int]:
    """The sums over steps that are used in sums over all their row axes only."""
    found: dict[int, int] = {}  # value -> row axes
    for first, node in graph.numbered():
        a = node.attributes
        if isinstance(a, Scan | Replay) and a.row_axes and not a.batched:
            start = first + len(node.results) - _count(node)
            found.update({start + k: a.row_axes for k in range(_count(node)) if k not in a.row_sums})
    used: set[int] = set()
    others = set(graph.outputs)
    for node in graph.nodes:
        for n in node.operands:
            axes = found.get(n)
            if axes is None:
                continue
            if _is_sum_over(node, axes):
                used.add(n)
            else:
                others.add(n)
    return used - others


def _is_sum_over(node: Node, axes: int) -> bool:
    wanted: Sequence[int] = tuple(range(axes))
    return node.op.name == "sum" and isinstance(node.attributes, Axes) and node.attributes.axes == wanted
