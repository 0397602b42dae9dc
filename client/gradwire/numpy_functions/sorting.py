"""Sorting and searching: an order is an int64 array that does not vary, and what is sorted follows it.

Sorting is stable whatever kind= says, NaN stands last, and partitions are sorted arrays. The derivative of a sorted
array is the permutation; equal elements keep their order in it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gradwire.numpy_functions.operands import (
    Array,
    Table,
    axis_of,
    cast,
    emit,
    entries,
    integer,
    lift,
    lifted,
    require_default,
    trace_of,
    wrong,
    xp,
)
from gradwire.numpy_functions.taking import take, take_along_axis
from gradwire.tracing.promotion import common_type
from gradwire.tracing.trace import Tracer
from gradwire_engine.attributes import Axis, SearchSorted


def array_and_axis(a: Any, axis: Any) -> tuple[Tracer, int]:
    """The array and the axis of a function of one axis; None is all elements in a row."""
    x = lift(a)
    if axis is None:
        return xp.ravel(x), 0
    return x, axis_of(axis, x.ndim)


def _order_of(x: Tracer, axis: int) -> Tracer:
    return emit(x, "argsort", attributes=Axis(axis))


def sorted_along(x: Tracer, axis: int) -> Array:
    """x in ascending order along an axis."""
    return take_along_axis(x, _order_of(x, axis), axis)


def sort(a: Any, axis: Any = -1, kind: Any = None, order: Any = None, *, stable: Any = None) -> Array:
    """numpy.sort."""
    require_default("sort", order=order)
    return sorted_along(*array_and_axis(a, axis))


def argsort(a: Any, axis: Any = -1, kind: Any = None, order: Any = None, *, stable: Any = None) -> Array:
    """numpy.argsort."""
    require_default("argsort", order=order)
    return _order_of(*array_and_axis(a, axis))


def _partitioned(whole: Callable[[Tracer, int], Array]) -> Callable[..., Array]:
    def function(a: Any, kth: Any, axis: Any = -1, kind: Any = "introselect", order: Any = None) -> Array:
        require_default("partition", order=order)
        x, along = array_and_axis(a, axis)
        length = x.shape[along]
        for position in entries(kth):
            if not -length <= integer(position, "kth") < length:
                raise wrong(f"kth(={position}) out of bounds ({length})")
        return whole(x, along)

    return function


def lexsort(keys: Any, axis: Any = -1) -> Array:
    """numpy.lexsort: the last key decides first."""
    columns = list(lift(keys) if not isinstance(keys, (list, tuple)) else lifted(*keys))
    if not columns:
        raise wrong("need sequence of keys with len > 0 in lexsort")
    along = axis_of(axis, columns[0].ndim)
    order = _order_of(columns[0], along)
    for key in columns[1:]:
        order = take_along_axis(order, _order_of(take_along_axis(key, order, along), along), along)
    return order


def searchsorted(a: Any, v: Any, side: str = "left", sorter: Any = None) -> Array:
    """numpy.searchsorted."""
    if side not in ("left", "right"):
        raise wrong(f"side must be 'left' or 'right' (got {side!r})")
    table, values = lifted(a, v)
    if table.ndim != 1:
        raise wrong(f"searchsorted: expected a table of one axis, got shape {table.shape}")
    if sorter is not None:
        table = take(table, sorter)
    dtype = common_type([table.dtype, values.dtype], "searchsorted")
    dtype = np.dtype(np.int32) if dtype.kind == "b" else dtype
    trace = trace_of((table, values))
    table, values = (cast(trace.wrap(trace.value_of(operand)), dtype) for operand in (table, values))
    return emit(table, "searchsorted", values, attributes=SearchSorted(0, side == "right"))


def digitize(x: Any, bins: Any, right: bool = False) -> Array:
    """numpy.digitize. Whether traced bins ascend is decided by their ends."""
    edges = bins if isinstance(bins, Tracer) else np.asarray(bins)
    if edges.ndim != 1:
        raise wrong(f"digitize: expected bins of one axis, got shape {edges.shape}")
    side, length = ("left" if right else "right"), edges.shape[0]

    def descending() -> Array:
        return length - searchsorted(edges[::-1], x, side)

    if isinstance(edges, Tracer):
        ascending = searchsorted(edges, x, side)
        return xp.where(edges[0] <= edges[-1], ascending, descending()) if length else ascending
    if np.all(edges[:-1] <= edges[1:]):
        return searchsorted(edges, x, side)
    if np.all(edges[:-1] >= edges[1:]):
        return descending()
    raise wrong("bins must be monotonically increasing or decreasing")


TABLE: Table = {
    np.sort: sort,
    np.argsort: argsort,
    np.partition: _partitioned(sorted_along),
    np.argpartition: _partitioned(_order_of),
    np.lexsort: lexsort,
    np.searchsorted: searchsorted,
    np.digitize: digitize,
}
