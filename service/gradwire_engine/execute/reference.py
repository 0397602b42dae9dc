"""The reference executor: numpy, node by node, in the order of the graph.

A compiled graph has two parts: what depends on no row runs once; the rest runs for a batch of rows, or for slices of it
one after the other, so that the buffers of a slice fit the memory budget, and the cache where the batch is large enough
for that to pay. A buffer is freed after its last use. Outputs without a row axis (sums over rows) are added up over the
slices, which `_row_sums_are_linear` makes sure is right. The order, and when a buffer dies, are the `schedule` of the
cost bounds, so memory keeps to them.

Results agree between slicings to rounding; NaN, infinities and overflow are values, never errors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from gradwire_engine.attributes import Attributes, Axes, DotGeneral
from gradwire_engine.cost import bytes_bound, schedule
from gradwire_engine.errors import GraphError
from gradwire_engine.graph import Graph, Node

CACHE_BYTES = 1 << 20
"""Live bytes of a slice that is cut for the cache."""

_LEAST_SLICE_BYTES_PER_NODE = 1 << 15
"""A slice this small per buffer would spend its time in Python, not in numpy."""


class _Step(NamedTuple):
    evaluate: Callable[..., Any]
    attributes: Attributes
    mentions_rows: bool
    operands: tuple[int, ...]
    first: int
    results: int
    dying: tuple[int, ...]


class Executable:
    """A graph that can be run; immutable, may be shared between threads."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._bytes = bytes_bound(graph)
        plan = schedule(graph)
        by_rows = plan.by_rows
        self._once: list[_Step] = []
        self._by_slice: list[_Step] = []
        for position in plan.order:
            node, first = graph.nodes[position], graph.first_results[position]
            step = _Step(
                node.op.evaluate,
                node.attributes,
                node.attributes.mentions_rows,
                node.operands,
                first,
                len(node.results),
                plan.dying[position],
            )
            (self._by_slice if by_rows[first] else self._once).append(step)
        self._sliceable = _row_sums_are_linear(graph, by_rows)
        self._outputs = [(number, graph.types[number], by_rows[number]) for number in graph.outputs]

    def run(self, inputs: Sequence[np.ndarray], rows: int, *, memory_bytes: int | None = None) -> list[np.ndarray]:
        """The outputs for a batch of `rows`; `inputs` as the graph's input types say, with `ROWS` replaced by `rows`.

        `memory_bytes` bounds the live buffers, inputs and outputs of the whole batch not counted, as far as slices of
        single rows can. Raises MemoryError where numpy cannot allocate.
        """
        self._check(inputs, rows)
        values: list[np.ndarray | None] = [*inputs, *[None] * (len(self.graph.types) - len(inputs))]
        size = self.slice_rows(rows, memory_bytes)
        with np.errstate(all="ignore"):
            self._run_steps(self._once, values, rows)
            if size >= rows:
                self._run_steps(self._by_slice, values, rows)
                return [_owned(values[number]) for number, _, _ in self._outputs]
            return self._run_slices(values, rows, size)

    def slice_rows(self, rows: int, memory_bytes: int | None) -> int:
        """How many rows run at a time."""
        if not self._sliceable or rows <= 1 or not self._by_slice:
            return max(rows, 1)
        size = rows
        per_row = max(self._bytes.per_row, 1)
        if memory_bytes is not None and self._bytes.at(rows) > memory_bytes:
            size = max((memory_bytes - self._bytes.constant) // per_row, 1)
        for_cache = max(CACHE_BYTES // per_row, _LEAST_SLICE_BYTES_PER_NODE // self._widest_row(), 1)
        return int(min(size, for_cache) if for_cache * 4 <= rows else size)

    def _widest_row(self) -> int:
        batched = [type.elements * type.dtype.itemsize for type in self.graph.types if type.is_batched]
        return max(batched, default=1) or 1

    def _run_slices(self, values: list[np.ndarray | None], rows: int, size: int) -> list[np.ndarray]:
        outputs: list[np.ndarray | None] = [None] * len(self._outputs)
        batched_inputs = [i for i, one in enumerate(self.graph.inputs) if one.type.is_batched]
        for start in range(0, rows, size):
            end = min(start + size, rows)
            part = list(values)
            for i in batched_inputs:
                whole = values[i]
                assert whole is not None
                part[i] = whole[start:end]
            self._run_steps(self._by_slice, part, end - start)
            for index, (number, type, by_rows) in enumerate(self._outputs):
                found = np.asarray(part[number])
                held = outputs[index]
                if type.is_batched:
                    if held is None:
                        held = outputs[index] = np.empty(type.with_rows(rows).shape, dtype=type.dtype.numpy)
                    held[start:end] = found
                else:
                    outputs[index] = found if held is None or not by_rows else held + found
        return [_owned(output) for output in outputs]

    @staticmethod
    def _run_steps(steps: Sequence[_Step], values: list[np.ndarray | None], rows: int) -> None:
        for step in steps:
            attributes = step.attributes.with_rows(rows) if step.mentions_rows else step.attributes
            found = step.evaluate(attributes, *[values[n] for n in step.operands])
            if step.results == 1:
                values[step.first] = found
            else:
                values[step.first : step.first + step.results] = found
            for number in step.dying:
                values[number] = None

    def _check(self, inputs: Sequence[np.ndarray], rows: int) -> None:
        expected = [one.type.with_rows(rows) for one in self.graph.inputs]
        if len(inputs) != len(expected):
            raise GraphError(f"got {len(inputs)} inputs, expected {len(expected)}")
        for i, (array, type) in enumerate(zip(inputs, expected, strict=True)):
            if array.dtype != type.dtype.numpy or array.shape != type.shape:
                raise GraphError(f"input {i}: got {array.dtype}{list(array.shape)}, expected {type}")


def compile(graph: Graph) -> Executable:
    """`graph`, ready to run."""
    return Executable(graph)


def _owned(array: np.ndarray | None) -> np.ndarray:
    return np.asarray(array)


_LINEAR_AFTER_SUM = frozenset(
    {"negative", "reshape", "permute_dims", "slice", "broadcast_to", "sum", "flip", "windows", "overlap_add"}
)
_SUMS = frozenset({"add", "subtract"})
_PRODUCTS = frozenset({"multiply", "dot_general", "convolution"})


def _row_sums_are_linear(graph: Graph, by_rows: Sequence[bool]) -> bool:
    """Whether every output is stacked or a sum over rows, so that slices can be computed apart and added.

    A value without row axis that depends on rows must be a sum over them, or linear in such sums.
    """
    types = graph.types
    partial = [False] * len(types)
    for first, node in graph.numbered():
        if not by_rows[first] or types[first].is_batched:
            if any(partial[n] for n in node.operands):
                return False
            continue
        if not _adds_over_slices(node, [(types[n].is_batched, partial[n], by_rows[n]) for n in node.operands]):
            return False
        partial[first] = True
    return True


def _adds_over_slices(node: Node, operands: Sequence[tuple[bool, bool, bool]]) -> bool:
    """Whether a row-dependent result without row axis is the sum of what slices of rows give."""
    batched = [has_rows for has_rows, _, _ in operands]
    sums = [is_sum for _, is_sum, _ in operands]
    name = node.op.name
    if any(batched):
        if any(sums):
            return False
        if name == "sum" and isinstance(node.attributes, Axes):
            return 0 in node.attributes.axes
        return name == "dot_general" and isinstance(node.attributes, DotGeneral) and all(batched)
    if name in _LINEAR_AFTER_SUM:
        return True
    if name in _SUMS:
        return all(sums)
    return name in _PRODUCTS and sum(sums) == 1
