"""Median, quantiles and percentiles, of all elements or of those that are not NaN.

A quantile lies between two neighbours in sorted order; the derivative goes to these, in proportion. Where it meets an
element exactly, that one has all of it, and the other nothing, not even an infinite slope times zero.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from gradwire.errors import TracingError
from gradwire.numpy_functions.operands import (
    Array,
    Table,
    axes_of,
    cast,
    floating,
    length_of,
    lift,
    require_default,
    wrong,
    xp,
)
from gradwire.numpy_functions.sorting import sorted_along
from gradwire.numpy_functions.taking import take_along_axis
from gradwire.tracing.complaints import unsupported_argument
from gradwire.tracing.locations import at_user_line
from gradwire.tracing.promotion import common_type
from gradwire.tracing.trace import Tracer

_NO = np._NoValue
_INT64 = np.dtype(np.int64)

_PARAMETERS: Final = {
    "interpolated_inverted_cdf": (0.0, 1.0),
    "hazen": (0.5, 0.5),
    "weibull": (0.0, 0.0),
    "median_unbiased": (1 / 3.0, 1 / 3.0),
    "normal_unbiased": (3 / 8.0, 3 / 8.0),
}
"""alpha and beta of the continuous methods of Hyndman and Fan (1996), all but numpy's own linear one."""

_ROUNDED: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "lower": lambda n, q: xp.floor((n - 1) * q),
    "higher": lambda n, q: xp.ceil((n - 1) * q),
    "nearest": lambda n, q: xp.rint((n - 1) * q),
    "inverted_cdf": lambda n, q: xp.maximum(xp.ceil(n * q - 1), 0.0),
    "closest_observation": lambda n, q: _nearest_odd(n * q - 1.5),
}
"""(number of elements, quantile) -> the place of one element in sorted order."""


def _nearest_odd(index: Any) -> Any:
    below = xp.floor(index)
    stays = xp.logical_and(index == below, xp.remainder(below, 2.0) == 1.0)
    return xp.maximum(xp.where(stays, below, below + 1.0), 0.0)


def _between(method: str, count: Any, q: Any) -> tuple[Any, Any]:
    """The place below in sorted order, and how far the quantile lies from it to the next."""
    if method == "linear":
        position = (count - 1) * q
    elif method == "midpoint":
        position = (count - 1) * q
        below = xp.floor(position)
        return below, xp.where(position == below, 0.0, 0.5)
    elif method == "averaged_inverted_cdf":
        position = count * q - 1
        below = xp.floor(position)
        return below, xp.where(position == below, 0.5, 1.0)
    else:
        alpha, beta = _PARAMETERS[method]
        position = count * q + (alpha + q * (1 - alpha - beta)) - 1
    below = xp.floor(position)
    return below, position - below


def _lines(a: Any, axis: Any) -> tuple[Tracer, tuple[int, ...]]:
    """The elements over which is reduced as one last axis, and these axes."""
    x = lift(a)
    axes = axes_of(axis, x.ndim)
    kept = [i for i in range(x.ndim) if i not in axes]
    turned = xp.transpose(x, [*kept, *axes])
    return xp.reshape(turned, [*(x.shape[i] for i in kept), length_of(x.shape, axes)]), axes


def _restored(result: Tracer, rank: int, axes: tuple[int, ...], leading: int, keepdims: Any) -> Array:
    """The reduced axes as axes of length 1, after `leading` axes of the quantiles."""
    if keepdims is _NO or not keepdims:
        return result
    rest = iter(result.shape[leading:])
    return xp.reshape(result, [*result.shape[:leading], *(1 if i in axes else next(rest) for i in range(rank))])


def _at(line: Tracer, indices: Any) -> Array:
    """Elements of the last axis at places [q] or [q, …], with the axis q in front."""
    if xp.ndim(indices) == 1:
        return xp.moveaxis(xp.take(line, indices, axis=-1), -1, 0)
    return xp.moveaxis(take_along_axis(line, xp.moveaxis(indices, 0, -1), -1), -1, 0)


def _checked_quantiles(q: Any, share: float) -> Any:
    """The quantiles between 0 and 1; floating point, or integers where they are and are not divided."""
    quantiles = q if isinstance(q, Tracer) else np.asarray(q)
    if quantiles.dtype.kind not in "fi":
        raise wrong(f"quantiles must be numbers, got {quantiles.dtype}")
    if not isinstance(quantiles, Tracer) and not np.all((quantiles >= 0) & (quantiles <= share)):
        raise wrong(f"{'Percentiles' if share == 100 else 'Quantiles'} must be in the range [0, {share:g}]")
    return quantiles


