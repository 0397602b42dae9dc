"""Functions that put arrays together or take them apart: concatenate and its kin, split, tile, repeat, pad."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from gradwire.numpy_functions.operands import (
    Array,
    Table,
    as_dtype,
    axis_of,
    broadcast,
    broadcast_shapes,
    cast,
    integer,
    lift,
    lifted,
    promoted,
    require_default,
    shape_of,
    trace_of,
    value_as,
    wrong,
    xp,
)
from gradwire.tracing.complaints import unsupported_argument
from gradwire.tracing.trace import Tracer
from gradwire_engine import vocabulary
from gradwire_engine.attributes import Pad


def _arrays(arrays: Any, what: str) -> list[Any]:
    """The operands of a join; numbers among them are arrays here, as in numpy."""
    if isinstance(arrays, (Tracer, np.ndarray)):
        arrays = list(arrays)
    if not len(arrays):
        raise wrong(f"need at least one array to {what}")
    return [np.asarray(array) if isinstance(array, (int, float, list, tuple)) else array for array in arrays]


def concatenate(arrays: Any, /, axis: Any = 0, out: Any = None, *, dtype: Any = None, casting: Any = None) -> Array:
    """numpy.concatenate."""
    require_default("concatenate", out=out)
    parts = promoted(_arrays(arrays, "concatenate"), "concatenate")
    if dtype is not None:
        parts = [cast(part, as_dtype(dtype)) for part in parts]
    if axis is None:
        parts, axis = [xp.ravel(part) for part in parts], 0
    along = axis_of(axis, parts[0].ndim) if parts[0].ndim else 0
    rests = {part.shape[:along] + part.shape[along + 1 :] if part.ndim else None for part in parts}
    if len(rests) != 1 or None in rests or len({part.ndim for part in parts}) != 1:
        shapes = ", ".join(str(part.shape) for part in parts)
        raise wrong(f"concatenate: shapes {shapes} must be equal but for axis {along}, with at least one axis")
    if len(parts) == 1:
        return parts[0]
    return parts[0]._trace.wrap(vocabulary.concat([part._value for part in parts], along))


def stack(arrays: Any, axis: Any = 0, out: Any = None, *, dtype: Any = None, casting: Any = None) -> Array:
    """numpy.stack."""
    require_default("stack", out=out)
    parts = promoted(_arrays(arrays, "stack"), "stack")
    if len({part.shape for part in parts}) != 1:
        raise wrong(f"all input arrays must have the same shape, got {', '.join(str(part.shape) for part in parts)}")
    along = axis_of(axis, parts[0].ndim + 1)
    return concatenate([xp.expand_dims(part, along) for part in parts], along, dtype=dtype)


def _vstack(tup: Any, *, dtype: Any = None, casting: Any = None) -> Array:
    return concatenate([xp.atleast_2d(array) for array in _arrays(tup, "stack")], 0, dtype=dtype)


def _hstack(tup: Any, *, dtype: Any = None, casting: Any = None) -> Array:
    parts = [xp.atleast_1d(array) for array in _arrays(tup, "stack")]
    return concatenate(parts, 0 if parts[0].ndim == 1 else 1, dtype=dtype)


def _dstack(tup: Any) -> Array:
    return concatenate([xp.atleast_3d(array) for array in _arrays(tup, "stack")], 2)


def _column_stack(tup: Any) -> Array:
    parts = [array if xp.ndim(array) > 1 else xp.reshape(array, (-1, 1)) for array in _arrays(tup, "stack")]
    return concatenate(parts, 1)


def _block(arrays: Any) -> Any:
    """numpy.block: nested lists, innermost along the last axis."""

    def depth_of(part: Any) -> int:
        return 1 + max((depth_of(inner) for inner in part), default=0) if isinstance(part, list) else 0

    depth = depth_of(arrays)
    rank = max(depth, _block_rank(arrays))

    def joined(part: Any, level: int) -> Any:
        if not isinstance(part, list):
            return xp.reshape(part, (1,) * (rank - xp.ndim(part)) + xp.shape(part))
        return concatenate([joined(inner, level + 1) for inner in part], axis=rank - depth + level)

    return joined(arrays, 0)


def _block_rank(part: Any) -> int:
    return max((_block_rank(inner) for inner in part), default=0) if isinstance(part, list) else xp.ndim(part)


def _append(arr: Any, values: Any, axis: Any = None) -> Array:
    if axis is None:
        return concatenate([xp.ravel(arr), xp.ravel(values)], 0)
    return concatenate([arr, values], axis)


def array_split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Any]:
    """numpy.array_split."""
    x = lift(ary)
    along = axis_of(axis, x.ndim)
    length = x.shape[along]
    if isinstance(indices_or_sections, (tuple, list, np.ndarray)):
        ends = [integer(index, "indices") for index in indices_or_sections]
    else:
        sections = integer(indices_or_sections, "sections")
        if sections <= 0:
            raise wrong("number sections must be larger than 0")
        each, longer = divmod(length, sections)
        ends = [each * i + min(i, longer) for i in range(1, sections)]
    before = (slice(None),) * along
    return [x[(*before, slice(a, b))] for a, b in zip([0, *ends], [*ends, length], strict=True)]


def split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Any]:
    """numpy.split."""
    x = lift(ary)
    if not isinstance(indices_or_sections, (tuple, list, np.ndarray)):
        length = x.shape[axis_of(axis, x.ndim)]
        if length % integer(indices_or_sections, "sections"):
            raise wrong(f"array split of {length} into {indices_or_sections} does not result in an equal division")
    return array_split(x, indices_or_sections, axis)


def _hsplit(ary: Any, indices_or_sections: Any) -> list[Any]:
    return split(ary, indices_or_sections, 1 if xp.ndim(ary) > 1 else 0)


def _unstack(x: Any, /, *, axis: int = 0) -> tuple[Any, ...]:
    return tuple(xp.moveaxis(lift(x), axis, 0))


def tile(A: Any, reps: Any) -> Array:
    """numpy.tile."""
    x = lift(A)
    times = shape_of(reps, "reps")
    rank = max(x.ndim, len(times))
    shape = (1,) * (rank - x.ndim) + x.shape
    times = (1,) * (rank - len(times)) + times
    spread = xp.reshape(x, [n for length in shape for n in (1, length)])
    spread = broadcast(lift(spread), tuple(n for pair in zip(times, shape, strict=True) for n in pair))
    return xp.reshape(spread, [a * b for a, b in zip(times, shape, strict=True)])


def repeat(a: Any, repeats: Any, axis: Any = None) -> Array:
    """numpy.repeat with known counts."""
    x = lift(a)
    if axis is None:
        x, axis = xp.ravel(x), 0
    along = axis_of(axis, x.ndim)
    if isinstance(repeats, Tracer):
        integer(repeats, "repeats")
    if xp.ndim(repeats) == 0 or len(repeats) == 1:
        count = integer(xp.ravel(repeats)[0], "repeats")
        spread = xp.expand_dims(x, along + 1)
        shape = (*x.shape[: along + 1], count, *x.shape[along + 1 :])
        whole = broadcast(lift(spread), shape)
        return xp.reshape(whole, (*x.shape[:along], x.shape[along] * count, *x.shape[along + 1 :]))
    if len(repeats) != x.shape[along]:
        raise wrong(f"repeat: {len(repeats)} counts for an axis of length {x.shape[along]}")
    return xp.take(x, xp.repeat(xp.arange(x.shape[along]), repeats), axis=along)


_BY_INDEX = ("edge", "wrap", "reflect", "symmetric")


def pad(array: Any, pad_width: Any, mode: Any = "constant", **options: Any) -> Array:
    """numpy.pad with constant, edge, wrap, reflect, symmetric."""
    x = lift(array)
    if mode in _BY_INDEX:
        for axis, width in enumerate(_pairs(pad_width, x.ndim, "pad_width")):
            if any(width):
                if not x.shape[axis]:
                    raise wrong(f"can't extend empty axis {axis} using mode {mode!r}")
                indices = xp.pad(xp.arange(x.shape[axis]), width, mode, **options)
                x = xp.take(x, indices, axis=axis)
        return x
    if mode == "empty":
        mode, options = "constant", {}
    if mode != "constant":
        raise unsupported_argument("pad", f"mode={mode!r}", f"write mode='constant' or one of {_BY_INDEX}")
    widths = _pairs(pad_width, x.ndim, "pad_width")
    if min((n for pair in widths for n in pair), default=0) < 0:
        raise wrong("index can't contain negative values in pad_width")
    fills = options.pop("constant_values", 0)
    if isinstance(fills, Tracer) or xp.ndim(fills) == 0:
        return _padded(x, widths, fills)
    for axis, pair in enumerate(_pairs(fills, x.ndim, "constant_values", as_is=True)):
        for side, fill in enumerate(pair):
            only = [
                (widths[axis][0] * (side == 0), widths[axis][1] * (side == 1)) if other == axis else (0, 0)
                for other in range(x.ndim)
            ]
            x = _padded(x, only, fill)
    return x


def _padded(x: Tracer, widths: Sequence[tuple[int, int]], fill: Any) -> Array:
    trace = trace_of((x, fill))
    value = trace.value_of(x)
    number = value_as(trace, fill, x.dtype)
    attributes = Pad(tuple(a for a, _ in widths), tuple(b for _, b in widths), (0,) * x.ndim)
    return trace.wrap(value.emit("pad", number, attributes=attributes))


def _pairs(given: Any, rank: int, what: str, as_is: bool = False) -> list[tuple[Any, Any]]:
    """One pair for each axis, from numpy's forms: one number, a pair, one pair in a list, or one for each axis."""
    if isinstance(given, dict):
        found: list[Any] = [(0, 0)] * rank
        for axis, pair in given.items():
            found[axis_of(axis, rank)] = pair if isinstance(pair, (tuple, list)) else (pair, pair)
        return [(integer(a, what), integer(b, what)) for a, b in found]
    try:
        whole = xp.broadcast_to(np.asarray(given), (rank, 2))
    except ValueError:
        raise wrong(f"{what}={given!r} does not fit an array of {rank} axes") from None
    return [(a, b) if as_is else (integer(a, what), integer(b, what)) for a, b in whole]


