"""The reference executor: numpy, node by node, in the order of the graph.

A compiled graph has two parts: what depends on no row runs once; the rest runs for a batch of rows, or for slices of it
one after the other, so that the buffers of a slice fit the memory budget, and the cache where the batch is large enough
for that to pay. A buffer is freed after its last use. Outputs without a row axis (sums over rows) are added up over the
slices, which `_row_sums_are_linear` makes sure is right. The order, and when a buffer dies, are the `schedule` of the
cost bounds, so memory keeps to them.

Results agree between slicings to rounding; NaN, infinities and overflow are values, never errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from gradwire_engine.attributes import Axes, DotGeneral
from gradwire_engine.errors import GraphError, RowFailed, RowFailure
from gradwire_engine.execute.numpy.runners import runner_of
from gradwire_engine.execute.numpy.steps import ALL_ROWS, Context, make_steps, run_steps
from gradwire_engine.graph import Graph, Node
from gradwire_engine.passes.loops.lower import lower
from gradwire_engine.plan.cost import bytes_bound, schedule

CACHE_BYTES = 1 << 20
"""Live bytes of a slice that is cut for the cache."""

_LEAST_SLICE_BYTES_PER_NODE = 1 << 15
"""A slice this small per buffer would spend its time in Python, not in numpy."""


class Executable:
    """A graph that can be run; immutable, may be shared between threads."""

    def __init__(self, graph: Graph) -> None:
        graph = lower(graph)
        self.graph = graph
        self._bytes = bytes_bound(graph)
        plan = schedule(graph)
        by_rows = plan.by_rows
        moving = [by_rows[first] for first in graph.first_results]
        self._once = make_steps(graph, plan, [p for p in plan.order if not moving[p]], runner_of)
        self._by_slice = make_steps(graph, plan, [p for p in plan.order if moving[p]], runner_of)
        self._sliceable = _row_sums_are_linear(graph, by_rows)
        self._outputs = [(number, graph.types[number], by_rows[number]) for number in graph.outputs]

    def run(self, inputs: Sequence[np.ndarray], rows: int, *, memory_bytes: int | None = None) -> list[np.ndarray]:
        """As `run_rows`, but RowFailed where a row fails."""
        outputs, failures = self.run_rows(inputs, rows, memory_bytes=memory_bytes)
        if failures:
            raise RowFailed(failures[0].message, reason=failures[0].reason)
        return outputs

    def run_rows(
        self, inputs: Sequence[np.ndarray], rows: int, *, memory_bytes: int | None = None
    ) -> tuple[list[np.ndarray], list[RowFailure]]:
        """The outputs for a batch of `rows`; `inputs` as the graph's input types say, with `ROWS` replaced by `rows`.

        And the rows that have no result, in order: theirs is NaN. `memory_bytes` bounds the live buffers, inputs and
        outputs of the whole batch not counted, as far as slices of single rows can. Raises MemoryError where numpy
        cannot allocate.
        """
        self._check(inputs, rows)
        values: list[np.ndarray | None] = [*inputs, *[None] * (len(self.graph.types) - len(inputs))]
        size = self.slice_rows(rows, memory_bytes)
        context = Context(rows)
        with np.errstate(all="ignore"):
            run_steps(self._once, values, context.part(rows, ALL_ROWS))
            if size >= rows:
                run_steps(self._by_slice, values, context)
                outputs = [_owned(values[number]) for number, _, _ in self._outputs]
            else:
                outputs = self._run_slices(values, context, size)
        failures = _failed(context, rows)
        if failures:
            gone = [one.row for one in failures]
            pairs = zip(outputs, self._outputs, strict=True)
            outputs = [_without(gone, output) if type.is_batched else output for output, (_, type, _) in pairs]
        return outputs, failures

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

    def _run_slices(self, values: list[np.ndarray | None], context: Context, size: int) -> list[np.ndarray]:
        rows = context.rows
        outputs: list[np.ndarray | None] = [None] * len(self._outputs)
        batched_inputs = [i for i, one in enumerate(self.graph.inputs) if one.type.is_batched]
        for start in range(0, rows, size):
            end = min(start + size, rows)
            part = list(values)
            for i in batched_inputs:
                whole = values[i]
                assert whole is not None
                part[i] = whole[start:end]
            run_steps(self._by_slice, part, context.part(end - start, start))
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


def _failed(context: Context, rows: int) -> list[RowFailure]:
    """The rows that failed; one that stands for all stands for each."""
    everywhere = context.failures.pop(ALL_ROWS, None)
    if everywhere is not None:
        for row in range(rows):
            context.failures.setdefault(row, replace(everywhere, row=row))
    return [context.failures[row] for row in sorted(context.failures)]


def _without(rows: Sequence[int], output: np.ndarray) -> np.ndarray:
    """A copy with NaN, or 0 where there is none, in some rows: whatever was computed there means nothing."""
    copy = output.copy()
    copy[rows] = np.nan if output.dtype.kind == "f" else 0
    return copy


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
