"""Reductions.

Result types are numpy's: sums and products of int32 and bool are int64, means of integers float64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gradwire.numpy_functions.operands import (
    Array,
    Table,
    as_dtype,
    axes_of,
    axis_of,
    broadcast,
    cast,
    emit,
    floating,
    length_of,
    lift,
    lifted,
    require_default,
    wrong,
    xp,
)
from gradwire.numpy_functions.running import accumulating
from gradwire.tracing.trace import Tracer
from gradwire_engine.attributes import Axes, Axis

_NO = np._NoValue


def _reduced(op: str, x: Tracer, axis: Any, keepdims: Any) -> Array:
    axes = axes_of(axis, x.ndim)
    result = emit(x, op, attributes=Axes(axes)) if axes else x
    return _kept(result, x.shape, axes) if keepdims is not _NO and keepdims else result


def _kept(result: Tracer, shape: tuple[int, ...], axes: tuple[int, ...]) -> Array:
    return xp.reshape(result, [1 if axis in axes else length for axis, length in enumerate(shape)])


def _only(x: Any, where: Any, identity: Any) -> Array:
    """x where the mask holds, elsewhere what does not count."""
    tracer = lift(x)
    if where is _NO or where is True or where is None:
        return tracer
    return xp.where(where, tracer, np.asarray(identity, dtype=tracer.dtype)[()])


def _from(result: Tracer, initial: Any, combine: np.ufunc) -> Array:
    """A reduction that starts at `initial`, which takes the result's type."""
    if initial is _NO:
        return result
    return combine(result, cast(lifted(result, initial)[1], result.dtype))


def _sum(a: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: Any = _NO, initial: Any = _NO,
         where: Any = _NO) -> Array:  # fmt: skip
    """numpy.sum."""
    require_default("sum", out=out)
    result = _reduced("sum", accumulating(_only(a, where, 0), dtype), axis, keepdims)
    return _from(result, initial, np.add)


def _prod(a: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: Any = _NO, initial: Any = _NO,
          where: Any = _NO) -> Array:  # fmt: skip
    """numpy.prod."""
    require_default("prod", out=out)
    result = _reduced("prod", accumulating(_only(a, where, 1), dtype), axis, keepdims)
    return _from(result, initial, np.multiply)


def _extremum(op: str, logical: str, combine: np.ufunc) -> Callable[..., Array]:
    def function(a: Any, axis: Any = None, out: Any = None, keepdims: Any = _NO, initial: Any = _NO,
                 where: Any = _NO) -> Array:  # fmt: skip
        require_default(op, out=out)
        x = lift(a)
        if where is not _NO and where is not True:
            if initial is _NO:
                raise wrong(f"np.{op}: where= needs initial=")
            x = _only(x, where, initial)
        if initial is _NO and length_of(x.shape, axes_of(axis, x.ndim)) == 0:
            raise wrong(f"zero-size array to reduction operation {op} which has no identity")
        result = _reduced(logical if x.dtype.kind == "b" else op, x, axis, keepdims)
        return _from(result, initial, combine)

    function.__name__ = op
    return function


_max = _extremum("max", "any", np.maximum)
_min = _extremum("min", "all", np.minimum)


def _any(a: Any, axis: Any = None, out: Any = None, keepdims: Any = _NO, *, where: Any = _NO) -> Array:
    """numpy.any."""
    require_default("any", out=out)
    return _reduced("any", _only(cast(lift(a), np.dtype(bool)), where, False), axis, keepdims)


def _all(a: Any, axis: Any = None, out: Any = None, keepdims: Any = _NO, *, where: Any = _NO) -> Array:
    """numpy.all."""
    require_default("all", out=out)
    return _reduced("all", _only(cast(lift(a), np.dtype(bool)), where, True), axis, keepdims)


def _arg(op: str) -> Callable[..., Array]:
    def function(a: Any, axis: Any = None, out: Any = None, *, keepdims: Any = _NO) -> Array:
        require_default(op, out=out)
        x = lift(a)
        if x.dtype.kind == "b":
            x = cast(x, np.dtype(np.int32))
        shape = x.shape
        if axis is None:
            x = xp.reshape(x, -1)
        along = axis_of(0 if axis is None else axis, x.ndim)
        if x.shape[along] == 0:
            raise wrong(f"attempt to get {op} of an empty sequence")
        result = emit(x, op, attributes=Axis(along))
        if keepdims is _NO or not keepdims:
            return result
        return _kept(result, shape, axes_of(axis, len(shape)))

    function.__name__ = op
    return function


def _mean(a: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: Any = _NO, *,
          where: Any = _NO) -> Array:  # fmt: skip
    """numpy.mean."""
    require_default("mean", out=out)
    x = lift(a)
    x = floating(x) if dtype is None else cast(x, as_dtype(dtype))
    total = _sum(x, axis, keepdims=keepdims, where=where)
    if where is not _NO and where is not True:
        counted = xp.broadcast_to(where, x.shape)
        return total / _sum(lifted(x, counted)[1], axis, dtype=x.dtype, keepdims=keepdims)
    return total / length_of(x.shape, axes_of(axis, x.ndim))


def _centred(a: Any, axis: Any, dtype: Any, mean: Any, where: Any) -> Array:
    """The distances from the mean; 0 for what does not count."""
    x = floating(a) if dtype is None else cast(lift(a), as_dtype(dtype))
    return _only(x - (_mean(x, axis, keepdims=True, where=where) if mean is _NO else mean), where, 0)


def _degrees(x: Tracer, axis: Any, ddof: Any, correction: Any, keepdims: Any, where: Any) -> Any:
    """Degrees of freedom, in the type of x."""
    lost = ddof if correction is _NO else correction
    if where is _NO or where is True:
        return x.dtype.type(max(length_of(x.shape, axes_of(axis, x.ndim)) - lost, 0))
    counted = lifted(x, xp.broadcast_to(where, x.shape))[1]
    return xp.maximum(_sum(counted, axis, dtype=x.dtype, keepdims=keepdims) - lost, 0)


