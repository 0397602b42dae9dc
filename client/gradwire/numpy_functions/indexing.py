"""``x[…]``, take, take_along_axis, choose: slices become slice and flip, index arrays a gather.

Index arrays that are known are checked here, as numpy does. Traced ones cannot be: a negative index counts from the
end, once, and one out of range reads NaN (0 for integers, false for bool).
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from gradwire.errors import OutOfRangeError, TracingError
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
from gradwire.tracing.locations import at_user_line
from gradwire.tracing.stand_in import StandIn
from gradwire.tracing.trace import Tracer
from gradwire_engine import vocabulary
from gradwire_engine.attributes import Gather

Index = Any
_INT64 = np.dtype(np.int64)


class _Advanced(NamedTuple):
    """An index array for one axis of the operand."""

    axis: int
    index: Any
    """A concrete integer array, or a traced integer."""


def getitem(x: StandIn, index: Index) -> Array:
    """``x[index]`` with numpy's meaning."""
    array = lift(x)
    parts = _expanded(array, index if type(index) is tuple else (index,))
    arrays = any([isinstance(part, (np.ndarray, Tracer)) for part in parts])
    array, advanced, places = _sliced(array, parts, arrays)
    return _gathered(array, advanced, places) if advanced else array


def _expanded(x: Tracer, index: Sequence[Index]) -> list[Any]:
    """One part for each axis, and None for each new one: slices, ints, integer arrays; masks become index arrays.

    An ellipsis that stands for no axis stays: it keeps the index arrays on its sides apart.
    """
    parts: list[Any] = []
    ellipsis = -1
    used = 0
    for part in index:
        if part is None:
            parts.append(None)
        elif part is Ellipsis:
            if ellipsis >= 0:
                raise wrong("an index can only have a single ellipsis ('...')")
            ellipsis = len(parts)
        elif isinstance(part, slice):
            parts.append(part)
            used += 1
        else:
            found = _arrays_of(part, x.shape[used:])
            parts.extend(found)
            used += len(found)
    if used > x.ndim:
        raise OutOfRangeError(
            at_user_line(f"too many indices for array: array is {x.ndim}-dimensional, but {used} were indexed")
        )
    rest: list[Any] = [slice(None)] * (x.ndim - used)
    if ellipsis >= 0 and not rest:
        rest = [Ellipsis]
    place = len(parts) if ellipsis < 0 else ellipsis
    return parts[:place] + rest + parts[place:]


def _arrays_of(part: Index, shape: tuple[int, ...]) -> list[Any]:
    """What stands for one entry of an index: an int, an integer array, or the index arrays of a mask."""
    if isinstance(part, Tracer):
        if part.dtype.kind == "b":
            raise complaints.error("shape_of_values", part._value.type)
        if part.dtype.kind != "i":
            raise OutOfRangeError(at_user_line(f"arrays used as indices must be of integer type, got {part.dtype}"))
        return [part]
    if isinstance(part, (bool, np.bool_)):
        raise TracingError(at_user_line("x[True] and x[False] are not supported; write np.where"))
    if isinstance(part, (int, np.integer)):
        return [int(part)]
    array = np.asarray(part)
    if array.size == 0 and isinstance(part, (list, tuple)):
        array = array.astype(np.int64)
    if array.dtype.kind == "b":
        if array.shape != shape[: array.ndim]:
            raise OutOfRangeError(
                at_user_line(f"boolean index of shape {array.shape} did not match indexed array of shape {shape}")
            )
        return list(xp.nonzero(array))
    if array.dtype.kind not in "iu":
        try:
            return [operator.index(part)]
        except TypeError:
            raise OutOfRangeError(
                at_user_line(
                    "only integers, slices (`:`), ellipsis (`...`), np.newaxis (`None`) and integer or boolean arrays "
                    f"are valid indices, got {part!r}"
                )
            ) from None
    return [array.astype(np.int64) if array.ndim else int(array)]


def _sliced(x: Tracer, parts: Sequence[Any], arrays: bool) -> tuple[Tracer, list[_Advanced], tuple[bool, int]]:
    """Slices, new axes and (without index arrays) integers applied.

    With index arrays, integers are among them: then also the axis of the result at which each stands, and whether
    they stand side by side, with the first one's place.
    """
    start, limit, stride = [], [], []
    flipped: list[int] = []
    shape: list[int] = []
    advanced: list[_Advanced] = []
    positions: list[int] = []
    axis = 0
    for position, part in enumerate(parts):
        if part is Ellipsis:
            continue
        if part is None:
            shape.append(1)
            continue
        length = x.shape[axis]
        if isinstance(part, slice):
            first, end, step, count, backwards = _box(part, length)
            if backwards:
                flipped.append(axis)
            shape.append(count)
        elif isinstance(part, int) and not arrays:
            first = _checked(part, axis, length)
            end, step = first + 1, 1
        else:
            known = np.asarray(_checked(part, axis, length)) if isinstance(part, int) else part
            advanced.append(
                _Advanced(len(shape), known if isinstance(part, (int, Tracer)) else _in_range(part, axis, length))
            )
            positions.append(position)
            first, end, step = 0, length, 1
            shape.append(length)
        start.append(first)
        limit.append(end)
        stride.append(step)
        axis += 1
    value = x._value
    if any(start) or any([a != b for a, b in zip(limit, x.shape, strict=True)]) or any([one != 1 for one in stride]):
        value = vocabulary.slice_of(value, start, limit, stride)
    if flipped:
        value = vocabulary.flip(value, flipped)
    value = vocabulary.reshape(value, tuple(shape))
    together = bool(positions) and positions[-1] - positions[0] == len(positions) - 1
    return x._trace.wrap(value), advanced, (together, advanced[0].axis if advanced else 0)


