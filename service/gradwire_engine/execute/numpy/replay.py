"""Running replay: a scan backwards, for which the loop is run again from its snapshots, as `checkpointing` plans it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gradwire_engine.attributes import Replay
from gradwire_engine.execute.numpy.body import Application, BodyRuns
from gradwire_engine.execute.numpy.rows import Arrays, Rows
from gradwire_engine.execute.numpy.scan import ScanRunner, put
from gradwire_engine.execute.numpy.steps import Context
from gradwire_engine.graph import Node
from gradwire_engine.ops.control.binomial import least_steps
from gradwire_engine.ops.control.operands import groups_of
from gradwire_engine.ops.control.replay import scan_attributes
from gradwire_engine.ops.table import OPS
from gradwire_engine.plan.checkpointing import split


class ReplayRunner:
    """replay: the scan, with a tape that makes what it reads."""

    def __init__(self, application: Application) -> None:
        node, types = application.node, application.types
        assert isinstance(node.attributes, Replay)
        self.attributes = a = node.attributes
        groups = groups_of(node)
        scan, self._scan_operands = scan_attributes(a, groups)
        stand_in = Node(OPS["scan"], tuple(self._scan_operands), scan, node.subgraphs[1:], node.results)
        scan_types = tuple([types[i] for i in self._scan_operands])
        self._scan = ScanRunner(Application(stand_in, scan_types, application.bodies[1:], frozenset()))
        self._rows = Rows(node, types)
        self.shared = self._rows.shared
        self.body = application.bodies[0]
        self.groups = groups.operands
        self.by_row = not self.shared[self.groups["positions"].start]
        self.may_overwrite = application.dying.issuperset(self.groups["snapshots"])

    def __call__(self, context: Context, operands: Arrays) -> Any:
        shape = self._rows.shape(operands)
        flat = self._rows.flat(operands, math.prod(shape))
        tape = _ReplayedTape(self, self._rows.context(context, shape), flat)
        return self._scan(context, [operands[i] for i in self._scan_operands], tape)


class _Loop:
    """The loop that is run again. Its steps are counted from the first that it runs."""

    def __init__(self, runner: ReplayRunner, context: Context, flat: Arrays) -> None:
        a = runner.attributes
        self._by_row = runner.by_row
        self._last = a.length - 1 if a.reverse else None
        self._body = runner.body
        self._context = context
        self._constants = [(flat[i], runner.shared[i]) for i in runner.groups["loop_constants"]]
        self._stacked = [(flat[i], runner.shared[i]) for i in runner.groups["loop_stacked"]]
        self.steps = a.length
        self._ends: np.ndarray | None = None  # after how many steps each row is done, where they differ
        if a.counted:
            ends = np.clip(flat[runner.groups["count"].start], 0, a.length)
            self.steps = int(np.max(ends, initial=0))
            if self._by_row and bool((ends != self.steps).any()):
                self._ends = ends
        self._active: tuple[int, BodyRuns, np.ndarray | None] | None = None

    def advanced(self, carries: list[Any], start: int, end: int) -> list[Any]:
        """The carries after the steps from `start` to `end`; rows that are done stay as they are."""
        for step in range(start, end):
            runs, index = self._runs(step)
            if index is None:
                carries = runs.run(carries, self._slices(step, None))
                continue
            outputs = runs.run([x[index] for x in carries], self._slices(step, index))
            carries = [np.array(x) for x in carries]
            for carry, output in zip(carries, outputs, strict=True):
                carry[index] = output
        return carries

    def place(self, step: int) -> int:
        """Where in a stack the entry of a step lies."""
        return step if self._last is None else self._last - step

    def _slices(self, step: int, index: np.ndarray | None) -> list[np.ndarray]:
        step = self.place(step)
        if not self._by_row:
            return [x[step] for x, _ in self._stacked]
        rows = slice(None) if index is None else index
        return [x[step] if shared else x[rows, step] for x, shared in self._stacked]

    def _runs(self, step: int) -> tuple[BodyRuns, np.ndarray | None]:
        """What the steps on the same rows share, and which rows these are (None: all)."""
        index = None if self._ends is None else np.flatnonzero(self._ends > step)
        count = -1 if index is None else index.size  # rows only leave with time: as many are the same
        if self._active is None or self._active[0] != count:
            context = self._context
            constants = [x for x, _ in self._constants]
            if index is not None:
                context = context.within(index.size, context.ids[index])
                constants = [x if shared else x[index] for x, shared in self._constants]
            self._active = (count, self._body.begin(constants, context), index)
        return self._active[1:]


class _ReplayedTape:
    """The carries of a loop at the beginning of each step, asked for from the last step to the first.

    A stack of snapshots, the earliest at the bottom; those above the step that is needed have been used up. Slots that
    have become free take further snapshots, so that memory stays what the first run took.
    """

    def __init__(self, runner: ReplayRunner, context: Context, flat: Arrays) -> None:
        a = runner.attributes
        self._loop = _Loop(runner, context, flat)
        self._by_row = runner.by_row
        self._taped = a.taped
        stacks = [flat[i] for i in runner.groups["snapshots"]]
        self._snapshots = [x if runner.may_overwrite and x.flags.writeable else x.copy() for x in stacks]
        self._slots = stacks[0].shape[1] if self._by_row else len(stacks[0])
        positions = flat[runner.groups["positions"].start]
        steps = positions[0] if self._by_row and positions.shape[0] else positions  # all rows have the same
        numbered = enumerate(steps.reshape(-1)[: a.snapshots].tolist())
        self._held = self._worthwhile(sorted((step, slot) for slot, step in numbered if step >= 0))
        taken = {slot for _, slot in self._held}
        self._free = [slot for slot in range(a.snapshots) if slot not in taken]
        self._end = self._loop.steps

    def _worthwhile(self, held: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """The snapshots, unless it is cheaper to begin again from the first: they were placed not knowing the end."""
        if not held:
            return held
        steps = self._loop.steps
        ends = [*[step for step, _ in held[1:]], steps]
        stretches = [end - step for (step, _), end in zip(held, ends, strict=True)]
        as_placed = sum(least_steps(stretch, self._slots - i) for i, stretch in enumerate(stretches))
        return held if as_placed <= least_steps(steps, self._slots) else held[:1]

    def at(self, step: int, index: np.ndarray | None) -> list[np.ndarray]:
        """The taped carries as `step` begins: the step before the one that was asked for last."""
        step = self._loop.place(step)
        assert step == self._end - 1
        while True:
            start, slot = self._held[-1]
            length = self._end - start
            carries = [self._read(stack, slot) for stack in self._snapshots]
            if length == 1:
                self._held.pop()
                self._free.append(slot)
                break
            if not self._free:
                carries = self._loop.advanced(carries, start, step)
                break
            middle = start + split(length, len(self._free) + 1)
            carries = self._loop.advanced(carries, start, middle)
            slot = self._free.pop()
            self._held.append((middle, slot))
            for stack, carry in zip(self._snapshots, carries, strict=True):
                put(stack, ... if self._by_row else None, slot, carry)
        self._end = step
        taped = [carries[k] for k in self._taped]
        return taped if index is None or not self._by_row else [x[index] for x in taped]

    def _read(self, stack: np.ndarray, slot: int) -> np.ndarray:
        """A copy: the slot may be written to while what was made from it lives."""
        return np.array(stack[:, slot] if self._by_row else stack[slot])
