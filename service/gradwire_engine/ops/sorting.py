"""argsort and searchsorted: orders and places, which do not vary.

The sorted array is a gather with argsort's permutation, so its derivative follows the permutation, ties in their order.
The order is numpy's: -0.0 equals 0.0, and NaN stands after all numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from gradwire_engine.attributes import Axis, SearchSorted
from gradwire_engine.errors import GraphError
from gradwire_engine.op import Array, Case, Op, TestData, Zero
from gradwire_engine.ops.rules import describe, require_numeric, stacked, with_axis
from gradwire_engine.types import DType, TensorType
from gradwire_engine.value import Value

# argsort


def _argsort_types(attributes: Axis, operands: Sequence[TensorType]) -> tuple[TensorType, ...]:
    (x,), axis = operands, attributes.axis
    if not 0 <= axis < x.rank or (x.is_batched and axis == 0):
        raise GraphError(f"got axis {axis} for {x}")
    return (x.with_dtype(DType.INT64),)


def _argsort(attributes: Axis, x: Array) -> Any:
    return np.argsort(x, axis=attributes.axis, kind="stable").astype(np.int64, copy=False)


def _argsort_flops(attributes: Axis, operands: Sequence[TensorType], results: Sequence[TensorType]) -> tuple[int, int]:
    """n log n comparisons, and as many moves."""
    (x,) = operands
    work = 2 * x.elements * max(x.shape[attributes.axis], 1).bit_length()
    return (0, work) if x.is_batched else (work, 0)


# searchsorted


def _search_types(attributes: SearchSorted, operands: Sequence[TensorType]) -> tuple[TensorType, ...]:
    (table, values), b = operands, attributes.batch_dims
    require_numeric(table)
    fits = 0 <= b == table.rank - 1 and table.shape[:b] == values.shape[:b] and table.dtype is values.dtype
    if not fits or (b == 0 and table.is_batched):
        raise GraphError(
            f"got {describe(operands)} with {b} shared axes, expected a table with these and one more, and values "
            "of its type that have them too"
        )
    return (values.with_dtype(DType.INT64),)


def _searchsorted(attributes: SearchSorted, table: Array, values: Array) -> Any:
    if attributes.batch_dims == 0 and np.all(table[:-1] <= table[1:]):
        side = "right" if attributes.right else "left"
        return np.asarray(np.searchsorted(table, values, side=side), dtype=np.int64)  # type: ignore[call-overload]
    return _bisected(attributes, table, values)


def _bisected(attributes: SearchSorted, table: Array, values: Array) -> Any:
    """All searches at once, each with its own bounds; numpy's own, on tables in disorder, lets one guide the next."""
    b, length = attributes.batch_dims, table.shape[-1]
    count = math.prod(values.shape[:b])
    sought = values.reshape((count, math.prod(values.shape[b:])))
    rows = table.reshape((count, length))
    low = np.zeros(sought.shape, dtype=np.int64)
    high = np.full(sought.shape, length, dtype=np.int64)
    for _ in range(length.bit_length()):
        middle = (low + high) >> 1
        entry = np.take_along_axis(rows, np.minimum(middle, length - 1), axis=1)
        beyond = ~_before(sought, entry) if attributes.right else _before(entry, sought)
        searching = low < high
        low = np.where(searching & beyond, middle + 1, low)
        high = np.where(searching & ~beyond, middle, high)
    return low.reshape(values.shape)


def _before(x: Array, y: Array) -> Any:
    """x < y, where NaN is the largest."""
    return (x < y) | ((y != y) & (x == x))


def _search_flops(
    attributes: SearchSorted, operands: Sequence[TensorType], results: Sequence[TensorType]
) -> tuple[int, int]:
    """log n comparisons for each value."""
    table, values = operands
    work = 8 * max(values.elements, 1) * max(table.shape[-1], 1).bit_length() + table.elements
    return (0, work) if values.is_batched else (work, 0)


def _search_batch(
    attributes: SearchSorted, operands: Sequence[Value], batched: Sequence[bool], size: int
) -> tuple[Value, ...]:
    table, values = operands
    if not batched[0] and attributes.batch_dims == 0:
        return (table.emit("searchsorted", values, attributes=attributes),)
    whole = [with_axis(operand, has, size) for operand, has in zip(operands, batched, strict=True)]
    return (whole[0].emit("searchsorted", whole[1], attributes=attributes.shifted(size)),)


OPS: tuple[Op, ...] = (
    Op(
        name="argsort",
        arity=1,
        types=_argsort_types,
        evaluate=_argsort,
        derivative=Zero(),
        batch=stacked("argsort"),
        attributes=Axis,
        flops=_argsort_flops,
        scratch=(1.0, 1.0),
        tests=TestData(
            cases=(
                Case(((5,),), Axis(0)),
                Case(((3, 4),), Axis(0)),
                Case(((2, 3, 2),), Axis(1)),
                Case(((1,),), Axis(0)),
                Case(((2, 0),), Axis(1)),
            ),
            dtypes="fib",
        ),
    ),
    Op(
        name="searchsorted",
        arity=2,
        types=_search_types,
        evaluate=_searchsorted,
        derivative=Zero(),
        batch=_search_batch,
        attributes=SearchSorted,
        flops=_search_flops,
        scratch=(1.0, 1.0, 6.0),
        tests=TestData(
            cases=(
                Case(((5,), (3,)), SearchSorted()),
                Case(((5,), (2, 3)), SearchSorted(0, True)),
                Case(((2, 4), (2, 3)), SearchSorted(1)),
                Case(((2, 3, 4), (2, 3)), SearchSorted(2, True)),
                Case(((1,), ()), SearchSorted()),
                Case(((0,), (3,)), SearchSorted()),
                Case(((4,), (0,)), SearchSorted(0, True)),
            ),
            dtypes="fi",
        ),
    ),
)