def _meshgrid(*xi: Any, copy: bool = True, sparse: bool = False, indexing: str = "xy") -> tuple[Any, ...]:
    """numpy.meshgrid."""
    rank = len(xi)
    arrays = [xp.ravel(array) for array in xi]
    axes = [1, 0, *range(2, rank)] if indexing == "xy" and rank > 1 else list(range(rank))
    spread = [
        xp.reshape(array, [-1 if i == axis else 1 for i in range(rank)])
        for array, axis in zip(arrays, axes, strict=True)
    ]
    if sparse:
        return tuple(spread)
    shape = broadcast_shapes(*[array.shape for array in spread])
    return tuple([xp.broadcast_to(array, shape) for array in spread])


def _delete(arr: Any, obj: Any, axis: Any = None) -> Array:
    """numpy.delete with known places."""
    x = lift(arr)
    if axis is None:
        x, axis = xp.ravel(x), 0
    along = axis_of(axis, x.ndim)
    left = xp.delete(xp.arange(x.shape[along]), obj)
    return xp.take(x, left, axis=along)


def _insert(arr: Any, obj: Any, values: Any, axis: Any = None) -> Array:
    """numpy.insert before known places."""
    if isinstance(obj, Tracer):
        raise unsupported_argument("insert", "obj", "insert before a known place, or write it with np.where")
    x = lift(arr)
    if axis is None:
        x, axis = xp.ravel(x), -1
    along = axis_of(axis, x.ndim)
    positions = obj if isinstance(obj, slice) else np.asarray(obj)
    new = cast(lifted(x, values)[1], x.dtype)
    new = xp.reshape(new, (*(1,) * (x.ndim - new.ndim), *new.shape))
    if not isinstance(positions, slice) and positions.ndim == 0:
        new = xp.moveaxis(new, 0, along)
    several = np.arange(x.shape[along])[positions].size if isinstance(positions, slice) else positions.size
    count = new.shape[along] if several == 1 else several
    shape = [count if i == along else n for i, n in enumerate(x.shape)]
    numbers = x.shape[along] + np.arange(count)
    order = np.insert(np.arange(x.shape[along]), positions, numbers)  # where numpy puts them
    return xp.take(xp.concatenate([x, xp.broadcast_to(new, shape)], axis=along), order, axis=along)


def _resize(a: Any, new_shape: Any) -> Array:
    """numpy.resize: the elements, repeated as often as there is room."""
    x, shape = xp.ravel(lift(a)), shape_of(new_shape)
    if min(shape, default=0) < 0:
        raise wrong("all elements of `new_shape` must be non-negative")
    if not x.size:
        return xp.zeros_like(x, shape=shape)
    return xp.reshape(x[np.arange(math.prod(shape)) % x.size], shape)


TABLE: Table = {
    np.concatenate: concatenate,
    np.stack: stack,
    np.vstack: _vstack,
    np.hstack: _hstack,
    np.dstack: _dstack,
    np.column_stack: _column_stack,
    np.block: _block,
    np.append: _append,
    np.array_split: array_split,
    np.split: split,
    np.vsplit: lambda ary, indices_or_sections: split(ary, indices_or_sections, 0),
    np.hsplit: _hsplit,
    np.dsplit: lambda ary, indices_or_sections: split(ary, indices_or_sections, 2),
    np.unstack: _unstack,
    np.tile: tile,
    np.repeat: repeat,
    np.pad: pad,
    np.meshgrid: _meshgrid,
    np.delete: _delete,
    np.insert: _insert,
    np.resize: _resize,
}
