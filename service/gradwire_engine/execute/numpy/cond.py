"""Running cond: each branch on the rows that take it, and not at all where none does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from gradwire_engine.execute.numpy.body import Body
from gradwire_engine.execute.numpy.rows import Arrays, Rows
from gradwire_engine.execute.numpy.steps import Context, RunnerOf
from gradwire_engine.graph import Node
from gradwire_engine.types import TensorType


class CondRunner:
    """cond: each branch, on the rows that take it."""

    def __init__(self, node: Node, types: Sequence[TensorType], runner_of: RunnerOf) -> None:
        self._rows = Rows(node, types)
        self._branches = [Body(graph, 0, runner_of) for graph in node.subgraphs]
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
