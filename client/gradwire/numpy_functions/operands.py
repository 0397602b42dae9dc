"""What every numpy function does with its arguments first: find the trace, promote, broadcast; and axes.

`lifted` turns anything array-like into a tracer of the innermost trace among several operands, so that functions can be
written with operators and numpy's own names: on tracers these lead back to this package.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from gradwire.errors import ShapeError, TracingError
from gradwire.tracing.complaints import unsupported_argument
from gradwire.tracing.locations import at_user_line
from gradwire.tracing.promotion import Dtype, Weak, as_type, common_type, supported
from gradwire.tracing.trace import Trace, Tracer, active_trace, innermost
from gradwire_engine.types import DType
from gradwire_engine.value import Value
from gradwire_engine.vocabulary import astype, broadcast_to

Shape = tuple[int, ...]
Table = dict[Any, Callable[..., Any]]
"""numpy functions and their meanings."""

Array = Any
"""What numpy's functions give here: a tracer, or what is known of one without its numbers."""

xp: Any = np
"""numpy, without types: on tracers its functions lead back to this package."""


def wrong(message: str) -> ShapeError:
    """The error for shapes and values that do not fit, with the user's line."""
    return ShapeError(at_user_line(message))


def trace_of(operands: Iterable[Any]) -> Trace:
    """The innermost trace among the operands; the active one where all are plain arrays."""
    trace = innermost(operands) or active_trace()
    if trace is None:
        raise TracingError(at_user_line("a traced operation outside of any traced function"))
    return trace


def lifted(*operands: Any) -> list[Tracer]:
    """The operands as tracers of one trace, each in its own type; Python numbers as numpy makes arrays of them."""
    trace = trace_of(operands)
    return [x if type(x) is Tracer and x._trace is trace else trace.wrap(trace.value_of(x)) for x in operands]


def lift(operand: Any) -> Tracer:
    """One operand as a tracer."""
    return lifted(operand)[0]


def dtype_of(operand: Any) -> Dtype | Weak:
    """The operand's place in a promotion: a dtype, or the type of a Python number."""
    kind = type(operand)
    if kind is Tracer:
        dtype: Dtype = operand._value.type.dtype.numpy
        return dtype
    if kind is float:
        return float
    if kind is int:
        return int
    if isinstance(operand, (np.ndarray, np.generic)):
        supported(operand.dtype, "an array in traced code")
        return operand.dtype.newbyteorder("=")
    if kind is bool:
        return np.dtype(bool)
    if isinstance(operand, (int, float)):
        return float if isinstance(operand, float) else int
    array = np.asarray(operand)
    supported(array.dtype, f"an operand of type {kind.__name__}")
    return array.dtype


def value_as(trace: Trace, operand: Any, dtype: Dtype) -> Value:
    """An operand as a value of `trace` in a given type."""
    kind = type(operand)
    if kind is float or kind is int or kind is bool:
        with np.errstate(over="ignore"):
            return trace.builder.constant(as_type(operand, dtype))
    value = trace.value_of(operand)
    return value if value.type.dtype.numpy == dtype else astype(value, DType.of(dtype))


def promoted(operands: Sequence[Any], what: str) -> list[Tracer]:
    """The operands as tracers of one trace and one type, by numpy's promotion."""
    trace = trace_of(operands)
    dtype = common_type([dtype_of(operand) for operand in operands], what)
    return [trace.wrap(value_as(trace, operand, dtype)) for operand in operands]


def floating(x: Any, what: str = "this function") -> Tracer:
    """x in floating point: integers and bools become float64."""
    tracer = lift(x)
    return tracer if tracer.dtype.kind == "f" else cast(tracer, np.dtype(np.float64))


def in_floating_point(x: Any) -> Array:
    """x, traced or not, in its own type if that is a floating-point one, else in float64."""
    if isinstance(x, Tracer):
        return floating(x)
    array = np.asarray(x)
    return array if array.dtype.kind == "f" else array.astype(np.float64)


def cast(x: Tracer, dtype: Dtype) -> Tracer:
    """x in another type."""
    return x if x.dtype == dtype else x._trace.wrap(astype(x._value, supported(np.dtype(dtype), "dtype=")))


def as_dtype(dtype: Any) -> Dtype:
    """What a user gives as dtype=, as a supported dtype."""
    native: Dtype = supported(np.dtype(dtype), "dtype=").numpy
    return native


def broadcast_shapes(*shapes: Shape) -> Shape:
    """The common shape; ShapeError where there is none."""
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        text = " ".join(str(shape).replace(" ", "") for shape in shapes)
        raise wrong(f"operands could not be broadcast together with shapes {text}") from None


def broadcast_value(value: Value, shape: Shape) -> Value:
    """A value repeated to a shape that it fits."""
    return value if value.type.shape == shape else broadcast_to(value, shape)


def broadcast(x: Tracer, shape: Shape) -> Tracer:
    """x repeated to a shape; ShapeError where it does not fit."""
    if x.shape == shape:
        return x
    if broadcast_shapes(x.shape, shape) != shape:
        raise wrong(f"cannot broadcast shape {x.shape} to {shape}")
    return x._trace.wrap(broadcast_to(x._value, shape))


def emit(x: Tracer, op: str, *others: Tracer, attributes: Any = None) -> Tracer:
    """One op of the engine on tracers of one trace."""
    operands = (x._value, *[other._value for other in others])
    builder = x._trace.builder
    results = builder.emit_all(op, operands) if attributes is None else builder.emit_all(op, operands, attributes)
    return x._trace.wrap(results[0])


def integer(value: Any, what: str) -> int:
    """A Python integer out of anything that is one; TracingError, naming the argument, for a traced value."""
    try:
        return operator.index(value)
    except TracingError:
        raise
    except TypeError:
        raise TracingError(at_user_line(f"{what} must be an integer, got {value!r}")) from None


def axis_of(axis: Any, rank: int) -> int:
    """An axis, counted from the front."""
    number = integer(axis, "axis")
    if not -rank <= number < rank:
        raise wrong(f"axis {number} is out of bounds for array of dimension {rank}")
    return number % rank


def entries(value: Any) -> list[Any]:
    """One value, or several in any sequence, as a list."""
    return list(value) if isinstance(value, (tuple, list, range, np.ndarray)) else [value]


def axes_of(axis: Any, rank: int) -> tuple[int, ...]:
    """axis= of a reduction as ascending axes: None is all of them."""
    if axis is None:
        return tuple(range(rank))
    axes = [axis_of(entry, rank) for entry in entries(axis)]
    if len(set(axes)) != len(axes):
        raise wrong(f"duplicate value in axis {axis}")
    return tuple(sorted(axes))


def shape_of(shape: Any, what: str = "shape") -> Shape:
    """A shape given as an integer or a sequence of them."""
    return tuple([integer(length, what) for length in entries(shape)])


def length_of(shape: Shape, axes: Iterable[int]) -> int:
    """Number of elements along some axes."""
    return math.prod([shape[axis] for axis in axes])


def require_default(function: str, **arguments: Any) -> None:
    """TracingError for an argument that was given and has no meaning on traced values."""
    for name, value in arguments.items():
        if value is not None and value is not np._NoValue:
            raise unsupported_argument(function, name)
