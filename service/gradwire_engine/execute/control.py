"""Running ops that refer to graphs: only the rows that need a branch or a step are in it.

Rows are brought to one axis; those that a branch or a step concerns are taken out, run together, and put back. So a
branch that a row does not take is never computed for it, and a loop ends for a row when it is done.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from gradwire_engine.attributes import Cond, Rowwise, Scan, While
from gradwire_engine.cost import depends_on_inputs, schedule
from gradwire_engine.errors import GraphError
from gradwire_engine.execute.steps import ALL_ROWS, Context, Runner, make_steps, run_steps
from gradwire_engine.graph import Graph, Node
from gradwire_engine.types import TensorType

Arrays = Sequence[np.ndarray]
MAX_STEPS_EXCEEDED = "MAX_STEPS_EXCEEDED"


def runner_of(graph: Graph, node: Node) -> Runner | None:
    """How a node is run, if it refers to graphs."""
    if not node.subgraphs:
        return None
    types = [graph.types[n] for n in node.operands]
    match node.attributes:
        case Cond():
            return _CondRunner(node, types)
        case Scan():
            return _ScanRunner(node, types)
        case While():
            return _WhileRunner(node, types)
        case _:
            raise GraphError(f"{node.op.name} is replaced before a graph is run")


class Body:
    """A graph that is run many times: what depends on its first `constants` inputs only is computed once."""

    def __init__(self, graph: Graph, constants: int) -> None:
        varying = depends_on_inputs(graph, constants)
        plan = schedule(graph, varying)
        moving = [varying[first] for first in graph.first_results]
        self._once = make_steps(graph, plan, [p for p in plan.order if not moving[p]], runner_of)
        self._each = make_steps(graph, plan, [p for p in plan.order if moving[p]], runner_of)
        self._constants = constants
        self._inputs = len(graph.inputs)
        self._values = len(graph.types)
        self._outputs = graph.outputs

    def begin(self, constants: Arrays, context: Context) -> list[Any]:
        """What all runs with these constants share."""
        values: list[Any] = [None] * self._values
        values[: self._constants] = constants
        run_steps(self._once, values, context)
        return values

    def run(self, begun: list[Any], inputs: Iterable[np.ndarray], context: Context) -> list[Any]:
        """The outputs for the other inputs."""
        values = begun.copy()
        values[self._constants : self._inputs] = inputs
        run_steps(self._each, values, context)
        return [values[n] for n in self._outputs]


class _Rows:
    """The row axes of a node's operands, as one."""

    def __init__(self, node: Node, types: Sequence[TensorType]) -> None:
        attributes = node.attributes
        assert isinstance(attributes, Rowwise)
        self.axes = attributes.row_axes
        self.shared = [i in attributes.shared or self.axes == 0 for i in range(len(types))]
        self._lead = next((i for i, shared in enumerate(self.shared) if not shared), None)
        self._are_rows_of_batch = self._lead is not None and types[self._lead].is_batched
        self._inner = [result.shape[self.axes :] for result in node.results]
        self._dtypes = [result.dtype.numpy for result in node.results]

    def shape(self, operands: Arrays) -> tuple[int, ...]:
        """Their lengths."""
        return () if self._lead is None else operands[self._lead].shape[: self.axes]

    def flat(self, operands: Arrays, count: int) -> list[np.ndarray]:
        """The operands with one row axis, except those that have none."""
        if self.axes <= 1:
            return list(operands)
        return [
            x if shared else x.reshape((count, *x.shape[self.axes :]))
            for x, shared in zip(operands, self.shared, strict=True)
        ]

    def context(self, context: Context, rows: tuple[int, ...]) -> Context:
        """The context of the graphs, which have all rows as one axis."""
        count = math.prod(rows)
        if self.axes == 0:
            return context
        if not self._are_rows_of_batch:
            return context.within(count, np.full(count, ALL_ROWS))
        return context.within(count, np.repeat(context.ids, count // max(context.rows, 1)))

    def result(self, index: int, count: int, *, zero: bool = False) -> np.ndarray:
        """Room for a result."""
        shape = self._inner[index] if self.axes == 0 else (count, *self._inner[index])
        make = np.zeros if zero else np.empty
        return make(shape, dtype=self._dtypes[index])

    def unflat(self, results: Sequence[Any], rows: tuple[int, ...], summed: Sequence[int] = ()) -> Any:
        """The results with their own row axes, as a node gives them."""
        if self.axes > 1:
            results = [x if i in summed else x.reshape((*rows, *x.shape[1:])) for i, x in enumerate(results)]
        return results if len(results) != 1 else results[0]


class _CondRunner:
    """cond: each branch, on the rows that take it."""

    def __init__(self, node: Node, types: Sequence[TensorType]) -> None:
        self._rows = _Rows(node, types)
        self._branches = [Body(graph, 0) for graph in node.subgraphs]
        self._results = len(node.results)

    def __call__(self, context: Context, operands: Arrays) -> Any:
        rows = self._rows.shape(operands)
        if not self._rows.axes:
            body = self._branches[int(operands[0])]
            found = body.run(body.begin((), context), operands[1:], context)
            return found if len(found) != 1 else found[0]
        count = math.prod(rows)
        inner = self._rows.context(context, rows)
        predicate, *arguments = self._rows.flat(operands, count)
        results: list[Any] = [None] * self._results
        for which, body in enumerate(self._branches):
            index = np.flatnonzero(predicate == bool(which))
            if not index.size and (count or not which):
                continue
            whole = index.size == count
            taken = [
                x if shared or whole else x[index] for x, shared in zip(arguments, self._rows.shared[1:], strict=True)
            ]
            part = inner if whole else inner.within(index.size, inner.ids[index])
            found = body.run(body.begin((), part), taken, part)
            for i, value in enumerate(found):
                if whole:
                    results[i] = value
                    continue
                if results[i] is None:
                    results[i] = self._rows.result(i, count)
                results[i][index] = value
        return self._rows.unflat(results, rows)


class _ScanRunner:
    """scan: step by step, in stretches in which the same rows take part."""

    def __init__(self, node: Node, types: Sequence[TensorType]) -> None:
        assert isinstance(node.attributes, Scan)
        self._a = a = node.attributes
        self._rows = _Rows(node, types)
        self._body = Body(node.subgraphs[0], a.constants)
        self._first = int(a.counted)
        self._stacked_shared = self._rows.shared[self._first + a.constants + a.carries :]
        count = len(node.results)
        self._stacked = range(a.carries, count - a.sums)
        self._sums = range(count - a.sums, count)
        self._over_rows = [bool(a.row_axes) and k in a.row_sums for k in range(a.sums)]
        self._sum_types = [node.results[j] for j in self._sums]

    def __call__(self, context: Context, operands: Arrays) -> Any:
        a, first = self._a, self._first
        rows = self._rows.shape(operands)
        count = math.prod(rows)
        inner = self._rows.context(context, rows)
        flat = self._rows.flat(operands, count)
        results: list[Any] = list(flat[first + a.constants : first + a.constants + a.carries])
        results += [self._rows.result(j, count, zero=a.counted) for j in self._stacked]
        results += [self._sum_start(k, count) for k in range(a.sums)]
        for index, steps in self._stretches(flat, count):
            self._run(inner, flat, results, index, steps)
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

    def _run(
        self, context: Context, flat: Arrays, results: list[Any], index: np.ndarray | None, steps: Iterable[int]
    ) -> None:
        """The steps on the rows at `index`."""
        a, first, shared = self._a, self._first, self._rows.shared
        if index is not None:
            context = context.within(index.size, context.ids[index])

        def taken(i: int, x: np.ndarray) -> np.ndarray:
            return x if index is None or shared[i] else x[index]

        constants = [taken(first + i, flat[first + i]) for i in range(a.constants)]
        stacked = flat[first + a.constants + a.carries :]
        plain = index is None
        carries = [x if plain else x[index] for x in results[: a.carries]]
        begun = self._body.begin(constants, context)
        run, by_row = self._body.run, bool(self._rows.axes)
        outputs = [(results[j], j) for j in self._stacked]
        for step in steps:
            slices = [
                x[step] if is_shared else (x[:, step] if plain else x[index, step])
                for x, is_shared in zip(stacked, self._stacked_shared, strict=True)
            ]
            found = run(begun, [*carries, *slices], context)
            carries = found[: a.carries]
            for target, j in outputs:
                if not by_row:
                    target[step] = found[j]
                elif plain:
                    target[:, step] = found[j]
                else:
                    target[index, step] = found[j]
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


class _WhileRunner:
    """while: until no row's condition holds; the rows that are done leave."""

    def __init__(self, node: Node, types: Sequence[TensorType]) -> None:
        assert isinstance(node.attributes, While)
        self._a = a = node.attributes
        self._rows = _Rows(node, types)
        self._condition = Body(node.subgraphs[0], a.condition_constants)
        self._body = Body(node.subgraphs[1], a.body_constants)
        self._carries = len(node.subgraphs[1].outputs)
        self._first_record = self._carries + int(a.counted)

    def __call__(self, context: Context, operands: Arrays) -> Any:
        a = self._a
        rows = self._rows.shape(operands)
        count = math.prod(rows)
        inner = self._rows.context(context, rows)
        flat = self._rows.flat(operands, count)
        results: list[Any] = list(flat[a.condition_constants + a.body_constants :])
        if a.counted:
            results.append(np.zeros(count if self._rows.axes else (), dtype=np.int64))
        results += [self._rows.result(self._first_record + i, count, zero=True) for i in range(len(a.recorded))]
        if self._rows.axes:
            self._by_rows(inner, flat, results, count)
        else:
            self._alone(inner, flat, results)
        return self._rows.unflat(results, rows)

    def _alone(self, context: Context, flat: Arrays, results: list[Any]) -> None:
        """One row."""
        a = self._a
        test = self._condition.begin(flat[: a.condition_constants], context)
        begun = self._body.begin(flat[a.condition_constants : a.condition_constants + a.body_constants], context)
        carries, steps = results[: self._carries], 0
        while bool(self._condition.run(test, carries, context)[0]):
            if steps == a.max_steps:
                context.fail(np.array([ALL_ROWS]), MAX_STEPS_EXCEEDED, self._message())
                carries = [_nothing(x) for x in carries]
                break
            for place, k in enumerate(a.recorded, start=self._first_record):
                results[place][steps] = carries[k]
            carries = self._body.run(begun, carries, context)
            steps += 1
        results[: self._carries] = carries
        if a.counted:
            results[self._carries] = np.asarray(steps, dtype=np.int64)

    def _by_rows(self, context: Context, flat: Arrays, results: list[Any], count: int) -> None:
        a = self._a
        constants = flat[: a.condition_constants + a.body_constants]
        active = np.arange(count)
        carries = results[: self._carries]
        results[: self._carries] = [np.array(x) for x in carries]
        part, test, begun = self._begin(context, constants, active, count)
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
                carries = [value[goes_on] for value in carries]
                part, test, begun = self._begin(context, constants, active, count)
                if not active.size:
                    return
            for place, k in enumerate(a.recorded, start=self._first_record):
                results[place][active, steps] = carries[k]
            carries = self._body.run(begun, carries, part)
            steps += 1

    def _begin(
        self, context: Context, constants: Arrays, active: np.ndarray, count: int
    ) -> tuple[Context, list[Any], list[Any]]:
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
