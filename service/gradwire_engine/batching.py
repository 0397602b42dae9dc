"""A graph on values some of which have a new axis 0: the walk that `vmap` and `batch` are made of.

A value either has the new axis or is the same for all elements; a node none of whose operands has it stays as it is, so
what does not depend on the batch is computed once. Every op has a batch rule.
"""

from __future__ import annotations

from collections.abc import Sequence

from gradwire_engine.graph import Graph
from gradwire_engine.op import op_of
from gradwire_engine.value import Builder, Value


def spread_axis(
    builder: Builder, graph: Graph, operands: Sequence[Value], stacked: Sequence[bool], size: int
) -> tuple[list[Value], list[bool]]:
    """Run `graph` on values some of which have the new axis 0: its outputs, and which of them have it."""
    values, has = list(operands), list(stacked)
    for node in graph.nodes:
        arguments = [values[n] for n in node.operands]
        batched = [has[n] for n in node.operands]
        if any(batched):
            values.extend(op_of(node).batch(node.attributes, arguments, batched, size, *node.subgraphs))
        else:
            values.extend(builder.copy(node, arguments))
        has.extend([any(batched)] * len(node.results))
    return [values[n] for n in graph.outputs], [has[n] for n in graph.outputs]
