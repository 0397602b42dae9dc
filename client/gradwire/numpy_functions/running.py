"""Running sums, products and extrema along an axis, with numpy's result types: sums of int32 and bool are int64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gradwire.numpy_functions.operands import (
    Array,
    Table,
    as_dtype,
    axis_of,
    cast,
    emit,
    lift,
    require_default,
    wrong,
    xp,
)
from gradwire.numpy_functions.sorting import array_and_axis
from gradwire.tracing.trace import Tracer
from gradwire_engine.attributes import Cumulative


def accumulating(x: Tracer, dtype: Any) -> Tracer:
    """x in the type in which numpy adds it up."""
    if dtype is not None and dtype is not np._NoValue:
        return cast(x, as_dtype(dtype))
    return x if x.dtype.kind == "f" else cast(x, np.dtype(np.int64))


def _running(op: str, neutral: int | None = None) -> Callable[..., Array]:
    """cumsum and cumprod; with `neutral`, which stands for NaN, nancumsum and nancumprod."""

    def function(a: Any, axis: Any = None, dtype: Any = None, out: Any = None) -> Array:
        require_default("cumsum", out=out)
        x, along = array_and_axis(a, axis)
        if neutral is not None and x.dtype.kind == "f":
            x = xp.where(xp.isnan(x), x.dtype.type(neutral), x)
        return emit(accumulating(x, dtype), op, attributes=Cumulative(along))

    return function


def _cumulative(running: Callable[..., Array], start: int) -> Callable[..., Array]:
    """cumulative_sum and cumulative_prod of the array API."""

    def function(
        x: Any, /, *, axis: Any = None, dtype: Any = None, out: Any = None, include_initial: bool = False
    ) -> Array:
        array = lift(x)
        if axis is None and array.ndim > 1:
            raise wrong("cumulative_sum and cumulative_prod of several axes need axis=")
        sums = running(array, axis, dtype, out)
        if not include_initial:
            return sums
        along = axis_of(0 if axis is None else axis, sums.ndim)
        shape = [1 if i == along else n for i, n in enumerate(sums.shape)]
        return xp.concatenate([xp.broadcast_to(sums.dtype.type(start), shape), sums], axis=along)

    return function


cumsum, cumprod = _running("cumulative_sum"), _running("cumulative_prod")

_ACCUMULATED = {
    np.maximum: "cumulative_max",
    np.minimum: "cumulative_min",
    np.logaddexp: "cumulative_logsumexp",
}


def accumulate(ufunc: np.ufunc, a: Any, axis: Any = 0, dtype: Any = None) -> Array | None:
    """``ufunc.accumulate(a, axis)``; None where it cannot be traced."""
    if ufunc in (np.add, np.multiply):
        return (cumsum if ufunc is np.add else cumprod)(a, axis, dtype)
    if ufunc not in _ACCUMULATED:
        return None
    x, along = lift(a), axis_of(axis, xp.ndim(a))
    if dtype is not None:
        x = cast(x, as_dtype(dtype))
    if ufunc is np.logaddexp and x.dtype.kind != "f":
        x = cast(x, np.dtype(np.float64))
    kind = x.dtype
    if kind.kind == "b":
        x = cast(x, np.dtype(np.int32))
    return cast(emit(x, _ACCUMULATED[ufunc], attributes=Cumulative(along)), kind)


TABLE: Table = {
    np.cumsum: cumsum,
    np.cumprod: cumprod,
    np.cumulative_sum: _cumulative(cumsum, 0),
    np.cumulative_prod: _cumulative(cumprod, 1),
    np.nancumsum: _running("cumulative_sum", 0),
    np.nancumprod: _running("cumulative_prod", 1),
}
