"""What a loop computes from its constants alone, at every step again, is computed once before it.

Before differentiation this pays twice: the backward pass adds up small cotangents over the steps, and applies the
transpose of what was hoisted once, where it would apply it at every step. What only repeats its operand stays inside:
it costs nothing there, and would be a large constant outside.
"""

from __future__ import annotations

from collections.abc import Sequence

from gradwire_engine.builder import GraphBuilder
from gradwire_engine.graph import Graph, Node
from gradwire_engine.op import op_of
from gradwire_engine.ops.control.operands import Operand, emit, groups_of, in_order, present
from gradwire_engine.passes.rewrite import rewrite
from gradwire_engine.value import Builder, Value

_STAYS = frozenset({"constant", "iota", "broadcast_to", "barrier"})


def hoist(graph: Graph) -> Graph:
    """`graph` with the invariant part of its own loops before them; of loops without row axes."""
    if not any(_constants(node) for node in graph.nodes):
        return graph
    return rewrite(graph, _hoisted)


def _constants(node: Node) -> int:
    """The number of constants of the loop's body."""
    if not op_of(node).control.repeats:
        return 0
    groups = groups_of(node)
    return 0 if groups.row_axes else len(groups.operands["constants"])


def _hoisted(builder: GraphBuilder, first: int, node: Node, operands: list[Value]) -> Sequence[Value] | None:
    count = _constants(node)
    if not count:
        return None
    body = node.subgraphs[-1]
    invariant = _invariant(body, count)
    boundary = _boundary(body, invariant)
    if not boundary:
        return None
    groups = groups_of(node)
    arguments = groups.all(operands)
    outside = {i: operand.value for i, operand in enumerate(arguments["constants"])}
    for start, inner in body.numbered():
        if invariant[start]:
            results = builder.copy(inner, [outside[n] for n in inner.operands])
            outside.update(zip(range(start, start + len(results)), results, strict=True))
    arguments["constants"] += [Operand(outside[n]) for n in boundary]
    graphs = (*node.subgraphs[:-1], _without(builder.fresh(), body, boundary, count))
    return in_order(emit(builder, node.op, node.attributes, arguments, graphs, groups.over_rows))


def _invariant(body: Graph, count: int) -> list[bool]:
    """Values that depend on constants, and on nothing else but numbers; those of the constants themselves."""
    numbers = [False] * len(body.inputs)
    invariant = [i < count for i in range(len(body.inputs))]
    for node in body.nodes:
        plain = all([numbers[n] for n in node.operands])
        fixed = not plain and all([invariant[n] or numbers[n] for n in node.operands]) and not node.subgraphs
        fixed = fixed and node.op.name not in ("stop_gradient", "barrier")
        numbers.extend([plain] * len(node.results))
        invariant.extend([fixed] * len(node.results))
    return _with_numbers(body, invariant, numbers)


def _with_numbers(body: Graph, invariant: list[bool], numbers: Sequence[bool]) -> list[bool]:
    """And the numbers that these are computed with."""
    for first, node in reversed(list(body.numbered())):
        if invariant[first]:
            for n in node.operands:
                invariant[n] = invariant[n] or numbers[n]
    return invariant


def _boundary(body: Graph, invariant: Sequence[bool]) -> list[int]:
    """Invariant values that the rest of the body, or an output, uses, and that are worth a constant of their own."""
    stays = [True] * len(body.inputs)
    sources: list[tuple[int, ...]] = [()] * len(body.inputs)
    for node in body.nodes:
        stays.extend([node.op.name in _STAYS] * len(node.results))
        sources.extend([node.operands] * len(node.results))
    wanted: dict[int, None] = {}

    def want(n: int) -> None:
        while n >= len(body.inputs) and invariant[n] and stays[n]:
            if not sources[n]:
                return
            n = sources[n][0]
        if n >= len(body.inputs) and invariant[n]:
            wanted[n] = None

    for first, node in body.numbered():
        if not invariant[first]:
            for n in node.operands:
                want(n)
    for n in body.outputs:
        want(n)
    return list(wanted)


def _without(builder: Builder, body: Graph, boundary: Sequence[int], count: int) -> Graph:
    """The body with the boundary as further constants."""
    values: list[Value | None] = [None] * len(body.types)
    for i in range(count):
        values[i] = builder.input(body.inputs[i].name, body.inputs[i].type)
    for n in boundary:
        values[n] = builder.input("", body.types[n])
    for i in range(count, len(body.inputs)):
        values[i] = builder.input(body.inputs[i].name, body.inputs[i].type)
    for first, node in body.numbered():
        missing = [n for n in range(first, first + len(node.results)) if values[n] is None]
        if not missing:
            continue
        results = builder.copy(node, [present(values[n]) for n in node.operands])
        for n in missing:
            values[n] = results[n - first]
    return builder.finish([present(values[n]) for n in body.outputs], body.output_names)