def _quantile(share: float, ignore_nan: bool) -> Callable[..., Array]:
    def function(
        a: Any, q: Any, axis: Any = None, out: Any = None, overwrite_input: bool = False, method: str = "linear",
        keepdims: Any = _NO, *, weights: Any = None, interpolation: Any = None,
    ) -> Array:  # fmt: skip
        require_default("quantile", out=out, interpolation=interpolation)
        if weights is not None:
            raise unsupported_argument("quantile", "weights", "repeat the elements, or write it with np.searchsorted")
        if method != "linear" and method not in (*_PARAMETERS, *_ROUNDED, "midpoint", "averaged_inverted_cdf"):
            raise wrong(f"{method!r} is not a valid method of quantiles")
        line, axes = _lines(a, axis)
        if not line.shape[-1]:
            raise wrong("quantile of an empty array")
        quantiles = _checked_quantiles(q, share)
        weak = type(q) in (int, float)
        points = xp.reshape(quantiles, -1)
        if share != 1:
            points = points / share
        results = _of_lines(line, points, method, ignore_nan, weak)
        shaped = xp.reshape(results, (*quantiles.shape, *line.shape[:-1]))
        return _restored(shaped, xp.ndim(a), axes, len(quantiles.shape), keepdims)

    return function


def _of_lines(line: Tracer, q: Any, method: str, ignore_nan: bool, weak: bool) -> Array:
    """Quantiles [q] of lines in the last axis: [q, …]."""
    kept, length = line.shape[:-1], line.shape[-1]
    line = sorted_along(line, line.ndim - 1)
    floats = line.dtype.kind == "f"
    count: Any = length
    if ignore_nan and floats:
        kind = q.dtype if q.dtype.kind == "f" else np.dtype(np.float64)
        count = xp.sum(xp.logical_not(xp.isnan(line)), axis=-1, dtype=kind)
        q = xp.reshape(q, (-1, *(1,) * len(kept)))
    if method in _ROUNDED or (method == "linear" and q.dtype.kind == "i"):
        result = _at(line, _within(_ROUNDED.get(method, _ROUNDED["nearest"])(count, q), count))
    elif line.dtype.kind == "b":
        raise TracingError(at_user_line("quantiles between bools are not defined; convert with x.astype(np.float64)"))
    else:
        below, share = _between(method, count, q)
        low, high = (_at(line, _within(position, count)) for position in (below, below + 1))
        share = xp.reshape(share, (*xp.shape(share)[:1], *(1,) * len(kept))) if xp.ndim(share) == 1 else share
        dtype = _result_type(line, q, weak)
        gap = high - low if floats else cast(high, dtype) - cast(low, dtype)
        result = _mixed(*(_cast(x, dtype) for x in (low, high, gap, share)))
    if ignore_nan or not floats:
        return result
    last = line[..., -1]
    return xp.where(xp.isnan(last), cast(last, result.dtype), result)


def _mixed(low: Tracer, high: Tracer, gap: Tracer, share: Any) -> Array:
    """From the nearer end, as numpy rounds it; at an end its element and nothing else."""
    near_low = xp.where(share == 0, low, low + gap * share)
    return xp.where(share < 0.5, near_low, xp.where(share == 1, high, high - gap * (1 - share)))


def _within(position: Any, count: Any) -> Any:
    """A place in sorted order among `count` elements, as an index."""
    return xp.maximum(xp.minimum(position, count - 1), 0).astype(np.int64)


def _result_type(line: Tracer, q: Any, weak: bool) -> np.dtype[Any]:
    if line.dtype.kind != "f":
        return np.dtype(np.float64)
    return line.dtype if weak else common_type([line.dtype, q.dtype], "quantile")


def _cast(x: Any, dtype: np.dtype[Any]) -> Any:
    return cast(x, dtype) if isinstance(x, Tracer) else x.astype(dtype)


def median(a: Any, axis: Any = None, out: Any = None, overwrite_input: bool = False, keepdims: Any = False) -> Array:
    """numpy.median: the middle element, or the mean of the middle two."""
    require_default("median", out=out)
    line, axes = _lines(a, axis)
    length = line.shape[-1]
    line = floating(line)
    if length == 0:
        middle = xp.full_like(line, np.nan, shape=line.shape[:-1])
    else:
        line = sorted_along(line, line.ndim - 1)
        middle = xp.mean(line[..., (length - 1) // 2 : length // 2 + 1], axis=-1)
        middle = xp.where(xp.isnan(line[..., -1]), line[..., -1], middle)
    return _restored(middle, xp.ndim(a), axes, 0, keepdims)


def nanmedian(a: Any, axis: Any = None, out: Any = None, overwrite_input: bool = False, keepdims: Any = _NO) -> Array:
    """numpy.nanmedian."""
    require_default("nanmedian", out=out)
    line, axes = _lines(a, axis)
    if line.dtype.kind != "f" or line.shape[-1] == 0:
        return median(a, axis, keepdims=keepdims is not _NO and keepdims)
    line = sorted_along(line, line.ndim - 1)
    count = xp.sum(xp.logical_not(xp.isnan(line)), axis=-1, keepdims=True)
    below, above = xp.maximum(count - 1, 0) // 2, xp.minimum(count // 2, line.shape[-1] - 1)
    low, high = (take_along_axis(line, index, -1)[..., 0] for index in (below, above))
    middle = xp.where((below == above)[..., 0], low, (low + high) / 2)
    return _restored(middle, xp.ndim(a), axes, 0, keepdims)


TABLE: Table = {
    np.quantile: _quantile(1.0, False),
    np.percentile: _quantile(100.0, False),
    np.nanquantile: _quantile(1.0, True),
    np.nanpercentile: _quantile(100.0, True),
    np.median: median,
    np.nanmedian: nanmedian,
}