def _box(part: slice, length: int) -> tuple[int, int, int, int, bool]:
    """A slice as start, limit, stride >= 1, number of elements, and whether they are to be reversed."""
    try:
        start, stop, step = part.indices(length)
    except TracingError:
        raise
    except TypeError:
        raise OutOfRangeError(at_user_line(f"slice indices must be integers or None, got {part}")) from None
    except ValueError:
        raise wrong("slice step cannot be zero") from None
    count = len(range(start, stop, step))
    if count == 0:
        return 0, 0, 1, 0, False
    if step > 0:
        return start, start + (count - 1) * step + 1, step, count, False
    return start + (count - 1) * step, start + 1, -step, count, True


def _checked(index: int, axis: int, length: int) -> int:
    if not -length <= index < length:
        raise OutOfRangeError(at_user_line(f"index {index} is out of bounds for axis {axis} with size {length}"))
    return index % length


def _in_range(indices: np.ndarray, axis: int, length: int) -> Any:
    if indices.size and not (indices.min() >= -length and indices.max() < length):
        bad = indices[(indices < -length) | (indices >= length)].flat[0]
        raise OutOfRangeError(at_user_line(f"index {bad} is out of bounds for axis {axis} with size {length}"))
    return xp.where(indices < 0, indices + length, indices)


def _gathered(x: Tracer, advanced: Sequence[_Advanced], places: tuple[bool, int]) -> Array:
    """Index arrays applied to the axes where they stand."""
    together, offset = places
    axes = [one.axis for one in advanced]
    if not together:
        x = xp.moveaxis(x, axes, range(len(axes)))
        offset = 0
    shape = broadcast_shapes(*[xp.shape(one.index) for one in advanced])
    if any(isinstance(one.index, Tracer) for one in advanced):
        x, *indices = lifted(x, *[one.index for one in advanced])
        columns = [broadcast(cast(one, _INT64), shape) for one in indices]
        where: Any = xp.stack(columns, axis=-1)
    else:
        where = xp.stack([xp.broadcast_to(one.index, shape) for one in advanced], axis=-1)
    return _gather(x, where, Gather(0, offset))


def _gather(x: Tracer, indices: Any, attributes: Gather) -> Array:
    array, where = lifted(x, indices)
    return array._trace.wrap(vocabulary.gather(array._value, where._value, attributes))


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
        _in_range(np.asarray(indices, dtype=np.int64), along, x.shape[along])
    x, where = xp.moveaxis(x, along, -1), xp.moveaxis(cast(where, _INT64), along, -1)
    shape = broadcast_shapes(x.shape[:-1], where.shape[:-1])
    x, where = broadcast(x, (*shape, x.shape[-1])), broadcast(where, (*shape, where.shape[-1]))
    found = _gather(x, xp.expand_dims(where, -1), Gather(len(shape), 0))
    return xp.moveaxis(found, -1, along)


def choose(a: Any, choices: Any, out: Any = None, mode: str = "raise") -> Array:
    """numpy.choose: element by element, one of several arrays."""
    require_default("choose", out=out)
    options = promoted(list(choices), "choose")
    where = _require_integers(a)
    if mode == "wrap":
        where = where % len(options)
    elif mode == "clip":
        where = xp.clip(where, 0, len(options) - 1)
    shape = broadcast_shapes(xp.shape(where), *[one.shape for one in options])
    table = xp.stack([xp.broadcast_to(one, shape) for one in options])
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
    found: Any = 0
    for part, length in zip(parts, dims, strict=True):
        found = found * length + cast(part, _INT64)
    return found


def _unravel_index(indices: Any, shape: Any, order: str = "C") -> tuple[Array, ...]:
    """numpy.unravel_index; indices out of range are not noticed."""
    if order != "C":
        raise complaints.unsupported_argument("unravel_index", "order")
    rest, found = cast(lift(_require_integers(indices)), _INT64), []
    for length in reversed(shape if isinstance(shape, (tuple, list)) else (shape,)):
        found.append(rest % length)
        rest = rest // length
    return tuple(found[::-1])


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
