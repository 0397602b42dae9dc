"""The one walk over the nodes of a graph, which all passes are made of.

`rewrite` makes a new graph, node by node in their order: at each it asks a rule for other results, and copies the node
where it gets none. A graph in which nothing was replaced is returned as it is, the same object. Nodes that the outputs
do not need are dropped; one without results is not even shown to the rule, so that a number means one node. It takes
time linear in the nodes; it never recurses over them, but over graphs in graphs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gradwire_engine.builder import GraphBuilder
from gradwire_engine.graph import Graph, Node
from gradwire_engine.types import TensorType
from gradwire_engine.value import Builder, Value

Rule = Callable[[GraphBuilder, int, Node, list[Value]], Sequence[Value] | None]
"""(new graph, number of the node's first result in the old one, the old node, operands in the new graph) -> results in
the new graph; None to copy the node."""

Copied = Callable[[Node, list[Value], tuple[Value, ...]], None]
"""Told of each node that is copied: its operands and results in the new graph."""


def rewrite(graph: Graph, rule: Rule, *, copied: Copied | None = None, used: Sequence[bool] | None = None) -> Graph:
    """`graph` with what the rule replaces. Nodes none of whose values is marked in `used`, if given, are left out."""
    builder = GraphBuilder()
    values: list[Value] = [builder.input(parameter.name, parameter.type) for parameter in graph.inputs]
    replaced = False
    for first, node in graph.numbered():
        if not node.results or (used is not None and not any(used[first : first + len(node.results)])):
            values.extend([absent(builder, type) for type in node.results])
            continue
        operands = [values[n] for n in node.operands]
        results = rule(builder, first, node, operands)
        if results is not None:
            replaced = True
            values.extend(results)
            continue
        copy = builder.copy(node, operands)
        if copied is not None:
            copied(node, operands, copy)
        values.extend(copy)
    return builder.finish([values[n] for n in graph.outputs], graph.output_names) if replaced else graph


def absent(builder: Builder, type: TensorType) -> Value:
    """Stands for a result that is given up: no graph has it, so that a node that takes it nevertheless is refused."""
    return Value(builder.fresh(), 0, type)


def everywhere(graph: Graph, apply: Callable[[Graph], Graph]) -> Graph:
    """`apply` on the graphs inside, innermost first, then on `graph`; itself, where that changes nothing."""
    return apply(inside(graph, lambda subgraph: everywhere(subgraph, apply)))


def inside(graph: Graph, apply: Callable[[Graph], Graph]) -> Graph:
    """`graph` with `apply` on the graphs that its own nodes refer to."""
    changed: dict[int, tuple[Graph, ...]] = {}
    for first, node in graph.numbered():
        if node.subgraphs and node.results:
            better = tuple([apply(subgraph) for subgraph in node.subgraphs])
            if any(new is not old for new, old in zip(better, node.subgraphs, strict=True)):
                changed[first] = better

    def rule(builder: GraphBuilder, first: int, node: Node, operands: list[Value]) -> Sequence[Value] | None:
        return builder.copy(node._replace(subgraphs=changed[first]), operands) if first in changed else None

    return rewrite(graph, rule) if changed else graph
