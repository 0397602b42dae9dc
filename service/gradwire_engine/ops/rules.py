"""What many records share: type rules and batch rules.

A batch rule gets the operands of a node, which of them have a new axis 0 (of length `size`, possibly `ROWS`), and emits
the op on the whole stack; its results all have the new axis 0. `stacked` is the rule of every op whose attributes know
how to shift (`Attributes.shifted`): operands that are the same for all rows are repeated, which costs nothing until
something is computed from them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from gradwire_engine.attributes import Attributes
from gradwire_engine.errors import GraphError
from gradwire_engine.types import DType, TensorType
from gradwire_engine.value import Value
from gradwire_engine.vocabulary import broadcast_to

TypeRule = Callable[[Any, Sequence[TensorType]], tuple[TensorType, ...]]
BatchRule = Callable[[Any, Sequence[Value], Sequence[bool], int], tuple[Value, ...]]


def with_axis(x: Value, batched: bool, size: int) -> Value:
    """x with the new axis 0: as it is if it has it, else repeated."""
    return x if batched else broadcast_to(x, (size, *x.shape))


def stacked(name: str) -> BatchRule:
    """The op `name` with shifted attributes on operands that all have the new axis."""

    def rule(
        attributes: Attributes, operands: Sequence[Value], batched: Sequence[bool], size: int
    ) -> tuple[Value, ...]:
        whole = [with_axis(x, has, size) for x, has in zip(operands, batched, strict=True)]
        return whole[0].builder.emit_all(name, whole, attributes.shifted(size))

    return rule


def never_batched(name: str) -> BatchRule:
    """For ops without operands: they are the same for all rows, so no rule is ever asked for."""

    def rule(
        attributes: Attributes, operands: Sequence[Value], batched: Sequence[bool], size: int
    ) -> tuple[Value, ...]:
        raise GraphError(f"{name} has no operands to batch")

    return rule


def describe(types: Sequence[TensorType]) -> str:
    """Operand types for an error message."""
    return ", ".join(str(type) for type in types)


def require_floating(type: TensorType) -> TensorType:
    """The type itself, or GraphError if it is not floating point."""
    if not type.dtype.is_floating:
        raise GraphError(f"got {type}, expected float32 or float64; convert with astype")
    return type


def require_numeric(type: TensorType) -> TensorType:
    """The type itself, or GraphError if it is bool."""
    if type.dtype is DType.BOOL:
        raise GraphError(f"got {type}, expected a numeric type; convert with astype")
    return type


def require_bool(type: TensorType) -> TensorType:
    """The type itself, or GraphError if it is not bool."""
    if type.dtype is not DType.BOOL:
        raise GraphError(f"got {type}, expected bool")
    return type


def require_same(types: Sequence[TensorType]) -> TensorType:
    """The common type, or GraphError if the operands differ."""
    first = types[0]
    for other in types[1:]:
        if other != first:
            raise GraphError(f"operand types differ: {describe(types)}; insert broadcast_to or astype")
    return first


def floating(attributes: Any, operands: Sequence[TensorType]) -> tuple[TensorType, ...]:
    """Operands and result of one floating-point type."""
    return (require_floating(require_same(operands)),)


def numeric(attributes: Any, operands: Sequence[TensorType]) -> tuple[TensorType, ...]:
    """Operands and result of one numeric type."""
    return (require_numeric(require_same(operands)),)


def logical(attributes: Any, operands: Sequence[TensorType]) -> tuple[TensorType, ...]:
    """Operands and result bool, of one shape."""
    return (require_bool(require_same(operands)),)


def comparison(attributes: Any, operands: Sequence[TensorType]) -> tuple[TensorType, ...]:
    """Operands of one type; the result is bool."""
    return (require_same(operands).with_dtype(DType.BOOL),)


def predicate(attributes: Any, operands: Sequence[TensorType]) -> tuple[TensorType, ...]:
    """A floating-point operand; the result is bool."""
    return (require_floating(operands[0]).with_dtype(DType.BOOL),)


def require_axes(axes: Sequence[int], rank: int) -> None:
    """GraphError unless the axes are ascending, distinct and within the rank."""
    if any(not 0 <= axis < rank for axis in axes) or any(a >= b for a, b in pairwise(axes)):
        raise GraphError(f"got axes {tuple(axes)}, expected ascending distinct axes between 0 and {rank - 1}")


def without(shape: tuple[int, ...], axes: Sequence[int]) -> tuple[int, ...]:
    """The shape without some axes."""
    return tuple(length for axis, length in enumerate(shape) if axis not in axes)
