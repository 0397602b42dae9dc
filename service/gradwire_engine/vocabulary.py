"""The ops as functions of values: the language in which derivative, batching and transpose rules are written.

Only what needs an attribute, or reads badly as a method, has a function here; the rest is ``x.emit("sin")`` through
`unary` names below. Everything checks nothing: types are checked by the op's own type rule when the node is made.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from gradwire_engine import attributes as a
from gradwire_engine.types import ROWS, DType, TensorType
from gradwire_engine.value import Builder, Value, full


def _unary(name: str) -> Callable[[Value], Value]:
    def apply(x: Value) -> Value:
        return x.emit(name)

    apply.__name__ = name
    apply.__doc__ = f"The op {name}."
    return apply


def _binary(name: str) -> Callable[[Value, Value], Value]:
    def apply(x: Value, y: Value) -> Value:
        return x.emit(name, y)

    apply.__name__ = name
    apply.__doc__ = f"The op {name}."
    return apply


absolute, sign, square, reciprocal = _unary("abs"), _unary("sign"), _unary("square"), _unary("reciprocal")
sqrt, rsqrt, exp, exp2, log, log1p, expit = (
    _unary("sqrt"),
    _unary("rsqrt"),
    _unary("exp"),
    _unary("exp2"),
    _unary("log"),
    _unary("log1p"),
    _unary("expit"),
)
sin, cos, sinh, cosh, floor = _unary("sin"), _unary("cos"), _unary("sinh"), _unary("cosh"), _unary("floor")
isnan, isinf = _unary("isnan"), _unary("isinf")
power, hypot, floor_divide = _binary("pow"), _binary("hypot"), _binary("floor_divide")
maximum, minimum = _binary("maximum"), _binary("minimum")


def where(condition: Value, x: Value, y: Value | float) -> Value:
    """x where the condition holds, else y."""
    return condition.emit("where", x, y if isinstance(y, Value) else x.like(y))


def integer_power(x: Value, exponent: int) -> Value:
    """x to a static integer power."""
    return x.emit("integer_pow", attributes=a.Exponent(exponent))


def _of_order(name: str) -> Callable[[Value, int], Value]:
    def apply(x: Value, order: int) -> Value:
        return x.emit(name, attributes=a.Order(order))

    apply.__name__ = name
    apply.__doc__ = f"The function of a static order in the family {name}."
    return apply


polygamma, erfcx, iv, ive = _of_order("polygamma"), _of_order("erfcx"), _of_order("iv"), _of_order("ive")
sinc, exprel = _of_order("sinc"), _of_order("exprel")


def astype(x: Value, dtype: DType) -> Value:
    """x in another element type."""
    return x if x.dtype is dtype else x.emit("astype", attributes=a.Cast(dtype))


def broadcast_to(x: Value, shape: tuple[int, ...]) -> Value:
    """x repeated to `shape`, aligned at the last axes."""
    return x if x.shape == shape else x.emit("broadcast_to", attributes=a.Shape(shape))


def reshape(x: Value, shape: tuple[int, ...]) -> Value:
    """The elements of x in another shape."""
    return x if x.shape == shape else x.emit("reshape", attributes=a.Shape(shape))


def permute_dims(x: Value, permutation: Sequence[int]) -> Value:
    """Axes reordered: axis i of the result is axis permutation[i] of x."""
    if tuple(permutation) == tuple(range(len(x.shape))):
        return x
    return x.emit("permute_dims", attributes=a.Permutation(tuple(permutation)))


def move_axis(x: Value, source: int, destination: int) -> Value:
    """One axis moved, the others in order."""
    order = [axis for axis in range(len(x.shape)) if axis != source]
    order.insert(destination, source)
    return permute_dims(x, order)


def expand_dims(x: Value, axes: Sequence[int]) -> Value:
    """New axes of length 1, at these places of the result."""
    shape = list(x.shape)
    for axis in sorted(axes):
        shape.insert(axis, 1)
    return reshape(x, tuple(shape))


def spread(x: Value, axes: Sequence[int], shape: tuple[int, ...]) -> Value:
    """Undo a reduction's shape: x repeated along `axes` of `shape`."""
    return broadcast_to(expand_dims(x, axes), shape)


def slice_of(x: Value, start: Sequence[int], limit: Sequence[int], stride: Sequence[int] | None = None) -> Value:
    """A strided box of x."""
    steps = tuple(stride) if stride is not None else (1,) * len(x.shape)
    return x.emit("slice", attributes=a.Slice(tuple(start), tuple(limit), steps))


def slice_axis(x: Value, axis: int, start: int, limit: int) -> Value:
    """The elements start to limit - 1 along one axis."""
    starts, limits = [0] * len(x.shape), list(x.shape)
    starts[axis], limits[axis] = start, limit
    return slice_of(x, starts, limits)


