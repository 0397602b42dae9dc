"""What a graph costs, known before it runs: bounds of the form constant + per_row * B, saturating.

Floating-point operations are counted from each op's own weight; bytes from the buffers that are alive at the same time
when the nodes run in order and every buffer is freed after its last use. Views are counted as if they were copies, so
the bound on bytes holds for every executor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gradwire_engine.graph import Graph, Node
from gradwire_engine.types import TensorType

SATURATED = 2**64 - 1


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


def cost(graph: Graph) -> Cost:
    """The bounds of a graph as it stands."""
    return Cost(flops_bound(graph), bytes_bound(graph), graph.size)


def flops_bound(graph: Graph) -> Bound:
    """Floating-point operations."""
    constant = per_row = 0
    types = graph.types
    for node in graph.nodes:
        fixed, growing = _node_flops(node, [types[n] for n in node.operands])
        constant += fixed
        per_row += growing
    return Bound(min(constant, SATURATED), min(per_row, SATURATED))


def _node_flops(node: Node, operands: Sequence[TensorType]) -> tuple[int, int]:
    weight = node.op.flops
    if callable(weight):
        return weight(node.attributes, operands, node.results)
    types = [*operands, *node.results]
    fixed = max([type.elements for type in types if not type.is_batched], default=0)
    growing = max([type.elements for type in types if type.is_batched], default=0)
    return (0, round(weight * growing)) if growing else (round(weight * fixed), 0)


def bytes_bound(graph: Graph) -> Bound:
    """The largest sum of buffers alive at the same time, inputs and outputs included."""
    sizes = [type.elements * type.dtype.itemsize for type in graph.types]
    grows = [type.is_batched for type in graph.types]
    dying = last_uses(graph)
    alive = [0, 0]
    for number in range(len(graph.inputs)):
        alive[grows[number]] += sizes[number]
    peak = list(alive)
    for position, (first, node) in enumerate(graph.numbered()):
        for number in range(first, first + len(node.results)):
            alive[grows[number]] += sizes[number]
        peak = [max(highest, now) for highest, now in zip(peak, alive, strict=True)]
        for number in dying[position]:
            alive[grows[number]] -= sizes[number]
    return Bound(min(peak[0], SATURATED), min(peak[1], SATURATED))


def last_uses(graph: Graph) -> list[tuple[int, ...]]:
    """For each node, the values that nothing needs after it: used here for the last time, or made here and never used.

    Inputs and outputs are never among them: they belong to the caller.
    """
    kept = set(graph.outputs) | set(range(len(graph.inputs)))
    last: dict[int, int] = {}
    for position, (first, node) in enumerate(graph.numbered()):
        for number in (*node.operands, *range(first, first + len(node.results))):
            last[number] = position
    dying: list[list[int]] = [[] for _ in graph.nodes]
    for number, position in last.items():
        if number not in kept:
            dying[position].append(number)
    return [tuple(numbers) for numbers in dying]
