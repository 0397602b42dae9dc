"""How many rows of a batch run at a time.

A large batch runs in slices, one after the other, so that the buffers of a slice fit the memory budget, and the cache
where the batch is large enough for that to pay. That is right only where every output is stacked over the rows or a
sum over them: slices are then computed apart, put behind each other or added. Results agree between slicings to
rounding. The worst case is a graph of another kind: its whole batch runs at once, whatever memory that takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gradwire_engine.attributes import Axes, DotGeneral
from gradwire_engine.bounds import Bound
from gradwire_engine.graph import Graph, Node
from gradwire_engine.plan.schedule import Schedule

CACHE_BYTES: Final = 1 << 20
"""Live bytes of a slice that is cut for the cache."""

_LEAST_BYTES_PER_NODE: Final = 1 << 15
"""A slice this small per buffer would spend its time in Python, not in numpy."""

_TIMES_THE_CACHE: Final = 4
"""So many slices a batch must have to be cut for the cache."""

_LINEAR = frozenset(
    {"negative", "reshape", "permute_dims", "slice", "broadcast_to", "sum", "flip", "windows", "overlap_add"}
)
_SUMS = frozenset({"add", "subtract"})
_PRODUCTS = frozenset({"multiply", "dot_general", "convolution"})


@dataclass(frozen=True, slots=True)
class Slices:
    """How a batch may be cut."""

    apart: bool
    """Whether slices of rows can be computed apart."""
    bytes: Bound
    """The live bytes of a run."""
    widest_row: int
    """The bytes that the largest array has for each row."""
    summed: frozenset[int]
    """The outputs, by position, that are sums over the rows: those of the slices are added."""

    def rows_at_a_time(self, rows: int, memory_bytes: int | None) -> int:
        """At least 1. `memory_bytes` bounds the live bytes, as far as slices of single rows can."""
        if not self.apart or rows <= 1:
            return max(rows, 1)
        size = rows
        per_row = max(self.bytes.per_row, 1)
        if memory_bytes is not None and self.bytes.at(rows) > memory_bytes:
            size = max((memory_bytes - self.bytes.constant) // per_row, 1)
        for_cache = max(CACHE_BYTES // per_row, _LEAST_BYTES_PER_NODE // self.widest_row, 1)
        return int(min(size, for_cache) if for_cache * _TIMES_THE_CACHE <= rows else size)


def slices_of(graph: Graph, schedule: Schedule, bytes: Bound) -> Slices:
    """How the batch of a graph may be cut; `schedule` has what depends on the rows as what varies."""
    apart = bool(schedule.each) and _row_sums_are_linear(graph, schedule.varies)
    widest = max([type.elements * type.dtype.itemsize for type in graph.types if type.is_batched], default=1)
    summed = [
        position
        for position, number in enumerate(graph.outputs)
        if schedule.varies[number] and not graph.types[number].is_batched
    ]
    return Slices(apart, bytes, widest or 1, frozenset(summed))


def _row_sums_are_linear(graph: Graph, by_rows: Sequence[bool]) -> bool:
    """Whether every output is stacked or a sum over rows, so that slices can be computed apart and added.

    A value without row axis that depends on rows must be a sum over them, or linear in such sums.
    """
    types = graph.types
    partial = [False] * len(types)
    for first, node in graph.numbered():
        if node.subgraphs:
            if any(partial[n] for n in node.operands):
                return False
            for n in range(first, first + len(node.results)):
                partial[n] = by_rows[n] and not types[n].is_batched  # the only such results of loops: sums over rows
            continue
        if not by_rows[first] or types[first].is_batched:
            if any(partial[n] for n in node.operands):
                return False
            continue
        if not _adds_over_slices(node, [(types[n].is_batched, partial[n]) for n in node.operands]):
            return False
        partial[first] = True
    return True


def _adds_over_slices(node: Node, operands: Sequence[tuple[bool, bool]]) -> bool:
    """Whether a row-dependent result without row axis is the sum of what slices of rows give.

    Of each operand: whether it has the row axis, and whether it is itself such a sum.
    """
    batched = [has_rows for has_rows, _ in operands]
    sums = [is_sum for _, is_sum in operands]
    name = node.op.name
    if any(batched):
        if any(sums):
            return False
        if name == "sum" and isinstance(node.attributes, Axes):
            return 0 in node.attributes.axes
        return name == "dot_general" and isinstance(node.attributes, DotGeneral) and all(batched)
    if name in _LINEAR:
        return True
    if name in _SUMS:
        return all(sums)
    return name in _PRODUCTS and sum(sums) == 1
