"""Selection, comparison and small compositions: where, clip, select, diff, round, the *_like functions, and what is
known of an array without its numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradwire.numpy_functions.operands import (
    Array,
    Table,
    as_dtype,
    axes_of,
    axis_of,
    broadcast,
    broadcast_shapes,
    cast,
    dtype_of,
    emit,
    floating,
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
from gradwire.tracing import complaints
from gradwire.tracing.complaints import unsupported_argument
from gradwire.tracing.promotion import common_type
from gradwire.tracing.trace import Tracer
from gradwire_engine import vocabulary
from gradwire_engine.attributes import Order
from gradwire_engine.types import DType

_NO = np._NoValue


def where(condition: Any, x: Any = _NO, y: Any = _NO, /) -> Array:
    """numpy.where with three arguments. What is not selected contributes nothing to a derivative, not even NaN."""
    if x is _NO or y is _NO:
        raise complaints.error("shape_of_values", lift(condition)._value.type)
    trace = trace_of((condition, x, y))
    dtype = common_type([dtype_of(x), dtype_of(y)], "where")
    chosen = vocabulary.astype(trace.value_of(condition), DType.BOOL)
    values = [chosen, value_as(trace, x, dtype), value_as(trace, y, dtype)]
    shape = broadcast_shapes(*[value.type.shape for value in values])
    return trace.wrap(vocabulary.where(*[vocabulary.broadcast_to(value, shape) for value in values]))


def select(condlist: Sequence[Any], choicelist: Sequence[Any], default: Any = 0) -> Array:
    """numpy.select: the first choice whose condition holds."""
    if len(condlist) != len(choicelist) or not len(condlist):
        raise wrong("list of cases must be same length as list of conditions, and not empty")
    if any(np.result_type(condition) != np.dtype(bool) for condition in condlist):
        raise wrong("select: conditions should be boolean arrays; write x != 0")
    *choices, result = promoted([*choicelist, default], "select")
    for condition, choice in zip(reversed(condlist), reversed(choices), strict=True):
        result = where(condition, choice, result)
    return result


def piecewise(x: Any, condlist: Any, funclist: Sequence[Any], *args: Any, **kw: Any) -> Array:
    """numpy.piecewise: every function is given all of x, and counts where its condition holds."""
    array = lift(x)
    several = isinstance(condlist, (list, tuple)) or xp.ndim(condlist) > 1
    if several and array.ndim and xp.ndim(condlist[0]) == 0:
        several = False  # one condition, written as a list of truths
    conditions = condlist if several else [condlist]
    conditions = [xp.broadcast_to(cast(lifted(array, one)[1], np.dtype(bool)), array.shape) for one in conditions]
    functions = list(funclist)
    if len(functions) not in (len(conditions), len(conditions) + 1):
        raise wrong(f"with {len(conditions)} condition(s), either {len(conditions)} or one more functions are expected")
    values = [one(array, *args, **kw) if callable(one) else one for one in functions]
    result: Any = xp.zeros_like(array)
    if len(values) > len(conditions):
        result = broadcast(cast(lifted(array, values.pop())[1], array.dtype), array.shape)
    for condition, value in zip(conditions, values, strict=True):
        result = where(condition, cast(lifted(array, value)[1], array.dtype), result)
    return result


def clip(a: Any, a_min: Any = _NO, a_max: Any = _NO, out: Any = None, *, min: Any = _NO, max: Any = _NO,
         dtype: Any = None) -> Array:  # fmt: skip
    """numpy.clip: the minimum of the maximum."""
    require_default("clip", out=out, dtype=dtype)
    low = a_min if min is _NO else min
    high = a_max if max is _NO else max
    result = lift(a)
    if low is not _NO and low is not None:
        result = xp.maximum(result, low)
    if high is not _NO and high is not None:
        result = xp.minimum(result, high)
    return result


def diff(a: Any, n: int = 1, axis: int = -1, prepend: Any = _NO, append: Any = _NO) -> Array:
    """numpy.diff."""
    x = lift(a)
    if not x.ndim:
        raise wrong("diff requires input that is at least one dimensional")
    along = axis_of(axis, x.ndim)
    edge = [1 if i == along else length for i, length in enumerate(x.shape)]
    ends = [[] if end is _NO else [end if xp.ndim(end) else xp.broadcast_to(end, edge)] for end in (prepend, append)]
    parts = [*ends[0], x, *ends[1]]
    if len(parts) > 1:
        x = xp.concatenate(parts, axis=along)
    count = integer(n, "n")
    if count < 0:
        raise wrong(f"order must be non-negative but got {count}")
    before = (slice(None),) * along
    for _ in range(count):
        after, front = x[(*before, slice(1, None))], x[(*before, slice(None, -1))]
        x = xp.not_equal(after, front) if x.dtype.kind == "b" else xp.subtract(after, front)
    return x


def ediff1d(ary: Any, to_end: Any = None, to_begin: Any = None) -> Array:
    """numpy.ediff1d."""
    flat = xp.ravel(lift(ary))
    steps = xp.subtract(flat[1:], flat[:-1])
    parts = [to_begin, steps, to_end]
    return xp.concatenate([xp.ravel(part) for part in parts if part is not None])


def around(a: Any, decimals: int = 0, out: Any = None) -> Array:
    """numpy.round: to whole numbers, or to a number of decimals."""
    require_default("round", out=out)
    x = lift(a)
    digits = integer(decimals, "decimals")
    if x.dtype.kind != "f":
        if digits < 0 or x.dtype.kind == "b":
            raise unsupported_argument("round", f"decimals={digits} of {x.dtype}", "convert with .astype(np.float64)")
        return x
    if not digits:
        return xp.rint(x)
    scale = 10.0 ** abs(digits)
    return xp.rint(x * scale) / scale if digits > 0 else xp.rint(x / scale) * scale


def fix(x: Any, out: Any = None) -> Array:
    """numpy.fix: towards zero."""
    require_default("fix", out=out)
    return xp.trunc(lift(x))


def nan_to_num(x: Any, copy: bool = True, nan: Any = 0.0, posinf: Any = None, neginf: Any = None) -> Array:
    """numpy.nan_to_num."""
    array = lift(x)
    if array.dtype.kind != "f":
        return array
    limits = np.finfo(array.dtype)
    high = limits.max if posinf is None else posinf
    low = limits.min if neginf is None else neginf
    array = where(xp.isnan(array), nan, array)
    array = where(xp.equal(array, np.inf), high, array)
    return where(xp.equal(array, -np.inf), low, array)


def isclose(a: Any, b: Any, rtol: Any = 1e-05, atol: Any = 1e-08, equal_nan: bool = False) -> Array:
    """numpy.isclose."""
    x, y = [floating(operand) for operand in lifted(a, b)]
    within = xp.less_equal(xp.absolute(x - y), atol + rtol * xp.absolute(y))
    close = xp.logical_or(xp.logical_and(within, xp.isfinite(y)), xp.equal(x, y))
    if equal_nan:
        close = xp.logical_or(close, xp.logical_and(xp.isnan(x), xp.isnan(y)))
    return close


def allclose(a: Any, b: Any, rtol: Any = 1e-05, atol: Any = 1e-08, equal_nan: bool = False) -> Any:
    """numpy.allclose."""
    return xp.all(isclose(a, b, rtol, atol, equal_nan))


def array_equal(a1: Any, a2: Any, equal_nan: bool = False) -> Any:
    """numpy.array_equal."""
    if xp.shape(a1) != xp.shape(a2):
        return False
    same = xp.equal(a1, a2)
    if equal_nan:
        same = xp.logical_or(same, xp.logical_and(xp.isnan(a1), xp.isnan(a2)))
    return xp.all(same)


def array_equiv(a1: Any, a2: Any) -> Any:
    """numpy.array_equiv."""
    shapes = xp.shape(a1), xp.shape(a2)
    try:
        np.broadcast_shapes(*shapes)
    except ValueError:
        return False
    return xp.all(xp.equal(a1, a2))


def isin(element: Any, test_elements: Any, assume_unique: bool = False, invert: bool = False, *,
         kind: Any = None) -> Array:  # fmt: skip
    """numpy.isin: every element is compared with every other."""
    x, others = lifted(element, test_elements)
    is_there = xp.any(xp.equal(x[..., np.newaxis], xp.ravel(others)), axis=-1)
    return xp.logical_not(is_there) if invert else is_there


def trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Any:
    """numpy.trapezoid."""
    values, *grid = lifted(y, *([] if x is None else [x]))
    along = axis_of(axis, values.ndim)
    if not grid:
        steps: Any = dx
    elif grid[0].ndim == 1:
        steps = xp.reshape(diff(grid[0]), [-1 if i == along else 1 for i in range(values.ndim)])
    else:
        steps = diff(grid[0], axis=along)
    before = (slice(None),) * along
    return xp.sum(steps * (values[(*before, slice(1, None))] + values[(*before, slice(None, -1))]) / 2.0, axis=along)


def sinc(x: Any) -> Any:
    """numpy.sinc: sin(pi x) / (pi x), and 1 at 0, where derivatives are right to every order."""
    return emit(floating(x) * np.pi, "sinc", attributes=Order(0))


def i0(x: Any) -> Any:
    """numpy.i0: the modified Bessel function of the first kind of order 0."""
    return emit(floating(x), "iv", attributes=Order(0))


# arrays like others, and what is known without numbers


def full_like(a: Any, fill_value: Any, dtype: Any = None, order: Any = None, subok: Any = None, shape: Any = None, *,
              device: Any = None) -> Array:  # fmt: skip
    """numpy.full_like."""
    x = lift(a)
    wanted = x.dtype if dtype is None else as_dtype(dtype)
    trace = trace_of((x, fill_value))
    number = trace.wrap(value_as(trace, fill_value, wanted))
    return broadcast(number, x.shape if shape is None else shape_of(shape))


def _like(number: int) -> Callable[..., Array]:
    def function(a: Any, dtype: Any = None, order: Any = None, subok: Any = None, shape: Any = None, *,
                 device: Any = None) -> Array:  # fmt: skip
        return full_like(a, number, dtype, shape=shape)

    return function


def _shape(a: Any) -> tuple[int, ...]:
    return a.shape if isinstance(a, Tracer) else xp.shape(a)


def _ndim(a: Any) -> int:
    return len(_shape(a))


def _size(a: Any, axis: Any = None) -> int:
    shape = _shape(a)
    count = 1
    for along in axes_of(axis, len(shape)):
        count *= shape[along]
    return count


def _result_type(*arrays_and_dtypes: Any) -> np.dtype[Any]:
    return np.result_type(*[entry.dtype if isinstance(entry, Tracer) else entry for entry in arrays_and_dtypes])


TABLE: Table = {
    np.where: where,
    np.select: select,
    np.piecewise: piecewise,
    np.clip: clip,
    np.diff: diff,
    np.ediff1d: ediff1d,
    np.round: around,
    np.around: around,
    np.fix: fix,
    np.nan_to_num: nan_to_num,
    np.isclose: isclose,
    np.allclose: allclose,
    np.array_equal: array_equal,
    np.array_equiv: array_equiv,
    np.isin: isin,
    np.isneginf: lambda x, out=None: xp.equal(x, -np.inf),
    np.isposinf: lambda x, out=None: xp.equal(x, np.inf),
    np.isreal: lambda x: xp.ones_like(x, dtype=bool),
    np.iscomplex: lambda x: xp.zeros_like(x, dtype=bool),
    np.iscomplexobj: lambda x: False,
    np.isrealobj: lambda x: True,
    np.real: lift,
    np.imag: lambda val: xp.zeros_like(val),
    np.trapezoid: trapezoid,
    np.sinc: sinc,
    np.i0: i0,
    np.full_like: full_like,
    np.zeros_like: _like(0),
    np.ones_like: _like(1),
    np.empty_like: _like(0),
    np.shape: _shape,
    np.ndim: _ndim,
    np.size: _size,
    np.result_type: _result_type,
}
