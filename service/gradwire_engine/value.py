"""A value while its graph is being built: a handle that arithmetic can be written with.

Rules of ops are formulas over these handles: ``-r * r`` emits two nodes. Both operands of an operator have one type;
a Python number takes the type of the other operand (that is the only convenience: nothing broadcasts or converts here).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from gradwire_engine.attributes import NONE, Attributes, Shape
from gradwire_engine.graph import Graph, Node, Operation
from gradwire_engine.types import DType, TensorType


class Builder(Protocol):
    """A graph under construction, as rules see it: `builder.GraphBuilder` is the only one."""

    def fresh(self) -> Builder:
        """An empty builder, for a graph that this one refers to."""

    def input(self, name: str, type: TensorType) -> Value:
        """A new input, after those that exist."""

    def emit_all(
        self,
        op: str | Operation,
        operands: Sequence[Value],
        attributes: Attributes = NONE,
        subgraphs: Sequence[Graph] = (),
    ) -> tuple[Value, ...]:
        """Append a node; its results."""

    def copy(self, node: Node, operands: Sequence[Value]) -> tuple[Value, ...]:
        """The results of `node` on other operands of the same types."""

    def constant(self, array: np.ndarray) -> Value:
        """A constant."""

    def inline(self, graph: Graph, operands: Sequence[Value]) -> list[Value]:
        """The outputs of `graph` on `operands`, its nodes copied into this one."""

    def finish(self, outputs: Sequence[Value], names: Sequence[str] = ()) -> Graph:
        """The graph that returns `outputs`."""


class Value:
    """The result of a node, or an input, of a graph under construction."""

    __slots__ = ("builder", "number", "type")

    def __init__(self, builder: Builder, number: int, type: TensorType) -> None:
        self.builder = builder
        self.number = number
        self.type = type

    @property
    def dtype(self) -> DType:
        """Element type."""
        return self.type.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each axis."""
        return self.type.shape

    def emit(self, op: str, *others: Value, attributes: Attributes = NONE) -> Value:
        """The single result of `op` on this value and the others."""
        return self.builder.emit_all(op, (self, *others), attributes)[0]

    def like(self, number: float) -> Value:
        """A number, as an array of this value's type."""
        return full(self.builder, self.type, number)

    def _other(self, other: Value | float) -> Value:
        return other if isinstance(other, Value) else self.like(other)

    def __add__(self, other: Value | float) -> Value:
        return self.emit("add", self._other(other))

    def __radd__(self, other: float) -> Value:
        return self._other(other).emit("add", self)

    def __sub__(self, other: Value | float) -> Value:
        return self.emit("subtract", self._other(other))

    def __rsub__(self, other: float) -> Value:
        return self._other(other).emit("subtract", self)

    def __mul__(self, other: Value | float) -> Value:
        return self.emit("multiply", self._other(other))

    def __rmul__(self, other: float) -> Value:
        return self._other(other).emit("multiply", self)

    def __truediv__(self, other: Value | float) -> Value:
        return self.emit("divide", self._other(other))

    def __rtruediv__(self, other: float) -> Value:
        return self._other(other).emit("divide", self)

    def __neg__(self) -> Value:
        return self.emit("negative")

    def __and__(self, other: Value) -> Value:
        return self.emit("logical_and", other)

    def __or__(self, other: Value) -> Value:
        return self.emit("logical_or", other)

    def __invert__(self) -> Value:
        return self.emit("logical_not")

    def __lt__(self, other: Value | float) -> Value:
        return self.emit("less", self._other(other))

    def __le__(self, other: Value | float) -> Value:
        return self.emit("less_equal", self._other(other))

    def __gt__(self, other: Value | float) -> Value:
        return self.emit("greater", self._other(other))

    def __ge__(self, other: Value | float) -> Value:
        return self.emit("greater_equal", self._other(other))

    def equals(self, other: Value | float) -> Value:
        """Element-wise ==, a bool value (Python's own == stays identity, so that values can be dictionary keys)."""
        return self.emit("equal", self._other(other))

    def differs(self, other: Value | float) -> Value:
        """Element-wise !=, a bool value."""
        return self.emit("not_equal", self._other(other))

    def __repr__(self) -> str:
        return f"v{self.number}: {self.type}"


def full(builder: Builder, type: TensorType, number: float) -> Value:
    """An array of one number."""
    scalar = builder.constant(np.asarray(number, dtype=type.dtype.numpy))
    if not type.shape:
        return scalar
    return builder.emit_all("broadcast_to", (scalar,), Shape(type.shape))[0]
