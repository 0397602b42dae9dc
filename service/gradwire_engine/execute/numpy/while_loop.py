"""Running while: until no row's condition holds; a row that is done leaves, and one that never is fails."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from gradwire_engine.attributes import While
from gradwire_engine.execute.numpy.body import Application, BodyRuns
from gradwire_engine.execute.numpy.rows import Arrays, Rows
from gradwire_engine.execute.numpy.scan import put
from gradwire_engine.execute.numpy.steps import ALL_ROWS, Context
from gradwire_engine.plan.checkpointing import DoublingStrides

MAX_STEPS_EXCEEDED: Final = "MAX_STEPS_EXCEEDED"


class _Record(NamedTuple):
    """Where the recorded carries go, as each step begins."""

    stacks: Sequence[np.ndarray]
    carries: Sequence[int]
    snapshots: DoublingStrides | None
    """Which steps get one; None where every step is recorded."""

    def write(self, rows: Any, step: int, carries: Sequence[Any]) -> None:
        """For all rows (an ellipsis), some (their indices), or where there are none."""
        position = step if self.snapshots is None else self.snapshots.slot(step)
        if position is not None:
            for stack, k in zip(self.stacks, self.carries, strict=True):
                put(stack, rows, position, carries[k])


class _Loop(NamedTuple):
    """A while on the rows that are still in it."""

    context: Context
    condition: BodyRuns
    body: BodyRuns


class WhileRunner:
    """while: until no row's condition holds; the rows that are done leave."""

    def __init__(self, application: Application) -> None:
        node = application.node
        assert isinstance(node.attributes, While)
        self._a = a = node.attributes
        self._rows = Rows(node, application.types)
        self._condition, self._body = application.bodies
        self._constants = a.condition_constants + a.body_constants
        self._carries = len(node.subgraphs[1].outputs)
        self._first_stack = self._carries + int(a.counted) + int(a.snapshots > 0)

    def __call__(self, context: Context, operands: Arrays) -> Any:
        a = self._a
        shape = self._rows.shape(operands)
        count = math.prod(shape)
        inner = self._rows.context(context, shape)
        flat = self._rows.flat(operands, count)
        constants, carries = flat[: self._constants], flat[self._constants :]
        stacks = [self._rows.result(self._first_stack + i, count, zero=True) for i in range(len(a.recorded))]
        record = _Record(stacks, a.recorded, DoublingStrides(a.snapshots) if a.snapshots else None)
        run = self._by_rows if self._rows.axes else self._alone
        results, steps = run(inner, constants, carries, record, count)
        if a.counted:
            results.append(steps)
        if record.snapshots is not None:
            positions = np.array(record.snapshots.positions)
            results.append(np.broadcast_to(positions, (count, positions.size)) if self._rows.axes else positions)
        return self._rows.unflat([*results, *stacks], shape)

    def _alone(
        self, context: Context, constants: Arrays, carries: list[Any], record: _Record, count: int
    ) -> tuple[list[Any], np.ndarray]:
        """One row: its last carries, and the number of its steps."""
        loop = self._begin(context, constants)
        steps = 0
        while bool(loop.condition.run(carries)[0]):
            if steps == self._a.max_steps:
                context.fail(np.array([ALL_ROWS]), MAX_STEPS_EXCEEDED, self._message())
                carries = [_nothing(x) for x in carries]
                break
            if record.stacks:
                record.write(None, steps, carries)
            carries = loop.body.run(carries)
            steps += 1
        return list(carries), np.asarray(steps, dtype=np.int64)

    def _by_rows(
        self, context: Context, constants: Arrays, carries: list[Any], record: _Record, count: int
    ) -> tuple[list[Any], np.ndarray]:
        """The last carries of all rows, and the numbers of their steps."""
        lasts: list[Any] = [np.array(x) for x in carries]
        counts = np.zeros(count, dtype=np.int64)
        active = np.arange(count)
        loop = self._begin_on(context, constants, active)
        steps = 0
        while active.size:
            goes_on = loop.condition.run(carries)[0]
            if steps == self._a.max_steps and goes_on.any():
                carries = self._failed(loop.context, goes_on, carries)
                goes_on = np.zeros_like(goes_on)
            if not goes_on.all():
                done = active[~goes_on]
                for last, carry in zip(lasts, carries, strict=True):
                    last[done] = carry[~goes_on]
                counts[done] = steps
                active = active[goes_on]
                if not active.size:
                    break
                carries = [carry[goes_on] for carry in carries]
                loop = self._begin_on(context, constants, active)
            if record.stacks:
                record.write(active, steps, carries)
            carries = loop.body.run(carries)
            steps += 1
        return lasts, counts

    def _begin_on(self, context: Context, constants: Arrays, active: np.ndarray) -> _Loop:
        """On some rows of `context`."""
        if active.size != context.rows:
            shared = self._rows.shared
            constants = [x if shared[i] else x[active] for i, x in enumerate(constants)]
        return self._begin(context.within(active.size, context.ids[active]), constants)

    def _begin(self, context: Context, constants: Arrays) -> _Loop:
        split = self._a.condition_constants
        condition = self._condition.begin(constants[:split], context)
        return _Loop(context, condition, self._body.begin(constants[split:], context))

    def _failed(self, context: Context, failing: np.ndarray, carries: Sequence[Any]) -> list[Any]:
        """The carries without those of the rows that go on after the last step they may take."""
        context.fail(context.ids[failing], MAX_STEPS_EXCEEDED, self._message())
        return [np.where(failing.reshape((-1,) + (1,) * (x.ndim - 1)), _nothing(x), x) for x in carries]

    def _message(self) -> str:
        return (
            f"a while loop was not done after max_steps = {self._a.max_steps:,} steps; "
            "allow more, or see why its condition goes on holding"
        )


def _nothing(x: np.ndarray) -> np.ndarray:
    """NaN, or 0 where there is none."""
    return np.full_like(x, np.nan if x.dtype.kind == "f" else 0)
