"""Algebra that changes no bit of a result and no derivative: identities, and shape ops that cancel or merge.

What is *not* here is as deliberate: x + 0.0 (it changes -0.0), 0 * x (it hides NaN), x - x, reassociation of sums.
A value is `uniform` when all its elements are known to be one number; masks that are uniformly true or false vanish.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from gradwire_engine.attributes import Axes, Constant, Pad, Permutation, Shape, Slice
from gradwire_engine.builder import GraphBuilder
from gradwire_engine.graph import Graph, Node
from gradwire_engine.passes.rewrite import rewrite
from gradwire_engine.types import ROWS, DType
from gradwire_engine.value import Value
from gradwire_engine.vocabulary import broadcast_to, permute_dims, reshape, zeros

_KEEP_UNIFORM = frozenset({"broadcast_to", "reshape", "permute_dims", "slice", "flip", "stop_gradient"})


class _Known:
    """What is known of the values of the new graph: the node that made each, and its uniform number if it has one."""

    def __init__(self) -> None:
        self._sources: dict[int, tuple[Node, Sequence[Value]]] = {}
        self._uniform: dict[int, float | bool] = {}

    def is_uniform(self, value: Value, number: float | bool) -> bool:
        """Whether every element is this number (1.0 is not -1.0, and 0.0 is not -0.0)."""
        known = self._uniform.get(value.number)
        return known is not None and known == number and np.signbit(known) == np.signbit(number)

    def source(self, value: Value, op: str) -> tuple[Node, Sequence[Value]] | None:
        """The node that made `value`, if it is of this op."""
        source = self._sources.get(value.number)
        return source if source is not None and source[0].op.name == op else None

    def note(self, node: Node, operands: list[Value], results: tuple[Value, ...]) -> None:
        """A node of the new graph."""
        for result in results:
            self._sources.setdefault(result.number, (node, operands))
        if isinstance(node.attributes, Constant):
            self._note_constant(results[0], node.attributes)
        elif node.op.name in _KEEP_UNIFORM and operands[0].number in self._uniform:
            self._uniform[results[0].number] = self._uniform[operands[0].number]

    def _note_constant(self, value: Value, constant: Constant) -> None:
        size = constant.type.dtype.itemsize
        first = constant.data[:size]
        if first and constant.data == first * (len(constant.data) // size):
            self._uniform[value.number] = constant.array.reshape(-1)[0].item()


def simplify(graph: Graph) -> Graph:
    """`graph` with the identities of this module applied once, in one walk."""
    known = _Known()

    def rule(builder: GraphBuilder, first: int, node: Node, operands: list[Value]) -> Sequence[Value] | None:
        identity = _RULES.get(node.op.name)
        same = None if identity is None else identity(known, node, operands)
        return None if same is None else (same,)

    return rewrite(graph, rule, copied=known.note)


Rule = Callable[[_Known, Node, Sequence[Value]], Value | None]


def _masked_multiply(known: _Known, node: Node, operands: Sequence[Value]) -> Value | None:
    x, y, *masks = operands
    if all(known.is_uniform(mask, True) for mask in masks):
        return x * y
    return zeros(x.builder, x.type) if any(known.is_uniform(mask, False) for mask in masks) else None


def _where(known: _Known, node: Node, operands: Sequence[Value]) -> Value | None:
    condition, x, y = operands
    if known.is_uniform(condition, True) or x is y:
        return x
    return y if known.is_uniform(condition, False) else None


def _multiply(known: _Known, node: Node, operands: Sequence[Value]) -> Value | None:
    x, y = operands
    for side, other in ((x, y), (y, x)):
        if known.is_uniform(side, 1.0):
            return other
        if known.is_uniform(side, -1.0):
            return -other
    return None


def _divide(known: _Known, node: Node, operands: Sequence[Value]) -> Value | None:
    return operands[0] if known.is_uniform(operands[1], 1.0) else None


def _twice(op: str) -> Rule:
    """The op undoes itself."""

    def rule(known: _Known, node: Node, operands: Sequence[Value]) -> Value | None:
        source = known.source(operands[0], op)
        return source[1][0] if source is not None else None

    return rule


def _logical_and(known: _Known, node: Node, operands: Sequence[Value]) -> Value | None:
    x, y = operands
    for side, other in ((x, y), (y, x)):
        if known.is_uniform(side, True) or side is other:
            return other
        if known.is_uniform(side, False):
            return side
    return None


def _logical_or(known: _Known, node: Node, operands: Sequence[Value]) -> Value | None:
    x, y = operands
    for side, other in ((x, y), (y, x)):
        if known.is_uniform(side, False) or side is other:
            return other
        if known.is_uniform(side, True):
            return side
    return None


def _reshape(known: _Known, node: Node, operands: Sequence[Value]) -> Value | None:
    assert isinstance(node.attributes, Shape)
    (x,), shape = operands, node.attributes.shape
    if x.shape == shape:
        return x
    source = known.source(x, "reshape")
    return reshape(source[1][0], shape) if source is not None else None


def _broadcast(known: _Known, node: Node, operands: Sequence[Value]) -> Value | None:
    assert isinstance(node.attributes, Shape)
    (x,), shape = operands, node.attributes.shape
    if x.shape == shape:
        return x
    source = known.source(x, "broadcast_to")
    return broadcast_to(source[1][0], shape) if source is not None else None


def _permute(known: _Known, node: Node, operands: Sequence[Value]) -> Value | None:
    assert isinstance(node.attributes, Permutation)
    (x,), order = operands, node.attributes.permutation
    if order == tuple(range(len(order))):
        return x
    source = known.source(x, "permute_dims")
    if source is None:
        return None
    inner = source[0].attributes
    assert isinstance(inner, Permutation)
    return permute_dims(source[1][0], [inner.permutation[axis] for axis in order])


def _slice(known: _Known, node: Node, operands: Sequence[Value]) -> Value | None:
    assert isinstance(node.attributes, Slice)
    return operands[0] if node.results[0] == operands[0].type and ROWS not in operands[0].shape[1:] else None


def _pad(known: _Known, node: Node, operands: Sequence[Value]) -> Value | None:
    assert isinstance(node.attributes, Pad)
    return operands[0] if node.results[0] == operands[0].type else None


def _over_nothing(known: _Known, node: Node, operands: Sequence[Value]) -> Value | None:
    assert isinstance(node.attributes, Axes)
    return operands[0] if not node.attributes.axes else None


def _astype(known: _Known, node: Node, operands: Sequence[Value]) -> Value | None:
    return operands[0] if operands[0].type == node.results[0] else None


def _concat(known: _Known, node: Node, operands: Sequence[Value]) -> Value | None:
    return operands[0] if len(operands) == 1 else None


def _any(known: _Known, node: Node, operands: Sequence[Value]) -> Value | None:
    (x,) = operands
    if not _over_something(x):
        return _over_nothing(known, node, operands)
    for number in (True, False):
        if known.is_uniform(x, number):
            value = x.builder.constant(np.asarray(number, dtype=DType.BOOL.numpy))
            return broadcast_to(value, node.results[0].shape)
    return _over_nothing(known, node, operands)


def _over_something(x: Value) -> bool:
    """No axis is empty: `any` of nothing is false whatever the elements are."""
    return 0 not in x.shape and ROWS not in x.shape


_RULES: dict[str, Rule] = {
    "masked_multiply": _masked_multiply,
    "where": _where,
    "multiply": _multiply,
    "divide": _divide,
    "negative": _twice("negative"),
    "logical_not": _twice("logical_not"),
    "logical_and": _logical_and,
    "logical_or": _logical_or,
    "reshape": _reshape,
    "broadcast_to": _broadcast,
    "permute_dims": _permute,
    "slice": _slice,
    "pad": _pad,
    "sum": _over_nothing,
    "prod": _over_nothing,
    "max": _over_nothing,
    "min": _over_nothing,
    "all": _over_nothing,
    "any": _any,
    "flip": _over_nothing,
    "astype": _astype,
    "concat": _concat,
}