def pad(
    x: Value, low: Sequence[int], high: Sequence[int], interior: Sequence[int] | None = None, fill: float = 0
) -> Value:
    """x with a number before, after and between its elements."""
    between = tuple(interior) if interior is not None else (0,) * len(x.shape)
    scalar = x.builder.constant(np.asarray(fill, dtype=x.dtype.numpy))
    return x.emit("pad", scalar, attributes=a.Pad(tuple(low), tuple(high), between))


def concat(values: Sequence[Value], axis: int) -> Value:
    """Values joined along an axis."""
    return values[0].emit("concat", *values[1:], attributes=a.Axis(axis))


def flip(x: Value, axes: Sequence[int]) -> Value:
    """x reversed along axes."""
    return x.emit("flip", attributes=a.Axes(tuple(sorted(axes))))


def _over_axes(name: str) -> Callable[[Value, Sequence[int]], Value]:
    def apply(x: Value, axes: Sequence[int]) -> Value:
        return x.emit(name, attributes=a.Axes(tuple(sorted(axes))))

    apply.__name__ = name
    apply.__doc__ = f"The op {name} over a set of axes."
    return apply


sum_over, prod_over, max_over, min_over = _over_axes("sum"), _over_axes("prod"), _over_axes("max"), _over_axes("min")
any_over, all_over = _over_axes("any"), _over_axes("all")
softmax, logsumexp, norm = _over_axes("softmax"), _over_axes("logsumexp"), _over_axes("norm")


def dot_general(x: Value, y: Value, attributes: a.DotGeneral) -> Value:
    """Sums of products over paired axes."""
    return x.emit("dot_general", y, attributes=attributes)


def matmul(x: Value, y: Value) -> Value:
    """Products of matrices in the last two axes; the axes before them are the same in both."""
    rank = len(x.shape)
    stack = tuple(range(rank - 2))
    return dot_general(x, y, a.DotGeneral((rank - 1,), (rank - 2,), stack, stack))


def matrix_transpose(x: Value) -> Value:
    """The last two axes exchanged."""
    return move_axis(x, len(x.shape) - 1, len(x.shape) - 2)


def solve(matrix: Value, right: Value) -> Value:
    """x with matrix x = right."""
    return matrix.emit("solve", right)


def triangular_solve(matrix: Value, right: Value, attributes: a.TriangularSolve | None = None) -> Value:
    """x with triangle x = right, the triangle of the matrix that the attributes say: the lower one without any."""
    return matrix.emit("triangular_solve", right, attributes=attributes or a.TriangularSolve())


def gather(x: Value, indices: Value, attributes: a.Gather) -> Value:
    """Elements of x at indices."""
    return x.emit("gather", indices, attributes=attributes)


def scatter_add(updates: Value, indices: Value, attributes: a.Scatter) -> Value:
    """Updates added into zeros at indices."""
    return updates.emit("scatter_add", indices, attributes=attributes)


def windows(x: Value, attributes: a.Windows) -> Value:
    """What a window sees at each of its positions."""
    return x.emit("windows", attributes=attributes)


def overlap_add(x: Value, attributes: a.OverlapAdd) -> Value:
    """Windows added where they were seen."""
    return x.emit("overlap_add", attributes=attributes)


def convolution(x: Value, w: Value, attributes: a.Convolution) -> Value:
    """Sums of products over a sliding window."""
    return x.emit("convolution", w, attributes=attributes)


def masked_multiply(x: Value, y: Value, x_active: Value, y_active: Value) -> Value:
    """x * y where both masks hold, else 0."""
    return x.emit("masked_multiply", y, x_active, y_active)


def iota(builder: Builder, dtype: DType, shape: tuple[int, ...], axis: int) -> Value:
    """0, 1, 2, … along an axis."""
    return builder.emit_all("iota", (), a.Iota(dtype, shape, axis))[0]


def on_diagonal(x: Value) -> Value:
    """True on the diagonals of the matrices in the last two axes of x."""
    rows, columns = (iota(x.builder, DType.INT64, x.shape[-2:], axis) for axis in (0, 1))
    return broadcast_to(rows.equals(columns), x.shape)


def identity(like: Value) -> Value:
    """Identity matrices of a value's type."""
    return where(on_diagonal(like), like.like(1.0), 0.0)


def zeros(builder: Builder, type: TensorType) -> Value:
    """An array of zeros (false for bool)."""
    return full(builder, type, 0)


def true(builder: Builder, shape: tuple[int, ...]) -> Value:
    """An array of true."""
    return full(builder, TensorType(DType.BOOL, shape), True)


def size_of(shape: Sequence[int]) -> int:
    """Number of elements of a shape without the batch axis."""
    assert ROWS not in shape, "the number of rows is not known while a graph is built"
    return math.prod(shape)
