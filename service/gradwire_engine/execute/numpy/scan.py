"""Running scan: step by step, in stretches in which the same rows take part."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from gradwire_engine.attributes import Scan
from gradwire_engine.execute.numpy.body import Loop
from gradwire_engine.execute.numpy.rows import Arrays, Rows
from gradwire_engine.execute.numpy.steps import Context, RunnerOf
from gradwire_engine.graph import Node
from gradwire_engine.plan.checkpointing import placement
from gradwire_engine.types import TensorType


class Tape(Protocol):
    """Further slices of stacked inputs, for steps in the order in which they are run."""

    def at(self, step: int, index: np.ndarray | None) -> list[np.ndarray]:
        """The slices of a step, of the rows at `index` (None: all)."""


def put(target: np.ndarray, rows: Any, place: int, value: Any) -> None:
    """Write a step's value into a stack: for all rows (an ellipsis), some (their indices), or where there are none."""
    if rows is None:
        target[place] = value
    elif rows is ...:
        target[:, place] = value
    else:
        target[rows, place] = value


class ScanRunner:
    """scan: step by step, in stretches in which the same rows take part."""

    def __init__(self, node: Node, types: Sequence[TensorType], runner_of: RunnerOf) -> None:
        assert isinstance(node.attributes, Scan)
        self._a = a = node.attributes
        self._rows = Rows(node, types)
        self._loop = Loop(node.subgraphs[0], a.constants, a.carries, runner_of)
        self._first = int(a.counted)
        self._stacked_shared = self._rows.shared[self._first + a.constants + a.carries :]
        count = len(node.subgraphs[0].outputs)
        self._stacked = range(a.carries, count - a.sums)
        self._sums = range(count - a.sums, count)
        self._snapshots = range(count + 1, count + 1 + len(a.recorded)) if a.snapshots else range(0)
        self._over_rows = [bool(a.row_axes) and k in a.row_sums for k in range(a.sums)]
        self._sum_types = [node.results[j] for j in self._sums]

    def __call__(self, context: Context, operands: Arrays, tape: Tape | None = None) -> Any:
        a, first = self._a, self._first
        rows = self._rows.shape(operands)
        count = math.prod(rows)
        inner = self._rows.context(context, rows)
        flat = self._rows.flat(operands, count)
        results: list[Any] = list(flat[first + a.constants : first + a.constants + a.carries])
        results += [self._rows.result(j, count, zero=a.counted) for j in self._stacked]
        results += [self._sum_start(k, count) for k in range(a.sums)]
        stretches = list(self._stretches(flat, count))
        keep: dict[int, int] = {}
        if a.snapshots:
            places = placement(sum(len(steps) for _, steps in stretches), a.snapshots)
            keep = {a.length - 1 - place if a.reverse else place: slot for slot, place in enumerate(places)}
            results.append(self._positions(places, count))
            results += [self._rows.result(j, count, zero=True) for j in self._snapshots]
        for index, steps in stretches:
            self._run(inner, flat, results, index, steps, keep, tape)
        summed = [j for j, over_rows in zip(self._sums, self._over_rows, strict=True) if over_rows]
        return self._rows.unflat(results, rows, summed)

    def _sum_start(self, k: int, count: int) -> np.ndarray:
        type = self._sum_types[k]
        if self._over_rows[k]:
            return np.zeros(type.shape, dtype=type.dtype.numpy)
        return self._rows.result(self._sums[k], count, zero=True)

    def _stretches(self, flat: Arrays, count: int) -> Iterable[tuple[np.ndarray | None, range]]:
        """Rows that take part (None: all), and the steps in which it is these."""
        a = self._a
        ends = [a.length]
        counts = None
        if a.counted and (self._rows.shared[0] or not self._rows.axes):
            ends = [min(max(int(flat[0]), 0), a.length)]
        elif a.counted:
            counts = np.clip(flat[0], 0, a.length)
            ends = [end for end in np.unique(counts).tolist() if end]
        begin, found = 0, []
        for end in ends:
            index = (
                None if counts is None or begin < int(counts.min(initial=a.length)) else np.flatnonzero(counts > begin)
            )
            found.append((index, range(begin, end)))
            begin = end
        return [(index, steps[::-1]) for index, steps in reversed(found)] if a.reverse else found

    def _positions(self, places: Sequence[int], count: int) -> np.ndarray:
        """For each slot, after how many steps it is filled; -1 for those that are not."""
        found = np.full(self._a.snapshots, -1)
        found[: len(places)] = places
        return np.broadcast_to(found, (count, found.size)) if self._rows.axes else found

    def _run(
        self,
        context: Context,
        flat: Arrays,
        results: list[Any],
        index: np.ndarray | None,
        steps: Iterable[int],
        keep: Mapping[int, int],
        tape: Tape | None,
    ) -> None:
        """The steps on the rows at `index`. At those in `keep` the recorded carries go to a slot."""
        a, first, shared = self._a, self._first, self._rows.shared
        if index is not None:
            context = context.within(index.size, context.ids[index])

        def taken(i: int, x: np.ndarray) -> np.ndarray:
            return x if index is None or shared[i] else x[index]

        constants = [taken(first + i, flat[first + i]) for i in range(a.constants)]
        stacked = flat[first + a.constants + a.carries :]
        plain = index is None
        carries = [x if plain else x[index] for x in results[: a.carries]]
        stretch = self._loop.begin(constants, context)
        by_row = bool(self._rows.axes)
        outputs = [(results[j], j) for j in self._stacked]
        everything = ... if plain else index
        for step in steps:
            if step in keep:
                for target, k in zip(self._snapshots, a.recorded, strict=True):
                    put(results[target], everything if by_row else None, keep[step], carries[k])
            slices = [
                x[step] if is_shared else (x[:, step] if plain else x[index, step])
                for x, is_shared in zip(stacked, self._stacked_shared, strict=True)
            ]
            if tape is not None:
                slices += tape.at(step, index)
            found = stretch.step(carries, slices)
            carries = found[: a.carries]
            for target, j in outputs:
                put(target, everything if by_row else None, step, found[j])
            for j in self._sums:
                self._add(results, j, index, found[j])
        for k, value in enumerate(carries):
            if plain:
                results[k] = value
            else:
                results[k] = np.array(results[k])
                results[k][index] = value

    def _add(self, results: list[Any], j: int, index: np.ndarray | None, term: Any) -> None:
        """A term to a sum, in place: the sums are ours."""
        if results[j].ndim == 0:
            results[j] = results[j] + term
        elif index is None or self._over_rows[j - self._sums.start]:
            results[j] += term
        else:
            results[j][index] += term