def _var(a: Any, axis: Any = None, dtype: Any = None, out: Any = None, ddof: Any = 0, keepdims: Any = _NO, *,
         where: Any = _NO, mean: Any = _NO, correction: Any = _NO) -> Array:  # fmt: skip
    """numpy.var."""
    require_default("var", out=out)
    x = _centred(a, axis, dtype, mean, where)
    return _sum(xp.square(x), axis, keepdims=keepdims) / _degrees(x, axis, ddof, correction, keepdims, where)


def _std(a: Any, axis: Any = None, dtype: Any = None, out: Any = None, ddof: Any = 0, keepdims: Any = _NO, *,
         where: Any = _NO, mean: Any = _NO, correction: Any = _NO) -> Array:  # fmt: skip
    """numpy.std, by the norm, whose derivative is 0 where all elements are equal."""
    require_default("std", out=out)
    x = _centred(a, axis, dtype, mean, where)
    return norm_of(x, axis, keepdims) / xp.sqrt(_degrees(x, axis, ddof, correction, keepdims, where))


def norm_of(x: Tracer, axis: Any, keepdims: Any) -> Array:
    """The Euclidean norm over some axes; its derivative at 0 is 0."""
    axes = axes_of(axis, x.ndim)
    if not axes:
        return xp.absolute(x)
    result = emit(x, "norm", attributes=Axes(axes))
    return _kept(result, x.shape, axes) if keepdims is not _NO and keepdims else result


def _average(a: Any, axis: Any = None, weights: Any = None, returned: Any = False, *, keepdims: Any = _NO) -> Any:
    """numpy.average."""
    if weights is None:
        x = floating(a)
        mean = _mean(x, axis, keepdims=keepdims)
        count = xp.broadcast_to(float(length_of(x.shape, axes_of(axis, x.ndim))), mean.shape)
        return (mean, lifted(mean, count)[1]) if returned else mean
    x, w = lifted(a, weights)
    if w.shape != x.shape:
        if axis is None or w.ndim != 1 or isinstance(axis, (tuple, list)):
            raise wrong(f"average: weights of shape {w.shape} do not fit an array of shape {x.shape}")
        along = axis_of(axis, x.ndim)
        if w.shape[0] != x.shape[along]:
            raise wrong(f"average: {w.shape[0]} weights for an axis of length {x.shape[along]}")
        w = xp.reshape(w, [-1 if i == along else 1 for i in range(x.ndim)])
        w = broadcast(w, x.shape)
    product = floating(x * w)
    total = _sum(cast(w, product.dtype), axis, keepdims=keepdims)
    mean = _sum(product, axis, keepdims=keepdims) / total
    return (mean, total) if returned else mean


def _ptp(a: Any, axis: Any = None, out: Any = None, keepdims: Any = _NO) -> Array:
    """numpy.ptp."""
    require_default("ptp", out=out)
    return _max(a, axis, keepdims=keepdims) - _min(a, axis, keepdims=keepdims)


def _count_nonzero(a: Any, axis: Any = None, *, keepdims: Any = False) -> Array:
    """numpy.count_nonzero."""
    return _sum(cast(lift(a), np.dtype(bool)), axis, keepdims=keepdims)


def _ignoring_nan(reduction: Callable[..., Array], neutral: Any) -> Callable[..., Array]:
    """nansum and kin: NaN replaced by what does not count."""

    def function(a: Any, axis: Any = None, **options: Any) -> Array:
        x = lift(a)
        if x.dtype.kind == "f":
            x = xp.where(xp.isnan(x), np.asarray(neutral, dtype=x.dtype)[()], x)
        return reduction(x, axis, **options)

    return function


def _ignoring_nan_extremum(reduction: Callable[..., Array], neutral: float) -> Callable[..., Array]:
    def function(a: Any, axis: Any = None, **options: Any) -> Array:
        x = lift(a)
        extremum = _ignoring_nan(reduction, neutral)(x, axis, **options)
        if x.dtype.kind != "f":
            return extremum
        nothing = _all(xp.isnan(x), axis, keepdims=options.get("keepdims", _NO))
        return xp.where(nothing, np.asarray(np.nan, dtype=x.dtype)[()], extremum)

    return function


def _nanmean(a: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: Any = _NO, *,
             where: Any = _NO) -> Array:  # fmt: skip
    """numpy.nanmean."""
    require_default("nanmean", out=out, where=where)
    x = floating(a) if dtype is None else cast(lift(a), as_dtype(dtype))
    present = xp.logical_not(xp.isnan(x))
    total = _sum(xp.where(present, x, x.dtype.type(0)), axis, keepdims=keepdims)
    return total / _sum(present, axis, dtype=x.dtype, keepdims=keepdims)


TABLE: Table = {
    np.sum: _sum,
    np.prod: _prod,
    np.max: _max,
    np.amax: _max,
    np.min: _min,
    np.amin: _min,
    np.any: _any,
    np.all: _all,
    np.argmax: _arg("argmax"),
    np.argmin: _arg("argmin"),
    np.mean: _mean,
    np.var: _var,
    np.std: _std,
    np.average: _average,
    np.ptp: _ptp,
    np.count_nonzero: _count_nonzero,
    np.nansum: _ignoring_nan(_sum, 0),
    np.nanprod: _ignoring_nan(_prod, 1),
    np.nanmax: _ignoring_nan_extremum(_max, -np.inf),
    np.nanmin: _ignoring_nan_extremum(_min, np.inf),
    np.nanmean: _nanmean,
}
