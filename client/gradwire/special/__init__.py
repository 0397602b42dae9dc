"""Functions that numpy lacks, by their names in scipy.special and scipy.signal, and a few from neural networks.

On traced values they are operations of the service; on plain numbers and arrays they are computed here, so that a
function that uses them can be run as it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from gradwire.numpy_functions.operands import axes_of, axis_of, emit, floating, wrong
from gradwire.numpy_functions.special_functions import SPECIAL
from gradwire.numpy_functions.updates import at_add, at_max, at_min, at_multiply, at_set
from gradwire.special.activations import elu, gelu, leaky_relu, relu, silu, swish
from gradwire.special.convolutions import avg_pool, conv, conv_transpose, convolve, correlate, max_pool
from gradwire.special.elementwise import (
    beta,
    betaln,
    digamma,
    entr,
    erfcinv,
    erfcx,
    erfinv,
    exprel,
    gamma,
    gammaln,
    gammasgn,
    i0,
    i0e,
    i1,
    i1e,
    kl_div,
    log_ndtr,
    multigammaln,
    ndtr,
    ndtri,
    polygamma,
    psi,
    rel_entr,
    rgamma,
    xlog1py,
    xlogy,
)
from gradwire.special.matrices import cho_factor, cho_solve, expm, solve_triangular
from gradwire.special.random import random_bits, random_normal, random_uniform
from gradwire.tracing.tracer import Tracer
from gradwire_engine.attributes import Axes

Array = Any

_erf = np.frompyfunc(math.erf, 1, 1)
_erfc = np.frompyfunc(math.erfc, 1, 1)


def _floats(x: Any) -> Any:
    array = np.asarray(x)
    return array if array.dtype.kind == "f" else array.astype(np.float64)


def _elementwise(name: str, x: Any, plain: Callable[[Any], Any]) -> Array:
    if isinstance(x, Tracer):
        tracer = floating(x)
        return tracer._trace.wrap(SPECIAL[name](tracer._value))
    array = _floats(x)
    with np.errstate(all="ignore"):
        return np.asarray(plain(array)).astype(array.dtype)[()]


def expit(x: Any) -> Array:
    """The logistic function, 1 / (1 + exp(-x))."""
    return _elementwise("expit", x, lambda a: np.exp(-np.logaddexp(0, -a)))


def log_expit(x: Any) -> Array:
    """The logarithm of `expit`, without underflow."""
    return _elementwise("log_expit", x, lambda a: -np.logaddexp(0, -a))


def logit(x: Any) -> Array:
    """log(x / (1 - x)), the inverse of `expit`; NaN outside [0, 1]."""
    return _elementwise(
        "logit", x, lambda a: np.where(np.abs(a - 0.5) < 0.25, 2 * np.arctanh(2 * a - 1), np.log(a) - np.log1p(-a))
    )


def erf(x: Any) -> Array:
    """The error function."""
    return _elementwise("erf", x, _erf)


def erfc(x: Any) -> Array:
    """1 - erf(x), exact for large x."""
    return _elementwise("erfc", x, _erfc)


def softplus(x: Any) -> Array:
    """log(1 + exp(x)), without overflow."""
    if isinstance(x, Tracer):
        return emit(floating(x), "softplus")
    return np.logaddexp(0, _floats(x))[()]


def logsumexp(a: Any, axis: Any = None, b: Any = None, keepdims: bool = False) -> Array:
    """log(sum(b * exp(a))) over `axis` (None: all), without overflow; `b` are weights of at least 0."""
    if b is not None:
        a = np.where(np.not_equal(b, 0), a, -np.inf) + np.log(np.where(np.not_equal(b, 0), b, 1.0))
    if isinstance(a, Tracer):
        x = floating(a)
        axes = axes_of(axis, x.ndim)
        found: Any = emit(x, "logsumexp", attributes=Axes(axes)) if axes else x
    else:
        x = _floats(a)
        axes = axes_of(axis, x.ndim)
        peak = np.max(x, axis=axes, keepdims=True, initial=-np.inf)
        shift = np.where(np.isfinite(peak), peak, 0).astype(x.dtype)
        with np.errstate(all="ignore"):
            total = np.log(np.sum(np.exp(x - shift), axis=axes, keepdims=True)) + shift
        found = np.squeeze(total, axis=axes)[()]
    return np.expand_dims(found, axes) if keepdims else found


def softmax(x: Any, axis: Any = None) -> Array:
    """exp(x) / sum(exp(x)) over `axis` (None: all), without overflow."""
    return _normalised("softmax", x, axis, lambda a, axes: np.exp(_log_softmax(a, axes)))


def log_softmax(x: Any, axis: Any = None) -> Array:
    """x - logsumexp(x) over `axis` (None: all)."""
    return _normalised("log_softmax", x, axis, _log_softmax)


def _log_softmax(x: Any, axes: tuple[int, ...]) -> Any:
    shifted = x - np.max(x, axis=axes, keepdims=True, initial=-np.inf)
    return shifted - np.log(np.sum(np.exp(shifted), axis=axes, keepdims=True))


def _normalised(op: str, x: Any, axis: Any, plain: Callable[[Any, tuple[int, ...]], Any]) -> Array:
    if isinstance(x, Tracer):
        tracer = floating(x)
        return emit(tracer, op, attributes=Axes(axes_of(axis, tracer.ndim)))
    array = _floats(x)
    with np.errstate(all="ignore"):
        return plain(array, axes_of(axis, array.ndim))[()]


def top_k(x: Any, k: int, axis: int = -1) -> tuple[Array, Array]:
    """The k largest elements along an axis, the largest first, and where they stand; equal ones in their order.

    NaN counts as larger than all numbers. The derivative goes to the elements that were chosen.
    """
    array = x if isinstance(x, Tracer) else np.asarray(x)
    place = axis_of(axis, array.ndim)
    length = array.shape[place]
    if not 0 <= k <= length:
        raise wrong(f"top_k: k={k} of {length} elements")
    backwards = np.argsort(np.flip(array, place), axis=place, kind="stable")
    order = length - 1 - np.flip(backwards, place)
    chosen = order[(*(slice(None),) * place, slice(None, k))]
    return np.take_along_axis(array, chosen, place), chosen


def one_hot(indices: Any, num_classes: int, dtype: Any = np.float64) -> Array:
    """1 at each index of a new last axis of length `num_classes`, 0 elsewhere; zeros for an index out of range."""
    array = indices if isinstance(indices, Tracer) else np.asarray(indices)
    return np.equal(array[..., np.newaxis], np.arange(num_classes)).astype(dtype)


__all__ = [
    "at_add",
    "at_max",
    "at_min",
    "at_multiply",
    "at_set",
    "avg_pool",
    "beta",
    "betaln",
    "cho_factor",
    "cho_solve",
    "conv",
    "conv_transpose",
    "convolve",
    "correlate",
    "digamma",
    "elu",
    "entr",
    "erf",
    "erfc",
    "erfcinv",
    "erfcx",
    "erfinv",
    "expit",
    "expm",
    "exprel",
    "gamma",
    "gammaln",
    "gammasgn",
    "gelu",
    "i0",
    "i0e",
    "i1",
    "i1e",
    "kl_div",
    "leaky_relu",
    "log_expit",
    "log_ndtr",
    "log_softmax",
    "logit",
    "logsumexp",
    "max_pool",
    "multigammaln",
    "ndtr",
    "ndtri",
    "one_hot",
    "polygamma",
    "psi",
    "random_bits",
    "random_normal",
    "random_uniform",
    "rel_entr",
    "relu",
    "rgamma",
    "silu",
    "softmax",
    "softplus",
    "solve_triangular",
    "swish",
    "top_k",
    "xlog1py",
    "xlogy",
]
