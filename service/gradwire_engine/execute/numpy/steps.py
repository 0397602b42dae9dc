"""Nodes as steps: what the reference executor does, in the order and with the lives of a plan."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, NamedTuple

import numpy as np

from gradwire_engine.attributes import Attributes
from gradwire_engine.errors import RowFailure
from gradwire_engine.op import op_of
from gradwire_engine.plan.plan import GraphPlan

ALL_ROWS: Final = -1
"""In place of a row: what does not depend on the rows concerns all of them."""


@dataclass(eq=False)
class Context:
    """What the nodes of a graph share while it runs: its rows, and which rows have failed so far."""

    rows: int
    """Length of the batch axis."""
    first: int = 0
    """The row of the request that it begins with, or `ALL_ROWS`."""
    failures: dict[int, RowFailure] = field(default_factory=dict)
    """By row of the request; the first of each."""
    taken: np.ndarray | None = None
    """The rows of the request, where they are not one after the other."""

    @cached_property
    def ids(self) -> np.ndarray:
        """For each row the row of the request that it belongs to; made only where a node refers to graphs."""
        if self.taken is not None:
            return self.taken
        if self.first == ALL_ROWS:
            return np.full(self.rows, ALL_ROWS)
        return np.arange(self.first, self.first + self.rows)

    def fail(self, ids: np.ndarray, reason: str, message: str) -> None:
        """Note that these rows of the request have no result."""
        for row in np.unique(ids).tolist():
            self.failures.setdefault(row, RowFailure(row, reason, message))

    def within(self, rows: int, ids: np.ndarray) -> Context:
        """The same for a graph that is applied to other rows."""
        return Context(rows, failures=self.failures, taken=ids)

    def part(self, rows: int, first: int) -> Context:
        """The same for rows one after the other, or for what concerns all of them."""
        return Context(rows, first, self.failures)


Runner = Callable[[Context, Sequence[np.ndarray]], Any]
"""Runs a node that refers to graphs."""

RunnerOf = Callable[[GraphPlan, int], Runner | None]
"""(plan, position of a node) -> how the node is run, if it refers to graphs."""


class Step(NamedTuple):
    """A node, ready to run."""

    evaluate: Callable[..., Any]
    attributes: Attributes
    mentions_rows: bool
    runner: Runner | None
    operands: tuple[int, ...]
    first: int
    results: int
    dying: tuple[int, ...]


def make_steps(plan: GraphPlan, positions: Iterable[int], runner_of: RunnerOf) -> list[Step]:
    """The nodes at these positions."""
    steps = []
    for position in positions:
        node = plan.graph.nodes[position]
        steps.append(
            Step(
                op_of(node).evaluate,
                node.attributes,
                node.attributes.mentions_rows,
                runner_of(plan, position),
                node.operands,
                plan.graph.first_results[position],
                len(node.results),
                plan.schedule.dying[position],
            )
        )
    return steps


def run_steps(steps: Sequence[Step], values: list[Any], context: Context) -> None:
    """Run them: results go into `values`, and what nothing needs any more goes out of it."""
    for evaluate, attributes, mentions_rows, runner, operands, first, results, dying in steps:
        arguments = [values[n] for n in operands]
        if runner is not None:
            result = runner(context, arguments)
        else:
            result = evaluate(attributes.with_rows(context.rows) if mentions_rows else attributes, *arguments)
        if results == 1:
            values[first] = result
        else:
            values[first : first + results] = result
        for number in dying:
            values[number] = None
