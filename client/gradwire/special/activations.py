"""Activation functions of neural networks, on traced values and on plain arrays alike."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from gradwire.numpy_functions.operands import Array, emit, in_floating_point, xp
from gradwire.numpy_functions.special_functions import EXPIT
from gradwire.special.elementwise import FUNCTIONS, by_scipy, traced
from gradwire.tracing.trace import Tracer

__all__ = ["elu", "gelu", "leaky_relu", "relu", "silu", "swish"]


def relu(x: Any) -> Array:
    """max(x, 0); the derivative at 0 is 0."""
    if isinstance(x, Tracer):
        return emit(x, "relu")
    array = np.asarray(x)
    return np.maximum(array, array.dtype.type(0))[()]


def leaky_relu(x: Any, negative_slope: Any = 0.01) -> Array:
    """x above 0, negative_slope * x elsewhere; the derivative at 0 is negative_slope."""
    x = in_floating_point(x)
    return xp.where(x > 0, x, negative_slope * x)[()]


def elu(x: Any, alpha: Any = 1.0) -> Array:
    """x above 0, alpha * (exp(x) - 1) elsewhere."""
    x = in_floating_point(x)
    return xp.where(x > 0, x, alpha * xp.expm1(xp.where(x > 0, 0.0, x)))[()]


def silu(x: Any) -> Array:
    """x times the logistic function of x."""
    x = in_floating_point(x)
    return _gated(x, _logistic)


swish = silu


def gelu(x: Any, approximate: bool = False) -> Array:
    """x times the normal distribution function of x; with `approximate`, its usual approximation by tanh."""
    x = in_floating_point(x)
    if not approximate:
        return _gated(x, FUNCTIONS["ndtr"])
    scale = 2.0 * math.sqrt(2.0 / math.pi)  # (1 + tanh(a)) / 2 is the logistic function of 2 a
    return _gated(x, lambda finite: _logistic(scale * (finite + 0.044715 * finite**3)))


def _logistic(x: Any) -> Array:
    """The logistic function; of plain arrays by scipy, where that is installed."""
    return traced(EXPIT, x) if isinstance(x, Tracer) else by_scipy(EXPIT, x)


def _gated(x: Array, gate: Callable[[Array], Array]) -> Array:
    """x * gate(x), and the limits at the infinities: x at +inf, 0 at -inf."""
    infinite = xp.isinf(x)
    finite = xp.where(infinite, 0.0, x)
    return xp.where(infinite, relu(x), finite * gate(finite))[()]
