"""Running cond: each branch on the rows that take it, and not at all where none does."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gradwire_engine.execute.numpy.body import Application
from gradwire_engine.execute.numpy.rows import Arrays, Rows
from gradwire_engine.execute.numpy.steps import Context


class CondRunner:
    """cond: each branch, on the rows that take it."""

    def __init__(self, application: Application) -> None:
        self._rows = Rows(application.node, application.types)
        self._branches = application.bodies
        self._results = len(application.node.results)

    def __call__(self, context: Context, operands: Arrays) -> Any:
        if not self._rows.axes:
            outputs = self._branches[int(operands[0])].begin((), context).run(operands[1:])
            return outputs if len(outputs) != 1 else outputs[0]
        shape = self._rows.shape(operands)
        count = math.prod(shape)
        inner = self._rows.context(context, shape)
        predicate, *arguments = self._rows.flat(operands, count)
        results: list[Any] = [None] * self._results
        for which, branch in enumerate(self._branches):
            index = np.flatnonzero(predicate == bool(which))
            if not index.size and (count or not which):
                continue
            if index.size == count:
                results = branch.begin((), inner).run(arguments)
                continue
            part = inner.within(index.size, inner.ids[index])
            taken = [x if shared else x[index] for x, shared in zip(arguments, self._rows.shared[1:], strict=True)]
            for i, output in enumerate(branch.begin((), part).run(taken)):
                if results[i] is None:
                    results[i] = self._rows.result(i, count)
                results[i][index] = output
        return self._rows.unflat(results, shape)
