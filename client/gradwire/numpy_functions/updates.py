"""Arrays with some elements replaced: what ``x[index] = values`` would do, as functions that return a new array.

Indices mean what they mean in numpy, traced ones included; those out of range are dropped, and at repeated ones sums,
products and extrema take all updates, `set` the last. An element that was replaced has no part in a derivative.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gradwire.numpy_functions.indexing import getitem
from gradwire.numpy_functions.operands import Array, broadcast, cast, emit, lifted, trace_of, wrong, xp
from gradwire.tracing.stand_in import StandIn
from gradwire.tracing.trace import Tracer
from gradwire_engine import vocabulary
from gradwire_engine.attributes import Scatter
from gradwire_engine.types import DType

__all__ = ["at_add", "at_max", "at_min", "at_multiply", "at_set"]

Combine = Callable[[Any, Any], Any]


def at_set(x: Any, index: Any, values: Any) -> Array:
    """x with ``x[index] = values``; of several updates of one element the last counts."""
    return _updated(x, index, values, lambda old, new: new, _write)


def at_add(x: Any, index: Any, values: Any) -> Array:
    """x with the values added at ``x[index]``; repeated indices accumulate."""
    return _updated(x, index, values, np.add, np.add.at)


def at_multiply(x: Any, index: Any, values: Any) -> Array:
    """x multiplied with the values at ``x[index]``, repeatedly at repeated indices."""
    return _updated(x, index, values, np.multiply, np.multiply.at)


def at_min(x: Any, index: Any, values: Any) -> Array:
    """x where ``x[index]`` is the minimum of itself and the values."""
    return _updated(x, index, values, np.minimum, np.minimum.at)


def at_max(x: Any, index: Any, values: Any) -> Array:
    """x where ``x[index]`` is the maximum of itself and the values."""
    return _updated(x, index, values, np.maximum, np.maximum.at)


def _write(array: Any, index: Any, values: Any) -> None:
    array[index] = values


def _updated(x: Any, index: Any, values: Any, combine: Combine, in_place: Callable[[Any, Any, Any], None]) -> Array:
    parts = index if isinstance(index, tuple) else (index,)
    if not any(isinstance(operand, Tracer) for operand in (x, values, *parts)):
        result = np.array(x)
        in_place(result, index, np.asarray(values).astype(result.dtype))
        return result
    trace = trace_of((x, values, *parts))
    array, updates = (trace.wrap(trace.value_of(operand)) for operand in (x, values))
    kind = array.dtype
    array, updates = (cast(operand, np.dtype(np.int32) if kind.kind == "b" else kind) for operand in (array, updates))
    if isinstance(index, Tracer) and index.dtype.kind == "b":
        return cast(_where(array, index, updates, combine), kind)
    positions = _positions(array, index)
    if broadcast_fails(updates.shape, xp.shape(positions)):
        raise wrong(f"values of shape {updates.shape} do not fit x[index] of shape {xp.shape(positions)}")
    flat = xp.ravel(broadcast(updates, xp.shape(positions)))
    return cast(_combined(array, xp.ravel(positions), flat, combine), kind)


def broadcast_fails(shape: tuple[int, ...], target: tuple[int, ...]) -> bool:
    """Whether numpy would not broadcast one shape to the other."""
    return len(shape) > len(target) or any(a not in (1, b) for a, b in zip(shape[::-1], target[::-1], strict=False))


def _where(x: Tracer, mask: Tracer, updates: Tracer, combine: Combine) -> Array:
    """A traced mask, with one update for all places where it holds."""
    rest = x.shape[mask.ndim :]
    if mask.shape != x.shape[: mask.ndim] or broadcast_fails(updates.shape, rest):
        raise wrong(
            f"a traced mask of shape {mask.shape} and values of shape {updates.shape} do not fit an array of shape "
            f"{x.shape}: how many elements it selects is not known, so the values must be one for all of them"
        )
    chosen = xp.broadcast_to(xp.reshape(mask, (*mask.shape, *(1,) * len(rest))), x.shape)
    return xp.where(chosen, combine(x, xp.broadcast_to(updates, x.shape)), x)


def _positions(x: Tracer, index: Any) -> Any:
    """The position in C order of every element of ``x[index]``; the number of elements for one out of range."""
    parts = index if isinstance(index, tuple) else (index,)
    if not any(isinstance(part, Tracer) for part in parts):
        return np.asarray(np.arange(x.size).reshape(x.shape)[index])
    numbers = vocabulary.iota(x._trace.builder, DType.INT64, (x.size,), 0)
    numbered = getitem(x._trace.wrap(vocabulary.reshape(numbers + 1, x.shape)), index)
    return xp.where(numbered == 0, x.size, numbered - 1)


def _combined(x: Tracer, positions: Any, updates: Tracer, combine: Combine) -> Array:
    if combine is np.add:
        return x + _scattered(updates, positions, x.shape)
    if positions.shape[0] > 1:
        positions, updates = _one_for_each(positions, updates, combine, x.size)
    landed = _scattered(updates, positions, x.shape)
    touched = _scattered(xp.ones_like(updates, dtype=np.int32), positions, x.shape) > 0
    return xp.where(touched, combine(x, landed), x)


def _scattered(updates: Tracer, positions: Any, shape: tuple[int, ...]) -> Any:
    """Updates added into zeros."""
    updates, where = lifted(updates, xp.expand_dims(positions, -1))
    size = int(np.prod(shape))
    return xp.reshape(emit(updates, "scatter_add", where, attributes=Scatter(0, 0, (size,))), shape)


def _one_for_each(positions: Any, updates: Tracer, combine: Combine, size: int) -> tuple[Any, Tracer]:
    """Updates of the same place combined into the last one; the others are sent out of range.

    In the order of places, by doubling: after k rounds each update holds the last 2**k of its place.
    """
    order = xp.argsort(positions, kind="stable")
    positions, updates = xp.take(positions, order), xp.take(updates, order)
    step = 1
    while isinstance(combine, np.ufunc) and step < positions.shape[0]:
        same = positions[step:] == positions[:-step]
        more = xp.where(same, combine(updates[:-step], updates[step:]), updates[step:])
        updates = xp.concatenate([updates[:step], more])
        step *= 2
    final = xp.concatenate([positions[1:] != positions[:-1], [True]])
    return xp.where(final, positions, size), updates


class At:
    """``x.at[index]``: the updates of a traced array by the names that JAX gives them."""

    def __init__(self, x: StandIn, index: Any = None) -> None:
        self._x = x
        self._index = index

    def __getitem__(self, index: Any) -> At:
        return At(self._x, index)

    def set(self, values: Any) -> Array:
        """The array with these values there."""
        return at_set(self._x, self._index, values)

    def add(self, values: Any) -> Array:
        """The array with the values added there."""
        return at_add(self._x, self._index, values)

    def multiply(self, values: Any) -> Array:
        """The array multiplied with the values there."""
        return at_multiply(self._x, self._index, values)

    def min(self, values: Any) -> Array:
        """The array with the minimum of itself and the values there."""
        return at_min(self._x, self._index, values)

    def max(self, values: Any) -> Array:
        """The array with the maximum of itself and the values there."""
        return at_max(self._x, self._index, values)
