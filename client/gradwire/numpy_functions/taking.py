"""Elements taken by their indices: take and its kin, and indices that only a shape decides.

Known indices are checked, as numpy does; traced ones mean what they mean in ``x[…]``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gradwire.numpy_functions.indexing import gathered, getitem, in_range
from gradwire.numpy_functions.operands import (
    Array,
    Table,
    axis_of,
    broadcast,
    broadcast_shapes,
    cast,
    lift,
    lifted,
    promoted,
    require_default,
    wrong,
    xp,
)
from gradwire.tracing import complaints
from gradwire.tracing.trace import Tracer
from gradwire_engine.attributes import Gather

_INT64 = np.dtype(np.int64)


def _require_integers(indices: Any) -> Any:
    if isinstance(indices, Tracer):
        if indices.dtype.kind != "i":
            raise wrong(f"indices must be of integer type, got {indices.dtype}")
        return indices
    array = np.asarray(indices)
    if array.size == 0:
        array = array.astype(np.int64)
    if array.dtype.kind not in "iu":
        raise wrong(f"indices must be of integer type, got {array.dtype}")
    return array.astype(np.int64)


def take(a: Any, indices: Any, axis: Any = None, out: Any = None, mode: str = "raise") -> Array:
    """numpy.take."""
    require_default("take", out=out)
    x = lift(a)
    if axis is None:
        x, axis = xp.ravel(x), 0
    along = axis_of(axis, x.ndim)
    where = _require_integers(indices)
    if mode == "wrap":
        where = where % x.shape[along]
    elif mode == "clip":
        where = xp.clip(where, 0, x.shape[along] - 1)
    return getitem(x, (*(slice(None),) * along, where))


def take_along_axis(arr: Any, indices: Any, axis: Any = -1) -> Array:
    """numpy.take_along_axis: a gather whose other axes are shared."""
    x, where = lifted(arr, _require_integers(indices))
    if axis is None:
        x, axis = xp.ravel(x), 0
    if where.ndim != x.ndim:
        raise wrong("`indices` and `arr` must have the same number of dimensions")
    along = axis_of(axis, x.ndim)
    if not isinstance(indices, Tracer):
        in_range(np.asarray(indices, dtype=np.int64), along, x.shape[along])
    x, where = xp.moveaxis(x, along, -1), xp.moveaxis(cast(where, _INT64), along, -1)
    shape = broadcast_shapes(x.shape[:-1], where.shape[:-1])
    x, where = broadcast(x, (*shape, x.shape[-1])), broadcast(where, (*shape, where.shape[-1]))
    elements = gathered(x, xp.expand_dims(where, -1), Gather(len(shape), 0))
    return xp.moveaxis(elements, -1, along)


def choose(a: Any, choices: Any, out: Any = None, mode: str = "raise") -> Array:
    """numpy.choose: element by element, one of several arrays."""
    require_default("choose", out=out)
    options = promoted(list(choices), "choose")
    where = _require_integers(a)
    if mode == "wrap":
        where = where % len(options)
    elif mode == "clip":
        where = xp.clip(where, 0, len(options) - 1)
    shape = broadcast_shapes(xp.shape(where), *[option.shape for option in options])
    table = xp.stack([xp.broadcast_to(option, shape) for option in options])
    return take_along_axis(table, xp.broadcast_to(where, shape)[np.newaxis], 0)[0]


def _compress(condition: Any, a: Any, axis: Any = None, out: Any = None) -> Array:
    """numpy.compress by a known condition."""
    require_default("compress", out=out)
    if isinstance(condition, Tracer):
        raise complaints.error("shape_of_values", condition._value.type)
    return take(a, np.flatnonzero(condition), axis)


def _extract(condition: Any, arr: Any) -> Array:
    """numpy.extract by a known condition."""
    return _compress(condition if isinstance(condition, Tracer) else np.ravel(condition), arr)


def _of_shape(indices: Callable[..., Any]) -> Callable[..., Any]:
    """Indices that only the shape decides, as plain arrays."""

    def function(arr: Any, k: int = 0) -> Any:
        shape = xp.shape(arr)
        if len(shape) != 2:
            raise wrong("input array must be 2-d")
        return indices(shape[0], k, shape[1])

    return function


def _diag_indices_from(arr: Any) -> Any:
    """numpy.diag_indices_from."""
    shape = xp.shape(arr)
    if len(shape) < 2 or len(set(shape)) != 1:
        raise wrong("all dimensions of input must be of equal length, and at least two")
    return np.diag_indices(shape[0], len(shape))


def _ravel_multi_index(multi_index: Any, dims: Any, mode: str = "raise", order: str = "C") -> Array:
    """numpy.ravel_multi_index; indices out of range are not noticed."""
    if mode != "raise" or order != "C":
        raise complaints.unsupported_argument("ravel_multi_index", "mode and order")
    parts = lifted(*multi_index)
    if len(parts) != len(dims):
        raise wrong(f"parameter multi_index must be a sequence of length {len(dims)}")
    position: Any = 0
    for part, length in zip(parts, dims, strict=True):
        position = position * length + cast(part, _INT64)
    return position


def _unravel_index(indices: Any, shape: Any, order: str = "C") -> tuple[Array, ...]:
    """numpy.unravel_index; indices out of range are not noticed."""
    if order != "C":
        raise complaints.unsupported_argument("unravel_index", "order")
    rest, parts = cast(lift(_require_integers(indices)), _INT64), []
    for length in reversed(shape if isinstance(shape, (tuple, list)) else (shape,)):
        parts.append(rest % length)
        rest = rest // length
    return tuple(parts[::-1])


TABLE: Table = {
    np.take: take,
    np.take_along_axis: take_along_axis,
    np.choose: choose,
    np.compress: _compress,
    np.extract: _extract,
    np.tril_indices_from: _of_shape(np.tril_indices),
    np.triu_indices_from: _of_shape(np.triu_indices),
    np.diag_indices_from: _diag_indices_from,
    np.ravel_multi_index: _ravel_multi_index,
    np.unravel_index: _unravel_index,
}
