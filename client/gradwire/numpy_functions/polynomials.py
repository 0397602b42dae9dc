"""Polynomials as their coefficients, the highest power first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gradwire.numpy_functions.operands import Array, Table, cast, entries, integer, lift, lifted, promoted, wrong, xp
from gradwire.tracing.complaints import unsupported_argument


def polyval(p: Any, x: Any) -> Any:
    """numpy.polyval, by Horner's rule."""
    coefficients, points = lifted(p, x)
    result: Any = xp.zeros_like(points)
    for coefficient in coefficients:
        result = result * points + coefficient
    return result


def vander(x: Any, N: Any = None, increasing: bool = False) -> Any:
    """numpy.vander."""
    array = lift(x)
    if array.ndim != 1:
        raise wrong("x must be a one-dimensional array or sequence.")
    columns = array.shape[0] if N is None else integer(N, "N")
    array = cast(array, np.promote_types(array.dtype, np.int64))
    powers = [array**k for k in range(columns)]
    return xp.stack(powers if increasing else powers[::-1], axis=1)


def _combined(combine: np.ufunc) -> Callable[..., Array]:
    """polyadd and polysub: the shorter one is padded in front."""

    def function(a1: Any, a2: Any) -> Array:
        x, y = (xp.atleast_1d(polynomial) for polynomial in promoted([a1, a2], "polyadd"))
        length = max(x.shape[0], y.shape[0])
        return combine(*[xp.pad(polynomial, (length - polynomial.shape[0], 0)) for polynomial in (x, y)])

    return function


def polymul(a1: Any, a2: Any) -> Array:
    """numpy.polymul; leading zeros stay."""
    return xp.convolve(*[xp.atleast_1d(polynomial) for polynomial in lifted(a1, a2)])


def polyder(p: Any, m: Any = 1) -> Array:
    """numpy.polyder."""
    coefficients = xp.atleast_1d(lift(p))
    for _ in range(_order(m, "derivative")):
        coefficients = coefficients[:-1] * np.arange(coefficients.shape[0] - 1, 0, -1)
    return coefficients


def polyint(p: Any, m: Any = 1, k: Any = None) -> Array:
    """numpy.polyint."""
    coefficients = xp.atleast_1d(lift(p))
    count = _order(m, "integral")
    constants = [0.0] * count if k is None else entries(k)
    if len(constants) == 1:
        constants = constants * count
    if len(constants) < count:
        raise wrong("k must be a scalar or a rank-1 array of length 1 or >m.")
    for constant in constants[:count]:
        raised = coefficients / np.arange(coefficients.shape[0], 0, -1)
        coefficients = xp.append(raised, constant)
    return coefficients


def polyfit(x: Any, y: Any, deg: Any, rcond: Any = None, full: Any = False, w: Any = None, cov: Any = False) -> Array:
    """numpy.polyfit: the coefficients alone."""
    if full or cov:
        raise unsupported_argument("polyfit", "full and cov")
    points, values = (cast(operand, np.dtype(np.float64)) for operand in lifted(x, y))
    if points.ndim != 1 or values.ndim not in (1, 2) or values.shape[0] != points.shape[0]:
        raise wrong(f"polyfit: expected points of one axis and as many values, got {points.shape} and {values.shape}")
    columns = vander(points, _order(deg, "polynomial") + 1)
    if w is not None:
        weights = xp.reshape(lift(w), (-1, 1))
        columns, values = columns * weights, values * xp.reshape(weights, (-1, *(1,) * (values.ndim - 1)))
    scale = xp.sqrt(xp.sum(columns * columns, axis=0))
    solution = xp.linalg.lstsq(columns / scale, values, rcond)[0]
    return xp.transpose(xp.transpose(solution) / scale)


def _order(m: Any, what: str) -> int:
    order = integer(m, "m")
    if order < 0:
        raise wrong(f"Order of {what} must be positive")
    return order


TABLE: Table = {
    np.polyval: polyval,
    np.vander: vander,
    np.polyadd: _combined(np.add),
    np.polysub: _combined(np.subtract),
    np.polymul: polymul,
    np.polyder: polyder,
    np.polyint: polyint,
    np.polyfit: polyfit,
}
