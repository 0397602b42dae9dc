"""The reference executor: numpy, node by node, in the order of a plan.

What depends on no row runs once; the rest runs for a batch of rows, or for slices of it one after the other. Outputs
without a row axis are added up over the slices. A buffer is freed where the plan says that it dies, so memory keeps to
the plan's bound.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gradwire_engine.errors import GraphError, RowFailed, RowFailure
from gradwire_engine.execute.numpy.runners import runner_of
from gradwire_engine.execute.numpy.steps import ALL_ROWS, Context, make_steps, run_steps
from gradwire_engine.graph import Graph
from gradwire_engine.plan.plan import Plan, plan_of


class Executable:
    """A plan that can be run: see `execute.Executable`."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.graph = plan.graph.graph
        self._once = make_steps(plan.graph, plan.graph.schedule.once, runner_of)
        self._by_slice = make_steps(plan.graph, plan.graph.schedule.each, runner_of)
        self._outputs = [(number, self.graph.types[number]) for number in self.graph.outputs]

    def run(self, inputs: Sequence[np.ndarray], rows: int, *, memory_bytes: int | None = None) -> list[np.ndarray]:
        """As `run_rows`, but RowFailed where a row fails."""
        outputs, failures = self.run_rows(inputs, rows, memory_bytes=memory_bytes)
        if failures:
            raise RowFailed(failures[0].message, reason=failures[0].reason)
        return outputs

    def run_rows(
        self, inputs: Sequence[np.ndarray], rows: int, *, memory_bytes: int | None = None
    ) -> tuple[list[np.ndarray], list[RowFailure]]:
        """The outputs for a batch of `rows`, and the rows that have no result."""
        self._check(inputs, rows)
        values: list[np.ndarray | None] = [*inputs, *[None] * (len(self.graph.types) - len(inputs))]
        size = self.plan.slices.rows_at_a_time(rows, memory_bytes)
        context = Context(rows)
        with np.errstate(all="ignore"):
            run_steps(self._once, values, context.part(rows, ALL_ROWS))
            if size >= rows:
                run_steps(self._by_slice, values, context)
                outputs = [np.asarray(values[number]) for number, _ in self._outputs]
            else:
                outputs = self._run_slices(values, context, size)
        failures = _failures(context, rows)
        if failures:
            failed = [failure.row for failure in failures]
            pairs = zip(outputs, self._outputs, strict=True)
            outputs = [_without(failed, output) if type.is_batched else output for output, (_, type) in pairs]
        return outputs, failures

    def _run_slices(self, values: list[np.ndarray | None], context: Context, size: int) -> list[np.ndarray]:
        rows = context.rows
        summed = self.plan.slices.summed
        outputs: list[np.ndarray | None] = [None] * len(self._outputs)
        batched_inputs = [i for i, type in enumerate(self.graph.input_types) if type.is_batched]
        for start in range(0, rows, size):
            end = min(start + size, rows)
            part = list(values)
            for i in batched_inputs:
                whole = values[i]
                assert whole is not None
                part[i] = whole[start:end]
            run_steps(self._by_slice, part, context.part(end - start, start))
            for position, (number, type) in enumerate(self._outputs):
                result = np.asarray(part[number])
                output = outputs[position]
                if type.is_batched:
                    if output is None:
                        output = outputs[position] = np.empty(type.with_rows(rows).shape, dtype=type.dtype.numpy)
                    output[start:end] = result
                else:
                    outputs[position] = output + result if output is not None and position in summed else result
        return [np.asarray(output) for output in outputs]

    def _check(self, inputs: Sequence[np.ndarray], rows: int) -> None:
        expected = [type.with_rows(rows) for type in self.graph.input_types]
        if len(inputs) != len(expected):
            raise GraphError(f"got {len(inputs)} inputs, expected {len(expected)}")
        for i, (array, type) in enumerate(zip(inputs, expected, strict=True)):
            if array.dtype != type.dtype.numpy or array.shape != type.shape:
                raise GraphError(f"input {i}: got {array.dtype}{list(array.shape)}, expected {type}")


def compile(graph: Graph) -> Executable:
    """`graph`, planned and ready to run."""
    return Executable(plan_of(graph))


def _failures(context: Context, rows: int) -> list[RowFailure]:
    """The rows that failed; one that stands for all stands for each."""
    of_all = context.failures.pop(ALL_ROWS, None)
    if of_all is not None:
        for row in range(rows):
            context.failures.setdefault(row, of_all._replace(row=row))
    return [context.failures[row] for row in sorted(context.failures)]


def _without(rows: Sequence[int], output: np.ndarray) -> np.ndarray:
    """A copy with NaN, or 0 where there is none, in some rows: whatever was computed there means nothing."""
    copy = output.copy()
    copy[rows] = np.nan if output.dtype.kind == "f" else 0
    return copy
