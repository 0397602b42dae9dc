"""Rows: how operands with leading row axes fit graphs of one example, and what a new axis does to them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from gradwire_engine.attributes import Rowwise, Scan, While
from gradwire_engine.errors import GraphError
from gradwire_engine.graph import Graph
from gradwire_engine.ops.control.operands import Group, Groups
from gradwire_engine.ops.rules import describe
from gradwire_engine.types import ROWS, DType, TensorType
from gradwire_engine.value import Value
from gradwire_engine.vocabulary import broadcast_to, reshape

Shape = tuple[int, ...]
R = TypeVar("R", bound=Rowwise)


def row_shape(attributes: Rowwise, operands: Sequence[TensorType]) -> Shape:
    """The leading axes that all operands but the shared ones have.

    GraphError where they differ, or where there is none to tell.
    """
    axes = attributes.row_axes
    if axes == 0:
        return ()
    if axes < 0:
        raise GraphError(f"got {axes} row axes, expected at least 0")
    rows: Shape | None = None
    for index, type in enumerate(operands):
        if index in attributes.shared:
            continue
        if type.rank < axes or (rows is not None and type.shape[:axes] != rows):
            raise GraphError(f"operands differ in their {axes} row axes: {describe(operands)}")
        rows = type.shape[:axes]
    if rows is None:
        raise GraphError(f"got {axes} row axes, but no operand that has them")
    return rows


def for_body(attributes: Rowwise, index: int, operand: TensorType) -> TensorType:
    """The type that a graph's input must have for an operand, as a whole."""
    if index in attributes.shared or attributes.row_axes == 0:
        return operand
    inner = operand.shape[attributes.row_axes :]
    return operand.with_shape((ROWS, *inner) if attributes.batched else inner)


def slice_type(attributes: Rowwise, index: int, operand: TensorType, length: int) -> TensorType:
    """The type that a graph's input must have for one of `length` slices of an operand."""
    axis = 0 if index in attributes.shared else attributes.row_axes
    if operand.rank <= axis or operand.shape[axis] != length:
        raise GraphError(f"got stacked input {operand} for {length} steps")
    return for_body(attributes, index, operand.with_shape(operand.shape[:axis] + operand.shape[axis + 1 :]))


def without_rows(attributes: Rowwise, type: TensorType) -> TensorType:
    """The type of an output of a graph, for one example."""
    return type.with_shape(type.shape[1:]) if attributes.batched and type.is_batched else type


def with_rows(attributes: Rowwise, lead: Shape, output: TensorType) -> TensorType:
    """The type of a result: an output of a graph, for one example, with leading axes."""
    return output.with_shape((*lead, *without_rows(attributes, output).shape))


def require_rows(attributes: Rowwise, output: TensorType) -> None:
    """GraphError for an output without rows, of a graph that has been given them."""
    if attributes.batched and attributes.row_axes and not output.is_batched:
        raise GraphError(f"got {output} as the output of a batched graph, expected rows as axis 0")


def snapshot_types(attributes: Scan | While, rows: Shape, carries: Sequence[TensorType]) -> list[TensorType]:
    """The results of a loop that keeps snapshots: at which steps, and the recorded carries."""
    a = attributes
    if not a.snapshots:
        return []
    if a.snapshots < 0 or any(not 0 <= k < len(carries) for k in a.recorded):
        raise GraphError(f"got {a.snapshots} snapshots of carries {a.recorded}, there are {len(carries)} carries")
    lead = (*rows, a.snapshots)
    return [TensorType(DType.INT64, lead), *(with_rows(a, lead, carries[k]) for k in a.recorded)]


def with_new_axis(
    attributes: R, operands: Sequence[Value], batched: Sequence[bool], size: int, always: Sequence[int]
) -> tuple[R, list[Value]]:
    """Attributes and operands once some operands have a new axis 0; those listed in `always` get it in any case.

    Operands that were the same for all rows stay so if they can.
    """
    rows = row_shape(
        attributes,
        [x.type.with_shape(x.shape[1:]) if has else x.type for x, has in zip(operands, batched, strict=True)],
    )
    shared: list[int] = []
    spread: list[Value] = []
    for index, (x, has) in enumerate(zip(operands, batched, strict=True)):
        was_shared = index in attributes.shared or (attributes.row_axes == 0 and index not in always)
        if was_shared and not has:
            shared.append(index)
            spread.append(x)
        elif has and index in attributes.shared:
            inner = x.shape[1:]
            aligned = reshape(x, (size, *(1,) * len(rows), *inner))
            spread.append(broadcast_to(aligned, (size, *rows, *inner)))
        else:
            spread.append(x if has else broadcast_to(x, (size, *x.shape)))
    return replace(attributes, row_axes=attributes.row_axes + 1, shared=tuple(shared)), spread


def batched_by_rows(op: str, by_row: Group) -> Callable[..., tuple[Value, ...]]:
    """The batch rule of an op that keeps its graphs, and gets row axes; a group has them whenever the node has."""

    def rule(
        attributes: Rowwise, operands: Sequence[Value], batched: Sequence[bool], size: int, *graphs: Graph
    ) -> tuple[Value, ...]:
        always = Groups(op, attributes, len(operands), graphs).operands[by_row]
        new, spread = with_new_axis(attributes, operands, batched, size, always)
        return spread[0].builder.emit_all(op, spread, new, graphs)

    return rule
