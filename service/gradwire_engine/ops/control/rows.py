"""Rows: how operands with leading row axes fit graphs of one example, and what a new axis does to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from gradwire_engine.attributes import Rowwise, Scan, While
from gradwire_engine.errors import GraphError
from gradwire_engine.ops.rules import describe
from gradwire_engine.types import ROWS, DType, TensorType
from gradwire_engine.value import Value
from gradwire_engine.vocabulary import broadcast_to, reshape

Shape = tuple[int, ...]
R = TypeVar("R", bound=Rowwise)


def row_shape(attributes: Rowwise, operands: Sequence[TensorType], count: int) -> Shape:
    """The leading axes that all operands but the shared ones have; `count` operands are looked at.

    GraphError where they differ, or where there is none to tell.
    """
    axes = attributes.row_axes
    if axes == 0:
        return ()
    if axes < 0:
        raise GraphError(f"got {axes} row axes, expected at least 0")
    found: Shape | None = None
    for index, type in enumerate(operands[:count]):
        if index in attributes.shared:
            continue
        if type.rank < axes or (found is not None and type.shape[:axes] != found):
            raise GraphError(f"operands differ in their {axes} row axes: {describe(operands)}")
        found = type.shape[:axes]
    if found is None:
        raise GraphError(f"got {axes} row axes, but no operand that has them")
    return found


def for_body(attributes: Rowwise, index: int, operand: TensorType) -> TensorType:
    """The type that a graph's input must have for an operand, as a whole."""
    if index in attributes.shared or attributes.row_axes == 0:
        return operand
    inner = operand.shape[attributes.row_axes :]
    return operand.with_shape((ROWS, *inner) if attributes.batched else inner)


def without_rows(attributes: Rowwise, type: TensorType) -> TensorType:
    """The type of an output of a graph, for one example."""
    return type.with_shape(type.shape[1:]) if attributes.batched and type.is_batched else type


def require_rows(attributes: Rowwise, output: TensorType) -> None:
    """GraphError for an output without rows, of a graph that has been given them."""
    if attributes.batched and attributes.row_axes and not output.is_batched:
        raise GraphError(f"got {output} as the output of a batched graph, expected rows as axis 0")


def with_new_axis(
    attributes: R, operands: Sequence[Value], batched: Sequence[bool], size: int, always: Sequence[int]
) -> tuple[R, list[Value]]:
    """Attributes and operands once some operands have a new axis 0; those listed in `always` get it in any case.

    Operands that were the same for all rows stay so if they can.
    """
    old = row_shape(
        attributes,
        [x.type.with_shape(x.shape[1:]) if has else x.type for x, has in zip(operands, batched, strict=True)],
        len(operands),
    )
    shared: list[int] = []
    moved: list[Value] = []
    for index, (x, has) in enumerate(zip(operands, batched, strict=True)):
        was_shared = index in attributes.shared or (attributes.row_axes == 0 and index not in always)
        if was_shared and not has:
            shared.append(index)
            moved.append(x)
        elif has and index in attributes.shared:
            inner = x.shape[1:]
            spread = reshape(x, (size, *(1,) * len(old), *inner))
            moved.append(broadcast_to(spread, (size, *old, *inner)))
        else:
            moved.append(x if has else broadcast_to(x, (size, *x.shape)))
    return replace(attributes, row_axes=attributes.row_axes + 1, shared=tuple(shared)), moved


def snapshot_types(attributes: Scan | While, rows: Shape, carries: Sequence[TensorType]) -> list[TensorType]:
    """The results of a loop that keeps snapshots: at which steps, and the recorded carries."""
    a = attributes
    if not a.snapshots:
        return []
    if a.snapshots < 0 or any(not 0 <= k < len(carries) for k in a.recorded):
        raise GraphError(f"got {a.snapshots} snapshots of carries {a.recorded}, there are {len(carries)} carries")
    kept = [carries[k] for k in a.recorded]
    return [
        TensorType(DType.INT64, (*rows, a.snapshots)),
        *(type.with_shape((*rows, a.snapshots, *without_rows(a, type).shape)) for type in kept),
    ]
