"""Replace every `call` by the graph that it calls, innermost first, within a limit on the size of the result."""

from __future__ import annotations

from gradwire_engine.builder import GraphBuilder
from gradwire_engine.errors import LimitError
from gradwire_engine.graph import Graph
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
    builder = GraphBuilder()
    values: list[Value] = [builder.input(one.name, one.type) for one in graph.inputs]
    for node in graph.nodes:
        arguments = [values[n] for n in node.operands]
        if node.op.name == "call":
            values.extend(builder.inline(inline_calls(node.subgraphs[0], limit), arguments))
        elif node.subgraphs:
            inner = tuple([inline_calls(subgraph, limit) for subgraph in node.subgraphs])
            values.extend(builder.copy(node._replace(subgraphs=inner), arguments))
        else:
            values.extend(builder.copy(node, arguments))
    return builder.finish([values[n] for n in graph.outputs], graph.output_names)
