"""Covariances, statistics that ignore NaN, counts with weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gradwire.errors import TracingError
from gradwire.numpy_functions.operands import (
    Array,
    Table,
    as_dtype,
    cast,
    emit,
    floating,
    integer,
    lift,
    lifted,
    require_default,
    wrong,
    xp,
)
from gradwire.numpy_functions.reductions import norm_of
from gradwire.tracing.locations import at_user_line
from gradwire.tracing.promotion import common_type
from gradwire.tracing.trace import Tracer
from gradwire_engine.attributes import Scatter

_NO = np._NoValue


def _present_and_centred(a: Any, axis: Any, dtype: Any, mean: Any) -> tuple[Tracer, Tracer]:
    """Where elements are not NaN, and their distances from their mean, 0 elsewhere."""
    x = floating(a) if dtype is None else cast(lift(a), as_dtype(dtype))
    present = xp.logical_not(xp.isnan(x))
    zero = x.dtype.type(0)
    if mean is _NO:
        total = xp.sum(xp.where(present, x, zero), axis=axis, keepdims=True)
        mean = total / xp.sum(present, axis=axis, keepdims=True, dtype=x.dtype)
    return present, xp.where(present, x - mean, zero)


def _freedom(present: Tracer, axis: Any, ddof: Any, correction: Any, keepdims: Any, dtype: np.dtype[Any]) -> Array:
    """Degrees of freedom; NaN where there are none."""
    count = xp.sum(present, axis=axis, dtype=dtype, keepdims=keepdims) - (ddof if correction is _NO else correction)
    return xp.where(count > 0, count, dtype.type(np.nan))


def _nanvar(a: Any, axis: Any = None, dtype: Any = None, out: Any = None, ddof: Any = 0, keepdims: Any = _NO, *,
            where: Any = _NO, mean: Any = _NO, correction: Any = _NO) -> Array:  # fmt: skip
    """numpy.nanvar."""
    require_default("nanvar", out=out, where=where)
    present, x = _present_and_centred(a, axis, dtype, mean)
    total = xp.sum(xp.square(x), axis=axis, keepdims=keepdims)
    return total / _freedom(present, axis, ddof, correction, keepdims, x.dtype)


def _nanstd(a: Any, axis: Any = None, dtype: Any = None, out: Any = None, ddof: Any = 0, keepdims: Any = _NO, *,
            where: Any = _NO, mean: Any = _NO, correction: Any = _NO) -> Array:  # fmt: skip
    """numpy.nanstd, by the norm, whose derivative is 0 where all elements are equal."""
    require_default("nanstd", out=out, where=where)
    present, x = _present_and_centred(a, axis, dtype, mean)
    return norm_of(x, axis, keepdims) / xp.sqrt(_freedom(present, axis, ddof, correction, keepdims, x.dtype))


def _nanarg(find: Callable[..., Any], neutral: float) -> Callable[..., Array]:
    """nanargmax and nanargmin; 0 where all are NaN, which numpy refuses."""

    def function(a: Any, axis: Any = None, out: Any = None, *, keepdims: Any = _NO) -> Array:
        x = lift(a)
        if x.dtype.kind == "f":
            x = xp.where(xp.isnan(x), x.dtype.type(neutral), x)
        return find(x, axis=axis, out=out, keepdims=keepdims)

    return function


# covariance


def cov(m: Any, y: Any = None, rowvar: bool = True, bias: bool = False, ddof: Any = None, fweights: Any = None,
        aweights: Any = None, *, dtype: Any = None) -> Any:  # fmt: skip
    """numpy.cov: variables in rows, observations in columns."""
    operands = lifted(m, *([] if y is None else [y]))
    wanted = np.dtype(np.float64)
    if dtype is not None:
        wanted = common_type([as_dtype(dtype)], "cov")
    rows = [
        _in_rows(cast(operand, wanted), rowvar, second)
        for operand, second in zip(operands, (False, True), strict=False)
    ]
    x = rows[0] if len(rows) == 1 else xp.concatenate(rows, axis=0)
    lost = (0 if bias else 1) if ddof is None else integer(ddof, "ddof")
    weights = [xp.ravel(lift(operand)) for operand in (fweights, aweights) if operand is not None]
    if not weights:
        centred = x - xp.mean(x, axis=1, keepdims=True)
        return xp.squeeze(xp.matmul(centred, xp.transpose(centred)) * (1.0 / _or_nan(x.shape[1] - lost)))
    w = cast(weights[0] * weights[1] if len(weights) == 2 else weights[0], wanted)
    total = xp.sum(w)
    centred = x - xp.sum(x * w, axis=1, keepdims=True) / total
    freedom = total
    if lost:
        freedom = total - (lost if aweights is None else lost * xp.sum(w * xp.ravel(aweights)) / total)
    return xp.squeeze(xp.matmul(centred, xp.transpose(centred * w)) / freedom)


def _or_nan(count: int) -> float:
    """As numpy has it without its warning: too few observations give infinities and NaN."""
    return float(count) if count > 0 else np.nan


def _in_rows(x: Tracer, rowvar: bool, second: bool) -> Any:
    if x.ndim > 2:
        raise wrong(f"cov: expected at most two axes, got shape {x.shape}")
    rows = xp.atleast_2d(x)
    turned = not rowvar and (rows.shape[0] != 1 if second else x.ndim == 2)
    return xp.transpose(rows) if turned else rows


def corrcoef(x: Any, y: Any = None, rowvar: bool = True, *, dtype: Any = None) -> Any:
    """numpy.corrcoef."""
    covariance = cov(x, y, rowvar, dtype=dtype)
    if covariance.ndim == 0:
        return covariance / covariance
    deviations = xp.sqrt(xp.diagonal(covariance))
    return xp.clip(covariance / deviations[:, np.newaxis] / deviations[np.newaxis, :], -1, 1)


# counts


def bincount(x: Any, weights: Any = None, minlength: Any = 0) -> Array:
    """numpy.bincount of known places with traced weights."""
    if isinstance(x, Tracer):
        raise TracingError(
            at_user_line(
                "np.bincount: the length of its result would depend on numbers that are not known while the function "
                "is traced. Say it yourself: gw.special.at_add(np.zeros(length), x, weights)"
            ),
            reason="UNSUPPORTED_FUNCTION",
        )
    bins = np.asarray(x)
    if bins.ndim != 1 or bins.dtype.kind not in "iub" or (bins.size and bins.min() < 0):
        raise wrong("bincount: expected one axis of integers of at least 0")
    updates = cast(lift(weights), np.dtype(np.float64))
    if updates.shape != bins.shape:
        raise wrong(f"The weights and list don't have the same length: {updates.shape} and {bins.shape}")
    length = max(integer(minlength, "minlength"), int(bins.max(initial=-1)) + 1)
    if not length:
        return updates
    updates, where = lifted(updates, bins.astype(np.int64)[:, np.newaxis])
    return emit(updates, "scatter_add", where, attributes=Scatter(0, 0, (length,)))


TABLE: Table = {
    np.nanvar: _nanvar,
    np.nanstd: _nanstd,
    np.nanargmax: _nanarg(np.argmax, -np.inf),
    np.nanargmin: _nanarg(np.argmin, np.inf),
    np.cov: cov,
    np.corrcoef: corrcoef,
    np.bincount: bincount,
}
