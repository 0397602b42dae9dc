"""A pass applied to a graph, and before that to every graph that its nodes refer to."""

from __future__ import annotations

from collections.abc import Callable

from gradwire_engine.builder import GraphBuilder
from gradwire_engine.graph import Graph
from gradwire_engine.value import Value


def everywhere(graph: Graph, apply: Callable[[Graph], Graph]) -> Graph:
    """`apply` on the graphs inside, innermost first, then on `graph`; itself, where that changes nothing."""
    return apply(inside(graph, lambda subgraph: everywhere(subgraph, apply)))


def inside(graph: Graph, apply: Callable[[Graph], Graph]) -> Graph:
    """`graph` with `apply` on the graphs that its own nodes refer to."""
    changed: dict[int, tuple[Graph, ...]] = {}
    for position, node in enumerate(graph.nodes):
        if node.subgraphs:
            better = tuple([apply(subgraph) for subgraph in node.subgraphs])
            if any(new is not old for new, old in zip(better, node.subgraphs, strict=True)):
                changed[position] = better
    if not changed:
        return graph
    builder = GraphBuilder()
    values: list[Value] = [builder.input(one.name, one.type) for one in graph.inputs]
    for position, node in enumerate(graph.nodes):
        new = node._replace(subgraphs=changed[position]) if position in changed else node
        values.extend(builder.copy(new, [values[n] for n in node.operands]))
    return builder.finish([values[n] for n in graph.outputs], graph.output_names)
