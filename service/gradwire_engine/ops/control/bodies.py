"""What depends on what in a graph that an op refers to, and the graph cut down to that."""

from __future__ import annotations

from collections.abc import Sequence

from gradwire_engine.graph import Graph
from gradwire_engine.op import Structured, op_of
from gradwire_engine.value import Builder
from gradwire_engine.vocabulary import zeros


def dependent_outputs(graph: Graph, varied: Sequence[bool]) -> list[bool]:
    """Which outputs depend on the inputs marked in `varied`."""
    depends = list(varied)
    for node in graph.nodes:
        moving = [depends[n] for n in node.operands]
        rule = op_of(node).derivative
        if any(moving) and isinstance(rule, Structured):
            depends.extend(rule.linear_results(node, moving))
        else:
            depends.extend([any(moving)] * len(node.results))
    return [depends[n] for n in graph.outputs]


def used_values(graph: Graph, outputs: Sequence[int]) -> list[bool]:
    """For each value, whether some outputs (positions) may depend on it."""
    used = [False] * len(graph.types)
    for position in outputs:
        used[graph.outputs[position]] = True
    for first, node in reversed(list(graph.numbered())):
        if any(used[first : first + len(node.results)]):
            for n in node.operands:
                used[n] = True
    return used


def needed_inputs(graph: Graph, outputs: Sequence[int]) -> set[int]:
    """The inputs on which some outputs (positions) may depend."""
    used = used_values(graph, outputs)
    return {n for n in range(len(graph.inputs)) if used[n]}


def rearranged(builder: Builder, graph: Graph, inputs: Sequence[int], outputs: Sequence[int]) -> Graph:
    """`graph` with its inputs in another order, and only some outputs. Inputs that are left out must not be needed."""
    inner = builder.fresh()
    values = {n: inner.input(graph.inputs[n].name, graph.inputs[n].type) for n in inputs}
    operands = [values.get(n) or zeros(inner, parameter.type) for n, parameter in enumerate(graph.inputs)]
    results = inner.inline(graph, operands)
    return inner.finish([results[position] for position in outputs])
