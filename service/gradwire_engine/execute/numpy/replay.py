"""Running replay: a scan backwards, for which the loop is run again from its snapshots, as `snapshots` plans it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from gradwire_engine.attributes import Replay
from gradwire_engine.execute.numpy.body import Body
from gradwire_engine.execute.numpy.rows import Arrays, Rows
from gradwire_engine.execute.numpy.scan import ScanRunner, put
from gradwire_engine.execute.numpy.steps import Context, RunnerOf
from gradwire_engine.graph import Node
from gradwire_engine.ops.control.operands import groups_of
from gradwire_engine.ops.control.replay import scan_attributes
from gradwire_engine.ops.table import OPS
from gradwire_engine.plan.checkpointing import least_steps, split
from gradwire_engine.types import TensorType


class ReplayRunner:
    """replay: the scan, with a tape that makes what it reads."""

    def __init__(self, node: Node, types: Sequence[TensorType], runner_of: RunnerOf, ours: frozenset[int]) -> None:
        assert isinstance(node.attributes, Replay)
        self._a = a = node.attributes
        groups = groups_of(node)
        scan, self._places = scan_attributes(a, groups)
        stand_in = Node(OPS["scan"], tuple(self._places), scan, node.subgraphs[1:], node.results)
        self._scan = ScanRunner(stand_in, [types[place] for place in self._places], runner_of)
        self._rows = Rows(node, types)
        self._is_shared = groups.operands["positions"].start in a.shared or a.row_axes == 0
        self._advance = Body(node.subgraphs[0], a.forward_constants, runner_of)
        self._groups = groups.operands
        self._may_overwrite = all(i in ours for i in self._groups["snapshots"])

    def __call__(self, context: Context, operands: Arrays) -> Any:
        rows = self._rows.shape(operands)
        count = math.prod(rows)
        flat = self._rows.flat(operands, count)
        inner = self._rows.context(context, rows)
        tape = _ReplayedTape(self, inner, flat)
        return self._scan(context, [operands[place] for place in self._places], tape)

    def own(self, snapshots: np.ndarray) -> np.ndarray:
        """Snapshots that may be written to: these, if nothing else needs them."""
        return snapshots if self._may_overwrite and snapshots.flags.writeable else snapshots.copy()


class _ReplayedTape:
    """The carries of a loop at the beginning of each step, asked for from the last step to the first.

    A stack of snapshots, the earliest at the bottom; those above the step that is needed have been used up. Slots that
    have become free take further snapshots, so that memory stays what the first run took.
    """

    def __init__(self, runner: ReplayRunner, context: Context, flat: Arrays) -> None:
        a, groups = runner._a, runner._groups
        self._taped = a.taped
        self._by_row = bool(a.row_axes) and not runner._is_shared
        self._context = context
        self._body = runner._advance
        constants, stacked = groups["loop_constants"], groups["loop_stacked"]
        self._constants = [flat[i] for i in constants]
        self._stacked = [flat[i] for i in stacked]
        self._shared = [runner._rows.shared[i] for i in (*constants, *stacked)]
        self._slots = [runner.own(flat[i]) for i in groups["snapshots"]]
        self._last = a.length - 1 if a.reverse else None
        self._ends = flat[groups["count"].start] if a.counted else None
        self._most_steps = a.length
        if self._ends is not None:
            self._ends = np.clip(self._ends, 0, a.length)
            self._most_steps = int(np.max(self._ends, initial=0))
        self._ragged = self._ends is not None and self._by_row and bool((self._ends != self._most_steps).any())
        at = flat[groups["positions"].start]
        steps = at[0] if self._by_row and at.shape[0] else at
        self._held = self._worthwhile(
            sorted((int(step), slot) for slot, step in enumerate(steps.reshape(-1)[: a.snapshots]) if step >= 0)
        )
        taken = {slot for _, slot in self._held}
        self._free = [slot for slot in range(a.snapshots) if slot not in taken]
        self._end = self._most_steps
        self._begun: tuple[int, list[Any], Context, np.ndarray | None] | None = None

    def _worthwhile(self, held: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """The snapshots, unless it is cheaper to begin again from the first: they were placed not knowing the end."""
        if not held:
            return held
        ends = [*[step for step, _ in held[1:]], self._most_steps]
        slots = len(self._slots[0]) if not self._by_row else self._slots[0].shape[1]
        stretches = [end - step for (step, _), end in zip(held, ends, strict=True)]
        placed = sum(least_steps(stretch, slots - i) for i, stretch in enumerate(stretches))
        return held if placed <= least_steps(self._most_steps, slots) else held[:1]

    def at(self, step: int, index: np.ndarray | None) -> list[np.ndarray]:
        """The taped carries as `step` begins: the step before the one that was asked for last."""
        step = step if self._last is None else self._last - step
        assert step == self._end - 1
        while True:
            start, slot = self._held[-1]
            length = self._end - start
            state = [self._read(x, slot) for x in self._slots]
            if length == 1:
                self._held.pop()
                self._free.append(slot)
                break
            if not self._free:
                state = self._advanced(state, start, step)
                break
            place = start + split(length, len(self._free) + 1)
            state = self._advanced(state, start, place)
            self._held.append((place, self._free.pop()))
            for x, value in zip(self._slots, state, strict=True):
                put(x, ... if self._by_row else None, self._held[-1][1], value)
        self._end = step
        wanted = [state[k] for k in self._taped]
        return wanted if index is None or not self._by_row else [x[index] for x in wanted]

    def _read(self, stack: np.ndarray, slot: int) -> np.ndarray:
        """A copy: the slot may be written to while what was made from it lives."""
        return np.array(stack[:, slot] if self._by_row else stack[slot])

    def _advanced(self, state: list[Any], start: int, end: int) -> list[Any]:
        """The carries after the steps from `start` to `end`; rows that are done stay as they are."""
        for step in range(start, end):
            begun, context, index = self._at_step(step)
            if index is None:
                state = self._body.run(begun, [*state, *self._slices(step, None)], context)
                continue
            moved = self._body.run(begun, [*(x[index] for x in state), *self._slices(step, index)], context)
            state = [np.array(x) for x in state]
            for x, value in zip(state, moved, strict=True):
                x[index] = value
        return state

    def _slices(self, step: int, index: np.ndarray | None) -> list[np.ndarray]:
        shared = self._shared[len(self._constants) :]
        step = step if self._last is None else self._last - step
        if not self._by_row:
            return [x[step] for x in self._stacked]
        rows = slice(None) if index is None else index
        return [x[step] if is_shared else x[rows, step] for x, is_shared in zip(self._stacked, shared, strict=True)]

    def _at_step(self, step: int) -> tuple[list[Any], Context, np.ndarray | None]:
        """What the steps of the same rows share, and which rows these are (None: all)."""
        index = None
        if self._ragged:
            assert self._ends is not None
            index = np.flatnonzero(self._ends > step)
        count = -1 if index is None else index.size  # rows only leave with time: as many are the same
        if self._begun is None or self._begun[0] != count:
            context, constants = self._context, self._constants
            if index is not None:
                context = context.within(index.size, context.ids[index])
                constants = [
                    x if is_shared else x[index] for x, is_shared in zip(constants, self._shared, strict=False)
                ]
            self._begun = (count, self._body.begin(constants, context), context, index)
        return self._begun[1], self._begun[2], index
