"""What a loop computes from its constants alone, at every step again, is computed once before it.

Before differentiation this pays twice: the backward pass adds up small cotangents over the steps, and applies the
transpose of what was hoisted once, where it would apply it at every step. What only repeats its operand stays inside:
it costs nothing there, and would be a large constant outside.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gradwire_engine.attributes import Attributes, Scan, While
from gradwire_engine.builder import GraphBuilder
from gradwire_engine.graph import Graph, Node
from gradwire_engine.value import Value

_STAYS = frozenset({"constant", "iota", "broadcast_to", "barrier"})


def hoist(graph: Graph) -> Graph:
    """`graph` with the invariant part of its own loops before them; of loops without row axes."""
    if not any(_constants(node) for node in graph.nodes):
        return graph
    builder = GraphBuilder()
    values: list[Value] = [builder.input(one.name, one.type) for one in graph.inputs]
    changed = False
    for node in graph.nodes:
        operands = [values[n] for n in node.operands]
        better = _hoisted(builder, node, operands) if _constants(node) else None
        changed = changed or better is not None
        values.extend(builder.copy(node, operands) if better is None else better)
    return builder.finish([values[n] for n in graph.outputs], graph.output_names) if changed else graph


def _constants(node: Node) -> int:
    """The number of constants of the loop's body."""
    match node.attributes:
        case Scan(row_axes=0, constants=count):
            return count
        case While(row_axes=0, body_constants=count):
            return count
        case _:
            return 0


def _hoisted(builder: GraphBuilder, node: Node, operands: Sequence[Value]) -> Sequence[Value] | None:
    body, count = node.subgraphs[-1], _constants(node)
    invariant = _invariant(body, count)
    boundary = _boundary(body, invariant)
    if not boundary:
        return None
    first = _first_constant(node)
    outside: dict[int, Value] = {i: operands[first + i] for i in range(count)}
    for start, inner in body.numbered():
        if invariant[start]:
            made = builder.copy(inner, [outside[n] for n in inner.operands])
            outside.update(zip(range(start, start + len(made)), made, strict=True))
    new_body = _without(body, invariant, boundary, count)
    attributes: Attributes
    if isinstance(node.attributes, Scan):
        attributes = replace(node.attributes, constants=count + len(boundary))
    else:
        assert isinstance(node.attributes, While)
        attributes = replace(node.attributes, body_constants=count + len(boundary))
    at = first + count
    given = [*operands[:at], *(outside[n] for n in boundary), *operands[at:]]
    return builder.emit_all(node.op, given, attributes, (*node.subgraphs[:-1], new_body))


def _first_constant(node: Node) -> int:
    if isinstance(node.attributes, While):
        return node.attributes.condition_constants
    assert isinstance(node.attributes, Scan)
    return int(node.attributes.counted)


def _invariant(body: Graph, count: int) -> list[bool]:
    """Values that depend on constants, and on nothing else but numbers; those of the constants themselves."""
    numbers = [False] * len(body.inputs)
    found = [i < count for i in range(len(body.inputs))]
    for node in body.nodes:
        plain = all([numbers[n] for n in node.operands])
        fixed = not plain and all([found[n] or numbers[n] for n in node.operands]) and not node.subgraphs
        fixed = fixed and node.op.name not in ("stop_gradient", "barrier")
        numbers.extend([plain] * len(node.results))
        found.extend([fixed] * len(node.results))
    return _with_numbers(body, found, numbers)


def _with_numbers(body: Graph, found: list[bool], numbers: Sequence[bool]) -> list[bool]:
    """And the numbers that these are computed with."""
    for first, node in reversed(list(body.numbered())):
        if found[first]:
            for n in node.operands:
                found[n] = found[n] or numbers[n]
    return found


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


def _without(body: Graph, invariant: Sequence[bool], boundary: Sequence[int], count: int) -> Graph:
    """The body with the boundary as further constants."""
    builder = GraphBuilder()
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
        operands = [values[n] for n in node.operands]
        made = builder.copy(node, [value for value in operands if value is not None])
        for n in missing:
            values[n] = made[n - first]
    outputs = [values[n] for n in body.outputs]
    return builder.finish([value for value in outputs if value is not None], body.output_names)
