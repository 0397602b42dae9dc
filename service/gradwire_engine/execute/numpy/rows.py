"""Rows of a node that refers to graphs, brought to one axis and back."""

from __future__ import annotations

import math
from collections.abc import Container, Sequence
from typing import Any

import numpy as np

from gradwire_engine.attributes import Rowwise
from gradwire_engine.execute.numpy.steps import ALL_ROWS, Context
from gradwire_engine.graph import Node
from gradwire_engine.types import TensorType

Arrays = Sequence[np.ndarray]


class Rows:
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

    def unflat(self, results: Sequence[Any], rows: tuple[int, ...], summed: Container[int] = ()) -> Any:
        """The results with their own row axes, as a node gives them."""
        if self.axes > 1:
            results = [x if j in summed else x.reshape((*rows, *x.shape[1:])) for j, x in enumerate(results)]
        return results if len(results) != 1 else results[0]
