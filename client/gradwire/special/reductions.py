"""Sums of exponentials over axes, and what is normalised by them: none of them overflows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gradwire.numpy_functions.operands import Array, axes_of, emit, floating, in_floating_point
from gradwire.tracing.trace import Tracer
from gradwire_engine.attributes import Axes

__all__ = ["log_softmax", "logsumexp", "softmax"]


def logsumexp(a: Any, axis: Any = None, b: Any = None, keepdims: bool = False) -> Array:
    """log(sum(b * exp(a))) over `axis` (None: all), without overflow; `b` are weights of at least 0."""
    if b is not None:
        a = np.where(np.not_equal(b, 0), a, -np.inf) + np.log(np.where(np.not_equal(b, 0), b, 1.0))
    if isinstance(a, Tracer):
        x = floating(a)
        axes = axes_of(axis, x.ndim)
        result: Any = emit(x, "logsumexp", attributes=Axes(axes)) if axes else x
    else:
        array = in_floating_point(a)
        axes = axes_of(axis, array.ndim)
        result = _logsumexp(array, axes)
    return np.expand_dims(result, axes) if keepdims else result


def _logsumexp(x: np.ndarray, axes: tuple[int, ...]) -> Any:
    peak = np.max(x, axis=axes, keepdims=True, initial=-np.inf)
    shift = np.where(np.isfinite(peak), peak, 0).astype(x.dtype)
    with np.errstate(all="ignore"):
        total = np.log(np.sum(np.exp(x - shift), axis=axes, keepdims=True)) + shift
    return np.squeeze(total, axis=axes)[()]


def softmax(x: Any, axis: Any = None) -> Array:
    """exp(x) / sum(exp(x)) over `axis` (None: all), without overflow."""
    return _normalised("softmax", x, axis, lambda array, axes: np.exp(_log_softmax(array, axes)))


def log_softmax(x: Any, axis: Any = None) -> Array:
    """x - logsumexp(x) over `axis` (None: all)."""
    return _normalised("log_softmax", x, axis, _log_softmax)


def _log_softmax(x: Any, axes: tuple[int, ...]) -> Any:
    shifted = x - np.max(x, axis=axes, keepdims=True, initial=-np.inf)
    return shifted - np.log(np.sum(np.exp(shifted), axis=axes, keepdims=True))


def _normalised(op: str, x: Any, axis: Any, of_plain: Callable[[Any, tuple[int, ...]], Any]) -> Array:
    if isinstance(x, Tracer):
        tracer = floating(x)
        return emit(tracer, op, attributes=Axes(axes_of(axis, tracer.ndim)))
    array = in_floating_point(x)
    with np.errstate(all="ignore"):
        return of_plain(array, axes_of(axis, array.ndim))[()]
