"""Functions that move elements of one array: reshape and its kin, transpositions, flips, parts of matrices."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradwire.numpy_functions.operands import (
    Array,
    Shape,
    Table,
    as_dtype,
    axes_of,
    axis_of,
    broadcast,
    broadcast_shapes,
    cast,
    entries,
    integer,
    lift,
    lifted,
    shape_of,
    wrong,
    xp,
)
from gradwire.tracing.complaints import unsupported_argument
from gradwire.tracing.trace import Tracer
from gradwire_engine import vocabulary
from gradwire_engine.value import Value


def _moved(x: Tracer, move: Callable[..., Value], *arguments: Any) -> Array:
    return x._trace.wrap(move(x._value, *arguments))


def reshape(a: Any, /, shape: Any = None, order: str = "C", *, newshape: Any = None, copy: Any = None) -> Array:
    """numpy.reshape, in C order."""
    x = lift(a)
    wanted = shape_of(newshape if shape is None else shape)
    if order == "F":
        return xp.transpose(reshape(xp.transpose(x), wanted[::-1]))
    if order not in ("C", "A"):
        raise unsupported_argument("reshape", f"order={order!r}", "write order='C' or 'F'")
    if wanted.count(-1) == 1:
        rest = math.prod(length for length in wanted if length != -1)
        if rest and x.size % rest == 0:
            wanted = tuple(x.size // rest if length == -1 else length for length in wanted)
    if math.prod(wanted) != x.size or min(wanted, default=0) < 0:
        raise wrong(f"cannot reshape array of size {x.size} into shape {wanted}")
    return _moved(x, vocabulary.reshape, wanted)


def ravel(a: Any, order: str = "C") -> Array:
    """numpy.ravel."""
    return reshape(a, -1 if xp.size(a) else (0,), "C" if order == "K" else order)


def transpose(a: Any, axes: Any = None) -> Array:
    """numpy.transpose."""
    x = lift(a)
    order = tuple(range(x.ndim))[::-1] if axes is None else tuple(axis_of(axis, x.ndim) for axis in axes)
    if sorted(order) != list(range(x.ndim)):
        raise wrong(f"axes {axes} don't match an array of dimension {x.ndim}")
    return _moved(x, vocabulary.permute_dims, order)


def swapaxes(a: Any, axis1: int, axis2: int) -> Array:
    """numpy.swapaxes."""
    x = lift(a)
    order = list(range(x.ndim))
    i, j = axis_of(axis1, x.ndim), axis_of(axis2, x.ndim)
    order[i], order[j] = j, i
    return transpose(x, order)


def moveaxis(a: Any, source: Any, destination: Any) -> Array:
    """numpy.moveaxis."""
    x = lift(a)
    sources = [axis_of(entry, x.ndim) for entry in entries(source)]
    targets = [axis_of(entry, x.ndim) for entry in entries(destination)]
    if len(sources) != len(targets) or len(set(sources)) != len(sources) or len(set(targets)) != len(targets):
        raise wrong(f"moveaxis: source {source} and destination {destination} must name as many different axes")
    order = [axis for axis in range(x.ndim) if axis not in sources]
    for target, axis in sorted(zip(targets, sources, strict=True)):
        order.insert(target, axis)
    return transpose(x, order)


def rollaxis(a: Any, axis: int, start: int = 0) -> Array:
    """numpy.rollaxis."""
    x = lift(a)
    along = axis_of(axis, x.ndim)
    target = start + x.ndim if start < 0 else start
    return moveaxis(x, along, target - 1 if along < target else target)


def matrix_transpose(x: Any, /) -> Array:
    """numpy.matrix_transpose."""
    array = lift(x)
    if array.ndim < 2:
        raise wrong(f"matrix transpose needs at least two axes, got shape {array.shape}")
    return swapaxes(array, -1, -2)


def expand_dims(a: Any, axis: Any) -> Array:
    """numpy.expand_dims."""
    x = lift(a)
    axes = entries(axis)
    positions = axes_of(axes, x.ndim + len(axes))
    return _moved(x, vocabulary.expand_dims, positions)


def squeeze(a: Any, axis: Any = None) -> Array:
    """numpy.squeeze."""
    x = lift(a)
    gone = [i for i, length in enumerate(x.shape) if length == 1] if axis is None else axes_of(axis, x.ndim)
    if any(x.shape[i] != 1 for i in gone):
        raise wrong(
            f"cannot select an axis to squeeze out which has size not equal to one: shape {x.shape}, axis {axis}"
        )
    return _moved(x, vocabulary.reshape, tuple(n for i, n in enumerate(x.shape) if i not in gone))


def broadcast_to(array: Any, shape: Any, subok: bool = False) -> Array:
    """numpy.broadcast_to."""
    return broadcast(lift(array), shape_of(shape))


def broadcast_arrays(*arrays: Any, subok: bool = False) -> tuple[Tracer, ...]:
    """numpy.broadcast_arrays."""
    tracers = lifted(*arrays)
    shape = broadcast_shapes(*[x.shape for x in tracers])
    return tuple([broadcast(x, shape) for x in tracers])


def _at_least(rank: int) -> Callable[..., Any]:
    def extended(array: Any) -> Array:
        x = lift(array)
        shape: Shape = x.shape
        if rank == 3 and len(shape) == 1:
            shape = (1, *shape, 1)
        elif rank == 3 and len(shape) == 2:
            shape = (*shape, 1)
        else:
            shape = (1,) * (rank - len(shape)) + shape
        return reshape(x, shape)

    def function(*arrays: Any) -> Any:
        results = tuple([extended(array) for array in arrays])
        return results[0] if len(results) == 1 else results

    return function


def flip(m: Any, axis: Any = None) -> Array:
    """numpy.flip."""
    x = lift(m)
    axes = axes_of(axis, x.ndim)
    return _moved(x, vocabulary.flip, axes) if axes else x


def _flip_along(axis: int) -> Callable[[Any], Array]:
    def function(m: Any) -> Array:
        x = lift(m)
        if x.ndim <= axis:
            raise wrong(f"flip along axis {axis} of an array of shape {x.shape}")
        return flip(x, axis)

    return function


def rot90(m: Any, k: int = 1, axes: Any = (0, 1)) -> Array:
    """numpy.rot90."""
    x = lift(m)
    first, second = (axis_of(axis, x.ndim) for axis in axes)
    if first == second:
        raise wrong(f"rot90: axes {axes} must be different")
    turns = integer(k, "k") % 4
    if turns == 0:
        return x
    if turns == 2:
        return flip(x, (first, second))
    return swapaxes(flip(x, second), first, second) if turns == 1 else flip(swapaxes(x, first, second), second)


def roll(a: Any, shift: Any, axis: Any = None) -> Array:
    """numpy.roll."""
    x = lift(a)
    if axis is None:
        return reshape(roll(ravel(x), int(xp.sum(shift)), 0), x.shape)
    for steps, entry in xp.broadcast(entries(shift), entries(axis)):
        along = axis_of(entry, x.ndim)
        length = x.shape[along]
        by = integer(steps, "shift") % length if length else 0
        if by:
            before = (slice(None),) * along
            parts = [x[(*before, slice(length - by, None))], x[(*before, slice(None, length - by))]]
            x = xp.concatenate(parts, axis=along)
    return x


# parts of matrices


def _triangle(keep_lower: bool) -> Callable[..., Array]:
    def function(m: Any, k: int = 0) -> Array:
        x = lift(m)
        if x.ndim == 1:
            x = broadcast(x, (x.shape[0], x.shape[0]))
        rows, columns = x.shape[-2:]
        lower = xp.tri(rows, columns, k if keep_lower else k - 1, dtype=bool)
        mask = xp.broadcast_to(lower if keep_lower else ~lower, x.shape)
        return xp.where(mask, x, xp.zeros((), dtype=x.dtype)[()])

    return function


def diagonal(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Array:
    """numpy.diagonal: a gather along two axes."""
    x = lift(a)
    if x.ndim < 2:
        raise wrong(f"diag requires an array of at least two dimensions, got shape {x.shape}")
    first, second = axis_of(axis1, x.ndim), axis_of(axis2, x.ndim)
    if first == second:
        raise wrong("diagonal: axis1 and axis2 cannot be the same")
    matrix = moveaxis(x, (first, second), (-2, -1))
    rows, columns = matrix.shape[-2:]
    start = (max(-offset, 0), max(offset, 0))
    count = max(min(rows - start[0], columns - start[1]), 0)
    steps = xp.arange(count)
    return matrix[..., steps + start[0], steps + start[1]]


def diag(v: Any, k: int = 0) -> Array:
    """numpy.diag: the diagonal of a matrix, or a matrix with that diagonal."""
    x = lift(v)
    if x.ndim == 2:
        return diagonal(x, k)
    if x.ndim != 1:
        raise wrong(f"diag: expected one or two axes, got shape {x.shape}")
    length = x.shape[0] + abs(k)
    padded = xp.pad(x, (max(k, 0), max(-k, 0)))  # column j of the diagonal, at each j
    return xp.where(xp.eye(length, k=k, dtype=bool), xp.broadcast_to(padded, (length, length)), x.dtype.type(0))


def trace(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None, out: Any = None) -> Array:
    """numpy.trace."""
    return xp.sum(diagonal(a, offset, axis1, axis2), axis=-1, dtype=dtype, out=out)


# types


def astype(x: Any, dtype: Any, /, order: Any = None, casting: Any = None, subok: Any = None, copy: Any = None) -> Array:
    """numpy.astype, and the method."""
    return cast(lift(x), as_dtype(dtype))


def _copied(a: Any, order: Any = None, subok: Any = None) -> Array:
    return lift(a)


def reshape_method(x: Tracer, *shape: Any, order: str = "C", copy: Any = None) -> Array:
    """``x.reshape(2, 3)`` and ``x.reshape((2, 3))``."""
    return reshape(x, shape[0] if len(shape) == 1 else shape, order)


def transpose_method(x: Tracer, *axes: Any) -> Array:
    """``x.transpose(1, 0)``, ``x.transpose((1, 0))`` and ``x.transpose()``."""
    if not axes or axes == (None,):
        return transpose(x)
    return transpose(x, axes[0] if len(axes) == 1 and isinstance(axes[0], Sequence) else axes)


TABLE: Table = {
    np.reshape: reshape,
    np.ravel: ravel,
    np.transpose: transpose,
    np.permute_dims: transpose,
    np.matrix_transpose: matrix_transpose,
    np.linalg.matrix_transpose: matrix_transpose,
    np.swapaxes: swapaxes,
    np.moveaxis: moveaxis,
    np.rollaxis: rollaxis,
    np.expand_dims: expand_dims,
    np.squeeze: squeeze,
    np.broadcast_to: broadcast_to,
    np.broadcast_arrays: broadcast_arrays,
    np.atleast_1d: _at_least(1),
    np.atleast_2d: _at_least(2),
    np.atleast_3d: _at_least(3),
    np.flip: flip,
    np.flipud: _flip_along(0),
    np.fliplr: _flip_along(1),
    np.rot90: rot90,
    np.roll: roll,
    np.tril: _triangle(True),
    np.triu: _triangle(False),
    np.diagonal: diagonal,
    np.linalg.diagonal: lambda x, /, *, offset=0: diagonal(x, offset, -2, -1),
    np.diag: diag,
    np.diagflat: lambda v, k=0: diag(ravel(v), k),
    np.trace: trace,
    np.linalg.trace: lambda x, /, *, offset=0, dtype=None: trace(x, offset, -2, -1, dtype),
    np.astype: astype,
    np.copy: _copied,
}
