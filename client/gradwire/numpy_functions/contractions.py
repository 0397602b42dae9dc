"""Sums of products: matmul, dot, tensordot, inner, outer, vecdot, kron, cross, and einsum's pairwise step.

All are `dot_general`, whose result has the shared axes, then the rest of x, then the rest of y. bool operands, which
numpy combines by "and" and "or", are computed as integers and turned back.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from gradwire.numpy_functions.linalg import identity_like, inv, require_square
from gradwire.numpy_functions.operands import (
    Array,
    Table,
    as_dtype,
    axis_of,
    broadcast,
    broadcast_shapes,
    cast,
    entries,
    integer,
    lift,
    lifted,
    promoted,
    require_default,
    wrong,
    xp,
)
from gradwire.tracing.complaints import unsupported_argument, unsupported_function
from gradwire.tracing.trace import Tracer
from gradwire_engine.attributes import DotGeneral
from gradwire_engine.vocabulary import dot_general


def contract(
    x: Tracer,
    y: Tracer,
    axes: tuple[Sequence[int], Sequence[int]],
    shared: tuple[Sequence[int], Sequence[int]] = ((), ()),
) -> Array:
    """dot_general of two tracers of one trace and type."""
    of_bools = x.dtype.kind == "b"
    if of_bools:
        x, y = cast(x, np.dtype(np.int32)), cast(y, np.dtype(np.int32))
    attributes = DotGeneral(tuple(axes[0]), tuple(axes[1]), tuple(shared[0]), tuple(shared[1]))
    result = x._trace.wrap(dot_general(x._value, y._value, attributes))
    return cast(result, np.dtype(bool)) if of_bools else result


def _require_equal(x: int, y: int, what: str, left: Tracer, right: Tracer) -> None:
    if x != y:
        raise wrong(f"{what}: lengths {x} and {y} of shapes {left.shape} and {right.shape} do not match")


def matmul(x: Any, y: Any) -> Array:
    """numpy.matmul: stacks of matrices; one-dimensional operands are vectors."""
    left, right = promoted((x, y), "matmul")
    if not left.ndim or not right.ndim:
        raise wrong("matmul: operands must have at least one axis; write x * y to scale")
    _require_equal(left.shape[-1], right.shape[-2 if right.ndim > 1 else 0], "matmul", left, right)
    if left.ndim <= 2 and right.ndim <= 2:
        return contract(left, right, ((left.ndim - 1,), (max(right.ndim - 2, 0),)))
    if right.ndim <= 2:
        return contract(left, right, ((left.ndim - 1,), (max(right.ndim - 2, 0),)))
    if left.ndim == 1:
        return xp.squeeze(matmul(xp.expand_dims(left, 0), right), -2)
    stack = broadcast_shapes(left.shape[:-2], right.shape[:-2])
    left = broadcast(left, stack + left.shape[-2:])
    right = broadcast(right, stack + right.shape[-2:])
    shared = tuple(range(len(stack)))
    return contract(left, right, ((len(stack) + 1,), (len(stack),)), (shared, shared))


def vecdot(x: Any, y: Any, axis: int = -1) -> Array:
    """numpy.vecdot: products along the last axis, the others broadcast."""
    left, right = promoted((x, y), "vecdot")
    if not left.ndim or not right.ndim:
        raise wrong("vecdot: operands must have at least one axis")
    if axis != -1:
        left, right = xp.moveaxis(left, axis, -1), xp.moveaxis(right, axis, -1)
    _require_equal(left.shape[-1], right.shape[-1], "vecdot", left, right)
    shape = broadcast_shapes(left.shape, right.shape)
    left, right = broadcast(left, shape), broadcast(right, shape)
    shared = tuple(range(len(shape) - 1))
    last = (len(shape) - 1,)
    return contract(left, right, (last, last), (shared, shared))


def matvec(x: Any, y: Any) -> Array:
    """numpy.matvec: stacks of matrices times stacks of vectors."""
    right = xp.expand_dims(lift(y), -1)
    return xp.squeeze(matmul(x, right), -1)


def vecmat(x: Any, y: Any) -> Array:
    """numpy.vecmat: stacks of vectors times stacks of matrices."""
    left = xp.expand_dims(lift(x), -2)
    return xp.squeeze(matmul(left, y), -2)


_GENERALIZED: Mapping[str, Callable[..., Array]] = {
    "matmul": matmul,
    "vecdot": vecdot,
    "matvec": matvec,
    "vecmat": vecmat,
}


def generalized(ufunc: np.ufunc, inputs: Sequence[Any], options: Mapping[str, Any]) -> Array:
    """A generalized ufunc."""
    rule = _GENERALIZED.get(ufunc.__name__)
    if rule is None or getattr(np, ufunc.__name__, None) is not ufunc:
        raise unsupported_function(ufunc)
    remaining = dict(options)
    dtype = remaining.pop("dtype", None)
    axis = remaining.pop("axis", -1)
    if remaining or (axis != -1 and ufunc.__name__ != "vecdot"):
        raise unsupported_argument(ufunc.__name__, next(iter(remaining), "axis"))
    if dtype is not None:
        inputs = [cast(operand, as_dtype(dtype)) for operand in lifted(*inputs)]
    x, y = inputs
    return vecdot(x, y, axis) if ufunc.__name__ == "vecdot" else rule(x, y)


def dot(a: Any, b: Any, out: Any = None) -> Array:
    """numpy.dot: the last axis of a with the last but one of b; scalars multiply."""
    require_default("dot", out=out)
    x, y = promoted((a, b), "dot")
    if not x.ndim or not y.ndim:
        return x * y
    other = max(y.ndim - 2, 0)
    _require_equal(x.shape[-1], y.shape[other], "dot", x, y)
    return contract(x, y, ((x.ndim - 1,), (other,)))


def vdot(a: Any, b: Any) -> Array:
    """numpy.vdot: the dot product of all elements."""
    x, y = promoted((a, b), "vdot")
    return dot(xp.ravel(x), xp.ravel(y))


def inner(a: Any, b: Any) -> Array:
    """numpy.inner: the last axes together."""
    x, y = promoted((a, b), "inner")
    if not x.ndim or not y.ndim:
        return x * y
    _require_equal(x.shape[-1], y.shape[-1], "inner", x, y)
    return contract(x, y, ((x.ndim - 1,), (y.ndim - 1,)))


def outer(a: Any, b: Any, out: Any = None) -> Array:
    """numpy.outer: all products of the elements of two vectors."""
    require_default("outer", out=out)
    x, y = promoted((a, b), "outer")
    return contract(xp.ravel(x), xp.ravel(y), ((), ()))


def tensordot(a: Any, b: Any, axes: Any = 2) -> Array:
    """numpy.tensordot."""
    x, y = promoted((a, b), "tensordot")
    if isinstance(axes, (tuple, list)):
        left, right = [entries(part) for part in axes]
    else:
        count = integer(axes, "axes")
        left, right = list(range(x.ndim - count, x.ndim)), list(range(count))
    left, right = [axis_of(axis, x.ndim) for axis in left], [axis_of(axis, y.ndim) for axis in right]
    if len(left) != len(right):
        raise wrong(f"tensordot: got {len(left)} and {len(right)} axes")
    for i, j in zip(left, right, strict=True):
        _require_equal(x.shape[i], y.shape[j], "tensordot", x, y)
    return contract(x, y, (left, right))


def kron(a: Any, b: Any) -> Array:
    """numpy.kron: blocks of b scaled by the elements of a."""
    x, y = promoted((a, b), "kron")
    rank = max(x.ndim, y.ndim)
    x_shape = (1,) * (rank - x.ndim) + x.shape
    y_shape = (1,) * (rank - y.ndim) + y.shape
    spread_x = xp.reshape(x, [n for length in x_shape for n in (length, 1)])
    spread_y = xp.reshape(y, [n for length in y_shape for n in (1, length)])
    return xp.reshape(spread_x * spread_y, [i * j for i, j in zip(x_shape, y_shape, strict=True)])


def cross(a: Any, b: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None) -> Array:
    """numpy.cross of vectors with three components."""
    if axis is not None:
        axisa = axisb = axisc = axis
    x, y = promoted((a, b), "cross")
    x = xp.moveaxis(x, axis_of(axisa, x.ndim), -1)
    y = xp.moveaxis(y, axis_of(axisb, y.ndim), -1)
    if x.shape[-1] != 3 or y.shape[-1] != 3:
        raise wrong(f"cross: vectors must have 3 components, got shapes {x.shape} and {y.shape}")
    parts = [x[..., i] * y[..., j] - x[..., j] * y[..., i] for i, j in ((1, 2), (2, 0), (0, 1))]
    return xp.stack(parts, axis=axisc)


def multi_dot(arrays: Sequence[Any], *, out: Any = None) -> Array:
    """numpy.linalg.multi_dot: a chain of products, in the order that needs the fewest multiplications."""
    require_default("linalg.multi_dot", out=out)
    chain = list(promoted(arrays, "multi_dot"))
    if len(chain) < 2:
        raise wrong("multi_dot: expecting at least two arrays")
    vector_first, vector_last = chain[0].ndim == 1, chain[-1].ndim == 1
    if vector_first:
        chain[0] = xp.expand_dims(chain[0], 0)
    if vector_last:
        chain[-1] = xp.expand_dims(chain[-1], 1)
    while len(chain) > 1:
        saved = [
            math.prod((chain[i].shape[0], chain[i].shape[1], chain[i + 1].shape[1])) for i in range(len(chain) - 1)
        ]
        best = min(range(len(saved)), key=saved.__getitem__)
        chain[best : best + 2] = [matmul(chain[best], chain[best + 1])]
    result = chain[0]
    if vector_first:
        result = result[0]
    return result[..., 0] if vector_last else result


def matrix_power(a: Any, n: Any) -> Array:
    """numpy.linalg.matrix_power: repeated squaring, of the inverse where n is negative."""
    x, count = require_square("linalg.matrix_power", lift(a)), integer(n, "n")
    if count < 0:
        x, count = inv(x), -count
    result: Any = identity_like(x) if count == 0 else None
    while count:
        if count & 1:
            result = x if result is None else matmul(result, x)
        count >>= 1
        x = matmul(x, x) if count else x
    return lift(result)


TABLE: Table = {
    np.dot: dot,
    np.vdot: vdot,
    np.inner: inner,
    np.outer: outer,
    np.tensordot: tensordot,
    np.kron: kron,
    np.cross: cross,
    np.linalg.matmul: matmul,
    np.linalg.vecdot: lambda x1, x2, /, *, axis=-1: vecdot(x1, x2, axis),
    np.linalg.outer: outer,
    np.linalg.tensordot: tensordot,
    np.linalg.cross: lambda x1, x2, /, *, axis=-1: cross(x1, x2, axis=axis),
    np.linalg.multi_dot: multi_dot,
    np.linalg.matrix_power: matrix_power,
}
