"""What loops carry and return without need goes: results that nothing uses, and the operands that only these used.

Differentiation makes loops that return more than is asked for: the value beside the gradient, carries of every step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gradwire_engine.attributes import Attributes, Cond, Rowwise, Scan, While
from gradwire_engine.builder import GraphBuilder
from gradwire_engine.graph import Graph, Node
from gradwire_engine.ops.control.bodies import needed_inputs, rearranged
from gradwire_engine.ops.control.scan.layout import layout_of
from gradwire_engine.value import Value


def prune(graph: Graph) -> Graph:
    """`graph` with its loops and branches cut down to what is used of them."""
    if not any(node.subgraphs for node in graph.nodes):
        return graph
    used = _used(graph)
    builder = GraphBuilder()
    values: list[Value | None] = [builder.input(one.name, one.type) for one in graph.inputs]
    changed = False
    for first, node in graph.numbered():
        results = range(first, first + len(node.results))
        if not any([used[n] for n in results]):
            values.extend([None] * len(node.results))  # dead: `finish` would drop it, and so does everything before it
            continue
        kept = [k for k, n in enumerate(results) if used[n]]
        smaller = _pruned(node, kept, builder)
        if smaller is None:
            values.extend(builder.copy(node, [_there(values[n]) for n in node.operands]))
            continue
        changed = True
        new, operands, places = smaller
        made = builder.emit_all(
            new.op, [_there(values[node.operands[i]]) for i in operands], new.attributes, new.subgraphs
        )
        values.extend([None] * len(node.results))
        for value, place in zip(made, places, strict=True):
            values[first + place] = value
    return builder.finish([_there(values[n]) for n in graph.outputs], graph.output_names) if changed else graph


def _there(value: Value | None) -> Value:
    assert value is not None
    return value


def _used(graph: Graph) -> list[bool]:
    """For each value, whether the outputs may depend on it."""
    used = [False] * len(graph.types)
    for n in graph.outputs:
        used[n] = True
    for first, node in reversed(list(graph.numbered())):
        if any(used[first : first + len(node.results)]):
            for n in node.operands:
                used[n] = True
    return used


Smaller = tuple[Node, list[int], list[int]]
"""A node, the operands that it keeps, and of each of its results which one of the old node's it is."""


def _pruned(node: Node, kept: Sequence[int], builder: GraphBuilder) -> Smaller | None:
    match node.attributes:
        case Scan(snapshots=0):
            return _pruned_scan(node, kept, builder)
        case While(snapshots=0):
            return _pruned_while(node, kept, builder)
        case Cond():
            return _pruned_branches(node, kept, builder)
        case _:
            return None


def _with_places(attributes: Rowwise, places: Sequence[int]) -> tuple[int, ...]:
    return tuple(p for p, place in enumerate(places) if place in attributes.shared)


def _pruned_branches(node: Node, kept: Sequence[int], builder: GraphBuilder) -> Smaller | None:
    attributes = node.attributes
    assert isinstance(attributes, Cond)
    needed = sorted(set().union(*(needed_inputs(graph, kept) for graph in node.subgraphs)))
    if len(kept) == len(node.results) and len(needed) == len(node.operands) - 1:
        return None
    places = [0, *(1 + i for i in needed)]
    graphs = tuple([rearranged(builder, graph, needed, kept) for graph in node.subgraphs])
    new: Attributes = replace(attributes, shared=_with_places(attributes, places))
    return node._replace(attributes=new, subgraphs=graphs), places, [*kept]


def _pruned_scan(node: Node, kept: Sequence[int], builder: GraphBuilder) -> Smaller | None:
    layout, body = layout_of(node), node.subgraphs[0]
    a, first = layout.attributes, layout.first
    constants, carries, stacked = layout.inputs
    out_carries, _, sums = layout.results
    outputs = set(kept)
    while True:
        needed = needed_inputs(body, sorted(outputs))
        wanted = outputs | {k for k, i in enumerate(carries) if i in needed}
        if wanted == outputs:
            break
        outputs = wanted
    if a.row_axes and not outputs & {*out_carries} and not any(first + i not in a.shared for i in needed):
        return None  # some operand must go on telling the rows
    inputs = [
        i for i in (*constants, *carries, *stacked) if i in needed or (i in carries and i - carries.start in outputs)
    ]
    places = [*range(first), *(first + i for i in inputs)]
    if len(outputs) == len(node.results) and len(places) == len(node.operands):
        return None
    ordered = sorted(outputs)
    kept_sums = [j for j in ordered if j in sums]
    new = replace(
        a,
        constants=sum(i in constants for i in inputs),
        carries=sum(i in carries for i in inputs),
        sums=len(kept_sums),
        row_sums=tuple(k for k, j in enumerate(kept_sums) if j - sums.start in a.row_sums),
        shared=_with_places(a, places),
    )
    graph = rearranged(builder, body, inputs, ordered)
    return node._replace(attributes=new, subgraphs=(graph,)), places, ordered


def _pruned_while(node: Node, kept: Sequence[int], builder: GraphBuilder) -> Smaller | None:
    a, (condition, body) = node.attributes, node.subgraphs
    assert isinstance(a, While)
    c, b, count = a.condition_constants, a.body_constants, len(body.outputs)
    first_record = count + int(a.counted)
    records = [k for k in range(len(a.recorded)) if first_record + k in kept]
    needed_by_condition = needed_inputs(condition, [0])
    carries = {k for k in kept if k < count} | {a.recorded[k] for k in records}
    carries |= {i - c for i in needed_by_condition if i >= c}
    while True:
        needed = needed_inputs(body, sorted(carries))
        wanted = carries | {i - b for i in needed if i >= b}
        if wanted == carries:
            break
        carries = wanted
    counted = a.counted and (bool(records) or count in kept)
    of_condition = [i for i in range(c) if i in needed_by_condition]
    of_body = [i for i in range(b) if i in needed]
    ordered = sorted(carries)
    places = [*of_condition, *(c + i for i in of_body), *(c + b + k for k in ordered)]
    if len(places) == len(node.operands) and counted == a.counted and len(records) == len(a.recorded):
        return None
    new = replace(
        a,
        condition_constants=len(of_condition),
        body_constants=len(of_body),
        counted=counted,
        recorded=tuple(ordered.index(a.recorded[k]) for k in records),
        shared=_with_places(a, places),
    )
    test = rearranged(builder, condition, [*of_condition, *(c + k for k in ordered)], [0])
    step = rearranged(builder, body, [*of_body, *(b + k for k in ordered)], ordered)
    results = [*ordered, *([count] if counted else []), *(first_record + k for k in records)]
    return node._replace(attributes=new, subgraphs=(test, step)), places, results
