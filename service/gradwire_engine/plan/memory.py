"""How many bytes of buffers a run needs at most.

It is the largest sum of the buffers that are alive at the same time when the nodes run in the order of its schedule and
every buffer is freed after its last use; with inputs, outputs and scratch memory. Views are counted as if they were
copies, and as what they keep alive where that is more, so the bound holds for every executor.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import repeat

from gradwire_engine.bounds import Bound
from gradwire_engine.graph import Graph
from gradwire_engine.op import op_of
from gradwire_engine.ops.shape import copies_slice
from gradwire_engine.plan.schedule import Schedule, depends_on_inputs, depends_on_rows, schedule_of
from gradwire_engine.plan.structured import graph_uses, overwritten, structured_bytes

_VIEWS = frozenset({"broadcast_to", "reshape", "permute_dims", "slice", "flip", "windows", "stop_gradient"})
"""Ops whose result may be part of their operand's memory."""


def bytes_bound(graph: Graph, schedule: Schedule | None = None) -> Bound:
    """The bound for runs in this order, by default those of a batch of rows."""
    schedule = schedule_of(graph, depends_on_rows(graph)) if schedule is None else schedule
    sizes = [type.elements * type.dtype.itemsize for type in graph.types]
    held = _held_bytes(graph, sizes)
    grows = [type.is_batched for type in graph.types]
    alive = [0, 0]  # constant, per row
    for number in range(len(graph.inputs)):
        alive[grows[number]] += held[number]
    peak = list(alive)
    for position in schedule.order:
        node, first = graph.nodes[position], graph.first_results[position]
        results = range(first, first + len(node.results))
        for number in results:
            alive[grows[number]] += held[number]
        now = list(alive)
        scratch = op_of(node).scratch
        if scratch:
            numbers = (*node.operands, *results)
            factors = scratch if isinstance(scratch, tuple) else repeat(scratch, len(numbers))
            for number, factor in zip(numbers, factors, strict=True):
                now[grows[number]] += math.ceil(factor * sizes[number])
        if node.subgraphs:
            bounds = [
                bytes_bound(subgraph, schedule_of(subgraph, depends_on_inputs(subgraph, use.constants)))
                for subgraph, use in zip(node.subgraphs, graph_uses(node), strict=True)
            ]
            inner = structured_bytes(node, [graph.types[n] for n in node.operands], bounds)
            now = [now[0] + inner.constant, now[1] + inner.per_row]
            for number in overwritten(node):
                if number not in schedule.dying[position]:
                    now[grows[number]] += sizes[number]  # what others read is copied before it is written to
        peak = [max(highest, each) for highest, each in zip(peak, now, strict=True)]
        for number in schedule.dying[position]:
            alive[grows[number]] -= held[number]
    return Bound(peak[0], peak[1]).saturated()


def _held_bytes(graph: Graph, sizes: Sequence[int]) -> list[int]:
    """The memory that each value keeps from being freed: its own size, or that of the larger array it is a part of."""
    held = list(sizes)
    for n in range(len(graph.inputs)):
        held[n] = 0  # the caller's, whatever is made of it
    for first, node in graph.numbered():
        if node.op.name in _VIEWS and graph.types[first].is_batched == graph.types[node.operands[0]].is_batched:
            if node.op.name != "slice" or not copies_slice(sizes[node.operands[0]], sizes[first]):
                held[first] = max(sizes[first], held[node.operands[0]])
    return [max(pair) for pair in zip(held, sizes, strict=True)]
