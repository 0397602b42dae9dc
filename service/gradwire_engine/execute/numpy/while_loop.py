"""Running while: until no row's condition holds; a row that is done leaves, and one that never is fails."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from gradwire_engine.attributes import While
from gradwire_engine.execute.numpy.body import Body, Loop, Stretch
from gradwire_engine.execute.numpy.rows import Arrays, Rows
from gradwire_engine.execute.numpy.scan import put
from gradwire_engine.execute.numpy.steps import ALL_ROWS, Context, RunnerOf
from gradwire_engine.graph import Node
from gradwire_engine.plan.checkpointing import OnlinePlacement
from gradwire_engine.types import TensorType

MAX_STEPS_EXCEEDED: Final = "MAX_STEPS_EXCEEDED"


class WhileRunner:
    """while: until no row's condition holds; the rows that are done leave."""

    def __init__(self, node: Node, types: Sequence[TensorType], runner_of: RunnerOf) -> None:
        assert isinstance(node.attributes, While)
        self._a = a = node.attributes
        self._rows = Rows(node, types)
        self._condition = Body(node.subgraphs[0], a.condition_constants, runner_of)
        self._body = Loop(node.subgraphs[1], a.body_constants, len(node.subgraphs[1].outputs), runner_of)
        self._carries = len(node.subgraphs[1].outputs)
        self._first_record = self._carries + int(a.counted) + int(a.snapshots > 0)

    def __call__(self, context: Context, operands: Arrays) -> Any:
        a = self._a
        rows = self._rows.shape(operands)
        count = math.prod(rows)
        inner = self._rows.context(context, rows)
        flat = self._rows.flat(operands, count)
        results: list[Any] = list(flat[a.condition_constants + a.body_constants :])
        if a.counted:
            results.append(np.zeros(count if self._rows.axes else (), dtype=np.int64))
        kept = OnlinePlacement(a.snapshots) if a.snapshots else None
        if kept is not None:
            results.append(None)
        results += [self._rows.result(self._first_record + i, count, zero=True) for i in range(len(a.recorded))]
        if self._rows.axes:
            self._by_rows(inner, flat, results, count, kept)
        else:
            self._alone(inner, flat, results, kept)
        if kept is not None:
            positions = np.array(kept.positions)
            results[self._first_record - 1] = (
                np.broadcast_to(positions, (count, positions.size)) if self._rows.axes else positions
            )
        return self._rows.unflat(results, rows)

    def _record(
        self, results: list[Any], rows: Any, step: int, carries: Sequence[Any], kept: OnlinePlacement | None
    ) -> None:
        """The carries as a step begins: all steps are recorded, or those that get a snapshot."""
        place = step if kept is None else kept.store(step)
        if place is not None:
            for target, k in enumerate(self._a.recorded, start=self._first_record):
                put(results[target], rows, place, carries[k])

    def _alone(self, context: Context, flat: Arrays, results: list[Any], kept: OnlinePlacement | None) -> None:
        """One row."""
        a = self._a
        test = self._condition.begin(flat[: a.condition_constants], context)
        stretch = self._body.begin(flat[a.condition_constants : a.condition_constants + a.body_constants], context)
        carries, steps = results[: self._carries], 0
        while bool(self._condition.run(test, carries, context)[0]):
            if steps == a.max_steps:
                context.fail(np.array([ALL_ROWS]), MAX_STEPS_EXCEEDED, self._message())
                carries = [_nothing(x) for x in carries]
                break
            if a.recorded:
                self._record(results, None, steps, carries, kept)
            carries = stretch.step(carries)
            steps += 1
        results[: self._carries] = carries
        if a.counted:
            results[self._carries] = np.asarray(steps, dtype=np.int64)

    def _by_rows(
        self, context: Context, flat: Arrays, results: list[Any], count: int, kept: OnlinePlacement | None
    ) -> None:
        a = self._a
        constants = flat[: a.condition_constants + a.body_constants]
        active = np.arange(count)
        carries = results[: self._carries]
        results[: self._carries] = [np.array(x) for x in carries]
        part, test, stretch = self._begin(context, constants, active, count)
        steps = 0
        while active.size:
            goes_on = self._condition.run(test, carries, part)[0]
            if steps == a.max_steps and goes_on.any():
                self._fail(part, active, goes_on, carries)
                goes_on = np.zeros_like(goes_on)
            if not goes_on.all():
                done = active[~goes_on]
                for k, value in enumerate(carries):
                    results[k][done] = value[~goes_on]
                if a.counted:
                    results[self._carries][done] = steps
                active = active[goes_on]
                if not active.size:
                    return
                carries = [value[goes_on] for value in carries]
                part, test, stretch = self._begin(context, constants, active, count)
            if a.recorded:
                self._record(results, active, steps, carries, kept)
            carries = stretch.step(carries)
            steps += 1

    def _begin(
        self, context: Context, constants: Arrays, active: np.ndarray, count: int
    ) -> tuple[Context, list[Any], Stretch]:
        """The constants of the rows that are still there."""
        split = self._a.condition_constants
        taken = [x if self._rows.shared[i] or active.size == count else x[active] for i, x in enumerate(constants)]
        part = context.within(active.size, context.ids[active])
        return part, self._condition.begin(taken[:split], part), self._body.begin(taken[split:], part)

    def _fail(self, context: Context, active: np.ndarray, failing: np.ndarray, carries: list[Any]) -> None:
        context.fail(context.ids[failing], MAX_STEPS_EXCEEDED, self._message())
        for k, value in enumerate(carries):
            carries[k] = np.where(failing.reshape((-1,) + (1,) * (value.ndim - 1)), _nothing(value), value)

    def _message(self) -> str:
        return (
            f"a while loop was not done after max_steps = {self._a.max_steps:,} steps; "
            "allow more, or see why its condition goes on holding"
        )


def _nothing(x: np.ndarray) -> np.ndarray:
    """NaN, or 0 where there is none."""
    return np.full_like(x, np.nan if x.dtype.kind == "f" else 0)
