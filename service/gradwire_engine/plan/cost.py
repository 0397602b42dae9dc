"""What a graph costs, known before it runs."""

from __future__ import annotations

from gradwire_engine.bounds import Cost
from gradwire_engine.graph import Graph
from gradwire_engine.plan.flops import flops_bound
from gradwire_engine.plan.memory import bytes_bound
from gradwire_engine.plan.structured import is_open_ended


def cost(graph: Graph) -> Cost:
    """The bounds of a graph as it stands."""
    return Cost(flops_bound(graph), bytes_bound(graph), graph.size, _is_open_ended(graph))


def _is_open_ended(graph: Graph) -> bool:
    return any(is_open_ended(node) or any(map(_is_open_ended, node.subgraphs)) for node in graph.nodes)
