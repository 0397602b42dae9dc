"""What a graph costs, known before it runs: bounds of the form constant + per_row * B, saturating.

Floating-point operations are counted from each op's own weight; bytes from the buffers that are alive at the same time
when the nodes run in the order of `schedule` and every buffer is freed after its last use. Views are counted as if they
were copies, and as what they keep alive where that is more, so the bound on bytes holds for every executor.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import NamedTuple

from gradwire_engine.attributes import Replay, Rowwise, Scan, While
from gradwire_engine.graph import Graph, Node
from gradwire_engine.op import op_of
from gradwire_engine.ops.shape import copies_slice
from gradwire_engine.plan.checkpointing import least_steps
from gradwire_engine.types import ROWS, TensorType

SATURATED = 2**64 - 1

_PLACED_BYTES = 176
"""For each snapshot of a loop whose end nobody knows: about 22 numbers that say what giving it up would cost."""

_HELD_BYTES = 48
"""For each snapshot of a loop that is run again: where it stands, in Python objects."""


@dataclass(frozen=True, slots=True)
class Bound:
    """constant + per_row * rows, at most 2**64 - 1."""

    constant: int = 0
    per_row: int = 0

    def at(self, rows: int) -> int:
        """The bound for a batch of `rows`."""
        return min(self.constant + self.per_row * rows, SATURATED)

    def __add__(self, other: Bound) -> Bound:
        return Bound(min(self.constant + other.constant, SATURATED), min(self.per_row + other.per_row, SATURATED))


@dataclass(frozen=True, slots=True)
class Cost:
    """Bounds on what a plan needs, and its number of nodes."""

    flops: Bound
    bytes: Bound
    nodes: int
    open_ended: bool = False
    """Whether there is a loop whose number of steps only the run knows: the bound on the operations is then far above
    what most runs take."""


def cost(graph: Graph) -> Cost:
    """The bounds of a graph as it stands."""
    return Cost(flops_bound(graph), bytes_bound(graph), graph.size, _is_open_ended(graph))


def _is_open_ended(graph: Graph) -> bool:
    return any(node.op.name == "while" or any(map(_is_open_ended, node.subgraphs)) for node in graph.nodes)


def flops_bound(graph: Graph) -> Bound:
    """Floating-point operations."""
    constant = per_row = 0
    types = graph.types
    for node in graph.nodes:
        operands = [types[n] for n in node.operands]
        fixed, growing = _structured_flops(node, operands) if node.subgraphs else _node_flops(node, operands)
        constant += fixed
        per_row += growing
    return Bound(min(constant, SATURATED), min(per_row, SATURATED))


def _node_flops(node: Node, operands: Sequence[TensorType]) -> tuple[int, int]:
    weight = op_of(node).flops
    if callable(weight):
        return weight(node.attributes, operands, node.results)
    types = [*operands, *node.results]
    fixed = max([type.elements for type in types if not type.is_batched], default=0)
    growing = max([type.elements for type in types if type.is_batched], default=0)
    return (0, round(weight * growing)) if growing else (round(weight * fixed), 0)


def _structured_flops(node: Node, operands: Sequence[TensorType]) -> tuple[int, int]:
    """Of all steps of a loop that runs to its bound; of the more expensive branch."""
    bounds = [flops_bound(graph) for graph in node.subgraphs]
    match node.attributes:
        case Replay():
            return _replay_flops(node, operands, bounds)
        case Scan(length=steps):
            steps = max(steps, 1)
        case While(max_steps=steps):
            bounds = [bounds[0] + bounds[1]]
        case _:
            steps = 1
    worst = Bound(max(bound.constant for bound in bounds), max(bound.per_row for bound in bounds))
    constant, per_row = _over_rows(node, operands, worst)
    each = sum(graph.size for graph in node.subgraphs) + 1  # a step costs something even where it computes nothing
    return (constant + each) * steps, per_row * steps


def _replay_flops(node: Node, operands: Sequence[TensorType], bounds: Sequence[Bound]) -> tuple[int, int]:
    """Of the scan, and of the loop as often as its steps are run again; a loop that all rows share runs once."""
    a = node.attributes
    assert isinstance(a, Replay)
    again = max(least_steps(a.length, a.snapshots), 1)
    steps = max(a.length, 1)
    constant, per_row = _over_rows(node, operands, bounds[1])
    if int(a.counted) in a.shared:
        return constant * steps + bounds[0].constant * again, per_row * steps
    more = _over_rows(node, operands, bounds[0])
    return constant * steps + more[0] * again, per_row * steps + more[1] * again


def _bookkeeping_bytes(node: Node) -> int:
    """What it takes to know which snapshots to keep, and which there are."""
    match node.attributes:
        case While(snapshots=count):
            return _PLACED_BYTES * count
        case Replay(snapshots=count):
            return _HELD_BYTES * count
        case _:
            return 0


def _snapshots(node: Node) -> tuple[int, ...]:
    """The values that are the snapshots of a replay."""
    a = node.attributes
    assert isinstance(a, Replay)
    first = int(a.counted) + 1
    return node.operands[first : first + a.forward_carries]


def _over_rows(node: Node, operands: Sequence[TensorType], bound: Bound) -> tuple[int, int]:
    """The bound of a graph that a node applies to its rows, as constant and per row of the batch."""
    attributes = node.attributes
    if not isinstance(attributes, Rowwise) or attributes.row_axes == 0:
        return bound.constant, bound.per_row
    lead = next(type for i, type in enumerate(operands) if i not in attributes.shared)
    rows = lead.shape[: attributes.row_axes]
    count = math.prod([length for length in rows if length != ROWS])
    constant, per_row = (bound.constant, bound.per_row) if attributes.batched else (0, bound.constant)
    if lead.is_batched:
        return constant, per_row * count
    return constant + per_row * count, 0


class Schedule(NamedTuple):
    """In which order the nodes of a graph run, and when their results are no longer needed."""

    order: tuple[int, ...]
    """Positions of nodes: first those that depend on no row, which run once, then the rest, which may run in slices."""
    by_rows: tuple[bool, ...]
    """For each value, whether it depends on the batch."""
    dying: tuple[tuple[int, ...], ...]
    """For each position, the values that nothing needs once that node has run."""


def schedule(graph: Graph, varying: Sequence[bool] | None = None) -> Schedule:
    """The order of a graph's nodes, and the lives of its values.

    Inputs and outputs belong to the caller and never die. Neither does what runs once and is read for every slice.
    `varying` marks the values that change from one run to the next, by default those that depend on the batch.
    """
    by_rows = depends_on_rows(graph) if varying is None else varying
    moving = [by_rows[first] for first in graph.first_results]
    order = tuple(sorted(range(len(graph.nodes)), key=moving.__getitem__))
    kept = set(graph.outputs) | set(range(len(graph.inputs)))
    last: dict[int, int] = {}
    for position in order:
        node, first = graph.nodes[position], graph.first_results[position]
        for number in node.operands:
            last[number] = position
            if moving[position] and not by_rows[number]:
                kept.add(number)
        for number in range(first, first + len(node.results)):
            last[number] = position
    dying: list[list[int]] = [[] for _ in graph.nodes]
    for number, position in last.items():
        if number not in kept:
            dying[position].append(number)
    return Schedule(order, tuple(by_rows), tuple([tuple(numbers) for numbers in dying]))


def depends_on_rows(graph: Graph) -> list[bool]:
    """For each value, whether it depends on the batch: it has the row axis, or is computed from what has."""
    depends = [one.type.is_batched for one in graph.inputs]
    for node in graph.nodes:
        moves = (
            any([depends[n] for n in node.operands])
            or node.attributes.mentions_rows
            or any([type.is_batched for type in node.results])
        )
        depends.extend([moves] * len(node.results))
    return depends


def depends_on_inputs(graph: Graph, first: int) -> list[bool]:
    """For each value, whether it depends on an input from `first` on."""
    depends = [number >= first for number in range(len(graph.inputs))]
    for node in graph.nodes:
        depends.extend([any([depends[n] for n in node.operands])] * len(node.results))
    return depends


def bytes_bound(graph: Graph, varying: Sequence[bool] | None = None) -> Bound:
    """The largest sum of buffers alive at the same time, inputs, outputs and scratch memory included; for runs as
    `schedule` has them."""
    sizes = [type.elements * type.dtype.itemsize for type in graph.types]
    held = _held_bytes(graph, sizes)
    grows = [type.is_batched for type in graph.types]
    plan = schedule(graph, varying)
    alive = [0, 0]
    for number in range(len(graph.inputs)):
        alive[grows[number]] += held[number]
    peak = list(alive)
    for position in plan.order:
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
            inner = _structured_bytes(node, [graph.types[n] for n in node.operands])
            now = [now[0] + inner[0], now[1] + inner[1]]
            now[0] += _bookkeeping_bytes(node)
        if isinstance(node.attributes, Replay):
            for number in _snapshots(node):
                if number not in plan.dying[position]:
                    now[grows[number]] += sizes[number]  # what others read is copied before it is overwritten
        peak = [max(highest, each) for highest, each in zip(peak, now, strict=True)]
        for number in plan.dying[position]:
            alive[grows[number]] -= held[number]
    return Bound(min(peak[0], SATURATED), min(peak[1], SATURATED))


def _structured_bytes(node: Node, operands: Sequence[TensorType]) -> tuple[int, int]:
    """What a node needs besides operands and results: one step of a loop, or the larger of the branches."""
    bounds = []
    for position, graph in enumerate(node.subgraphs):
        fixed = 0
        if isinstance(node.attributes, Scan):
            fixed = node.attributes.constants
        elif isinstance(node.attributes, Replay):
            fixed = (node.attributes.forward_constants, node.attributes.constants)[position]
        elif isinstance(node.attributes, While):
            fixed = (node.attributes.condition_constants, node.attributes.body_constants)[position]
        bounds.append(bytes_bound(graph, depends_on_inputs(graph, fixed)))
    together = isinstance(node.attributes, While | Replay)  # what is the same for all steps lives all the time
    pick = sum if together else max
    worst = Bound(pick([bound.constant for bound in bounds]), pick([bound.per_row for bound in bounds]))
    return _over_rows(node, operands, worst)


_VIEWS = frozenset({"broadcast_to", "reshape", "permute_dims", "slice", "flip", "windows", "stop_gradient"})
"""Ops whose result may be part of their operand's memory."""


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
