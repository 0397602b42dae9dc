"""Activation functions of neural networks, on traced values and on plain arrays alike."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gradwire.numpy_functions.operands import floating, xp
from gradwire.scipy_names import ndtr
from gradwire.tracing import Tracer

Array = Any


def leaky_relu(x: Any, negative_slope: Any = 0.01) -> Array:
    """x above 0, negative_slope * x elsewhere; the derivative at 0 is negative_slope."""
    x = _floats(x)
    return xp.where(x > 0, x, negative_slope * x)[()]


def elu(x: Any, alpha: Any = 1.0) -> Array:
    """x above 0, alpha * (exp(x) - 1) elsewhere."""
    x = _floats(x)
    return xp.where(x > 0, x, alpha * xp.expm1(xp.where(x > 0, 0.0, x)))[()]


def silu(x: Any) -> Array:
    """x times the logistic function of x."""
    x, finite = _with_finite(x)
    return _gated(x, finite, xp.exp(-xp.logaddexp(0.0, -finite)))


swish = silu


def gelu(x: Any, approximate: bool = False) -> Array:
    """x times the normal distribution function of x; with `approximate`, its usual approximation by tanh."""
    x, finite = _with_finite(x)
    if not approximate:
        return _gated(x, finite, ndtr(finite))
    argument = math.sqrt(2.0 / math.pi) * (finite + 0.044715 * finite**3)
    return _gated(x, finite, 0.5 * (1.0 + xp.tanh(argument)))


def _floats(x: Any) -> Any:
    if isinstance(x, Tracer):
        return floating(x)
    array = np.asarray(x)
    return array if array.dtype.kind == "f" else array.astype(np.float64)


def _with_finite(x: Any) -> tuple[Any, Any]:
    x = _floats(x)
    return x, xp.where(xp.isinf(x), 0.0, x)


def _gated(x: Any, finite: Any, gate: Any) -> Any:
    """x * gate, and the limits at the infinities: x at +inf, 0 at -inf."""
    return xp.where(xp.isinf(x), xp.maximum(x, 0.0), finite * gate)[()]
