"""``x[…]``: slices become slice and flip, index arrays a gather.

Index arrays that are known are checked here, as numpy does. Traced ones cannot be: a negative index counts from the
end, once, and one out of range reads NaN (0 for integers, false for bool).
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from gradwire.errors import OutOfRangeError, TracingError
from gradwire.numpy_functions.operands import (
    Array,
    broadcast,
    broadcast_shapes,
    cast,
    lift,
    lifted,
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
    array, advanced, standing = _sliced(array, parts, arrays)
    return _looked_up(array, advanced, standing) if advanced else array


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
            arrays = _arrays_of(part, x.shape[used:])
            parts.extend(arrays)
            used += len(arrays)
    if used > x.ndim:
        raise OutOfRangeError(
            at_user_line(f"too many indices for array: array is {x.ndim}-dimensional, but {used} were indexed")
        )
    rest: list[Any] = [slice(None)] * (x.ndim - used)
    if ellipsis >= 0 and not rest:
        rest = [Ellipsis]
    position = len(parts) if ellipsis < 0 else ellipsis
    return parts[:position] + rest + parts[position:]


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
                _Advanced(len(shape), known if isinstance(part, (int, Tracer)) else in_range(part, axis, length))
            )
            positions.append(position)
            first, end, step = 0, length, 1
            shape.append(length)
        start.append(first)
        limit.append(end)
        stride.append(step)
        axis += 1
    value = x._value
    if any(start) or any([a != b for a, b in zip(limit, x.shape, strict=True)]) or any([step != 1 for step in stride]):
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


def in_range(indices: np.ndarray, axis: int, length: int) -> Any:
    """Known indices counted from the front; OutOfRangeError where one is out of bounds."""
    if indices.size and not (indices.min() >= -length and indices.max() < length):
        bad = indices[(indices < -length) | (indices >= length)].flat[0]
        raise OutOfRangeError(at_user_line(f"index {bad} is out of bounds for axis {axis} with size {length}"))
    return xp.where(indices < 0, indices + length, indices)


def _looked_up(x: Tracer, advanced: Sequence[_Advanced], standing: tuple[bool, int]) -> Array:
    """Index arrays applied to the axes where they stand."""
    together, offset = standing
    axes = [part.axis for part in advanced]
    known: list[Any] = [part.index for part in advanced]
    if not together:
        x = xp.moveaxis(x, axes, range(len(axes)))
        offset = 0
    shape = broadcast_shapes(*[xp.shape(index) for index in known])
    if any(isinstance(index, Tracer) for index in known):
        x, *indices = lifted(x, *known)
        columns = [broadcast(cast(index, _INT64), shape) for index in indices]
        where: Any = xp.stack(columns, axis=-1)
    else:
        where = xp.stack([xp.broadcast_to(index, shape) for index in known], axis=-1)
    return gathered(x, where, Gather(0, offset))


def gathered(x: Tracer, indices: Any, attributes: Gather) -> Array:
    """A gather, at indices that may be known."""
    array, where = lifted(x, indices)
    return array._trace.wrap(vocabulary.gather(array._value, where._value, attributes))
