"""Running scan: step by step, in segments in which the same rows take part.

A counted scan ends for each row after a number of steps of its own. Between two ends the rows that are still in it are
the same: the steps between are a segment, whose rows are taken out once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from gradwire_engine.attributes import Scan
from gradwire_engine.execute.numpy.body import Application
from gradwire_engine.execute.numpy.rows import Arrays, Rows
from gradwire_engine.execute.numpy.steps import Context
from gradwire_engine.plan.checkpointing import placement


class Tape(Protocol):
    """Further slices of stacked inputs, for steps in the order in which they are run."""

    def at(self, step: int, index: np.ndarray | None) -> list[np.ndarray]:
        """The slices of a step, of the rows at `index` (None: all)."""


class _Segment(NamedTuple):
    """Steps in which the same rows take part."""

    rows: np.ndarray | None
    """The indices of these rows; None for all."""
    steps: range


def put(stack: np.ndarray, rows: Any, position: int, value: Any) -> None:
    """Write a step's value into a stack: for all rows (an ellipsis), some (their indices), or where there are none."""
    if rows is None:
        stack[position] = value
    elif rows is ...:
        stack[:, position] = value
    else:
        stack[rows, position] = value


class ScanRunner:
    """scan: step by step, in segments in which the same rows take part."""

    def __init__(self, application: Application) -> None:
        node, types = application.node, application.types
        assert isinstance(node.attributes, Scan)
        self._a = a = node.attributes
        self._rows = Rows(node, types)
        (self._body,) = application.bodies
        first = int(a.counted)
        self._constants = range(first, first + a.constants)
        self._carries = slice(self._constants.stop, self._constants.stop + a.carries)
        self._inputs = range(self._carries.stop, len(types))
        self._input_is_shared = [self._rows.shared[i] for i in self._inputs]
        outputs = len(node.subgraphs[0].outputs)
        self._stacked = range(a.carries, outputs - a.sums)
        self._sums = range(outputs - a.sums, outputs)
        self._snapshots = range(outputs + 1, outputs + 1 + len(a.recorded)) if a.snapshots else range(0)
        self._over_rows = frozenset([j for k, j in enumerate(self._sums) if a.row_axes and k in a.row_sums])
        self._sum_types = {j: node.results[j] for j in self._sums}

    def __call__(self, context: Context, operands: Arrays, tape: Tape | None = None) -> Any:
        a = self._a
        shape = self._rows.shape(operands)
        count = math.prod(shape)
        inner = self._rows.context(context, shape)
        flat = self._rows.flat(operands, count)
        results: list[Any] = list(flat[self._carries])
        results += [self._rows.result(j, count, zero=a.counted) for j in self._stacked]
        results += [self._zero_sum(j, count) for j in self._sums]
        segments = self._segments(flat, count)
        slots: dict[int, int] = {}
        if a.snapshots:
            positions = placement(sum(len(steps) for _, steps in segments), a.snapshots)
            slots = {a.length - 1 - step if a.reverse else step: slot for slot, step in enumerate(positions)}
            results.append(self._positions(positions, count))
            results += [self._rows.result(j, count, zero=True) for j in self._snapshots]
        for segment in segments:
            self._run(inner, flat, results, segment, slots, tape)
        return self._rows.unflat(results, shape, self._over_rows)

    def _zero_sum(self, j: int, count: int) -> np.ndarray:
        if j in self._over_rows:
            type = self._sum_types[j]
            return np.zeros(type.shape, dtype=type.dtype.numpy)
        return self._rows.result(j, count, zero=True)

    def _segments(self, flat: Arrays, count: int) -> list[_Segment]:
        """In the order in which they run."""
        a = self._a
        ends = [a.length]
        counts = None
        if a.counted and (self._rows.shared[0] or not self._rows.axes):
            ends = [min(max(int(flat[0]), 0), a.length)]
        elif a.counted:
            counts = np.clip(flat[0], 0, a.length)
            ends = [end for end in np.unique(counts).tolist() if end]
        segments, begin = [], 0
        for end in ends:
            index = None
            if counts is not None and begin >= int(counts.min(initial=a.length)):
                index = np.flatnonzero(counts > begin)
            segments.append(_Segment(index, range(begin, end)))
            begin = end
        return [_Segment(rows, steps[::-1]) for rows, steps in reversed(segments)] if a.reverse else segments

    def _positions(self, positions: Sequence[int], count: int) -> np.ndarray:
        """For each slot, after how many steps it is filled; -1 for those that are not."""
        of_slots = np.full(self._a.snapshots, -1)
        of_slots[: len(positions)] = positions
        return np.broadcast_to(of_slots, (count, of_slots.size)) if self._rows.axes else of_slots

    def _run(
        self,
        context: Context,
        flat: Arrays,
        results: list[Any],
        segment: _Segment,
        slots: Mapping[int, int],
        tape: Tape | None,
    ) -> None:
        """The steps of a segment. At those in `slots` the recorded carries go to a slot."""
        index, steps = segment
        carries = results[: self._a.carries]
        constants = [flat[i] for i in self._constants]
        if index is not None:
            context = context.within(index.size, context.ids[index])
            carries = [x[index] for x in carries]
            constants = [
                x if self._rows.shared[i] else x[index] for i, x in zip(self._constants, constants, strict=True)
            ]
        runs = self._body.begin(constants, context)
        rows = None if not self._rows.axes else ... if index is None else index
        inputs = list(zip([flat[i] for i in self._inputs], self._input_is_shared, strict=True))
        stacks = [(results[j], j) for j in self._stacked]
        for step in steps:
            if step in slots:
                for j, k in zip(self._snapshots, self._a.recorded, strict=True):
                    put(results[j], rows, slots[step], carries[k])
            slices = [x[step] if shared else (x[:, step] if index is None else x[index, step]) for x, shared in inputs]
            if tape is not None:
                slices += tape.at(step, index)
            outputs = runs.run(carries, slices)
            carries = outputs[: self._a.carries]
            for stack, j in stacks:
                put(stack, rows, step, outputs[j])
            for j in self._sums:
                self._add(results, j, index, outputs[j])
        for k, carry in enumerate(carries):
            if index is not None:
                results[k] = np.array(results[k])
                results[k][index] = carry
            else:
                results[k] = carry

    def _add(self, results: list[Any], j: int, index: np.ndarray | None, term: Any) -> None:
        """A term to a sum, in place: the sums are ours."""
        if results[j].ndim == 0:
            results[j] = results[j] + term
        elif index is None or j in self._over_rows:
            results[j] += term
        else:
            results[j][index] += term
