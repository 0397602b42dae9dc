"""How many floating-point operations a graph takes at most: each op by its own weight, loops to their bounds."""

from __future__ import annotations

from collections.abc import Sequence

from gradwire_engine.bounds import Bound
from gradwire_engine.graph import Graph, Node
from gradwire_engine.op import op_of
from gradwire_engine.plan.structured import structured_flops
from gradwire_engine.types import TensorType


def flops_bound(graph: Graph) -> Bound:
    """Floating-point operations."""
    constant = per_row = 0
    types = graph.types
    for node in graph.nodes:
        operands = [types[n] for n in node.operands]
        if node.subgraphs:
            bound = structured_flops(node, operands, [flops_bound(subgraph) for subgraph in node.subgraphs])
            constant += bound.constant
            per_row += bound.per_row
        else:
            fixed, growing = _node_flops(node, operands)
            constant += fixed
            per_row += growing
    return Bound(constant, per_row).saturated()


def _node_flops(node: Node, operands: Sequence[TensorType]) -> tuple[int, int]:
    weight = op_of(node).flops
    if callable(weight):
        return weight(node.attributes, operands, node.results)
    types = [*operands, *node.results]
    fixed = max([type.elements for type in types if not type.is_batched], default=0)
    growing = max([type.elements for type in types if type.is_batched], default=0)
    return (0, round(weight * growing)) if growing else (round(weight * fixed), 0)
