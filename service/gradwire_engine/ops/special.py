"""Element-wise special functions: gamma, error and Bessel functions, and products with logarithms.

Six families are closed under differentiation and have their order as an attribute: ``polygamma``, ``erfcx``, ``sinc``
and ``exprel`` are the derivatives of that order, ``iv`` and ``ive`` the Bessel functions of that order. So their
derivatives are right at every point and to every order, at the removable singularities and far in the tails too.

Formulas: Abramowitz and Stegun, "Handbook of Mathematical Functions", 6 (gamma functions), 7 (error functions and their
repeated integrals), 9.6 (modified Bessel functions).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from gradwire_engine.attributes import Order
from gradwire_engine.errors import GraphError
from gradwire_engine.op import Array, Domain, Partials
from gradwire_engine.ops.arithmetic import NONZERO, POSITIVE, REAL, elementwise
from gradwire_engine.ops.rules import floating
from gradwire_engine.types import TensorType
from gradwire_engine.value import Value
from gradwire_engine.vocabulary import erfcx, exp, iv, ive, log, log1p, polygamma, sign, where

MAX_ORDER = 100
"""The largest order of a family: beyond it, derivatives of these functions are no longer numbers of use."""

_INSIDE = Domain(-0.9, 0.9)
_PROBABILITY = Domain(0.1, 0.9)
_ROOT_TWO, _ROOT_PI = math.sqrt(2.0), math.sqrt(math.pi)
_ORDERS = (Order(0), Order(1), Order(2), Order(3))


def _scipy(name: str) -> Callable[..., Any]:
    """The function of scipy.special, imported when it is first evaluated."""

    def evaluate(*arrays: Array) -> Any:
        from scipy import special

        return getattr(special, name)(*arrays)

    return evaluate


def _ordered(attributes: Order, operands: Sequence[TensorType]) -> tuple[TensorType, ...]:
    if not 0 <= attributes.order <= MAX_ORDER:
        raise GraphError(f"got order {attributes.order}, expected 0 to {MAX_ORDER}")
    return floating(attributes, operands)


def _flops_by_order(
    low: float, high: float, each: float, *, from_order: int = 1
) -> Callable[[Order, Sequence[TensorType], Sequence[TensorType]], tuple[int, int]]:
    """Operations an element: `low` below an order, from there on `high` and `each` more for every order."""

    def flops(attributes: Order, operands: Sequence[TensorType], results: Sequence[TensorType]) -> tuple[int, int]:
        weight = low if attributes.order < from_order else high + each * attributes.order
        total = round(weight * results[0].elements)
        return (0, total) if results[0].is_batched else (total, 0)

    return flops


def _next_of(name: str) -> Partials:
    """The derivative is the next function of the family."""
    return Partials(lambda attributes, x, r: (x[0].emit(name, attributes=Order(attributes.order + 1)),))


# Gamma functions


@lru_cache(maxsize=MAX_ORDER + 1)
def _cotangent_polynomial(order: int) -> tuple[float, ...]:
    """Coefficients, lowest first, of the polynomial in cot t that is its derivative; of one sign, so none cancel."""
    coefficients = [0, 1]
    for _ in range(order):
        slopes = [power * c for power, c in enumerate(coefficients)][1:]
        coefficients = [-(a + b) for a, b in zip([*slopes, 0, 0], [0, 0, *slopes], strict=True)]
    return tuple([float(c) for c in coefficients])


def _polygamma(attributes: Order, x: Array) -> Any:
    from scipy import special

    n = attributes.order
    if n == 0:
        return special.digamma(x)
    wide = x.astype(np.float64)
    scale = float(math.factorial(n))
    # Below 0 by reflection: the sum behind zeta has as many terms as x has whole numbers between itself and 0.
    of_zeta = special.zeta(n + 1.0, np.where(wide > 0.0, wide, 1.0 - wide)) * scale
    fraction = wide - np.rint(wide)
    size = np.abs(fraction)
    steep = np.where(size > 0.25, np.tan(math.pi * (0.5 - size)), 1.0 / np.tan(math.pi * size))
    cotangent = np.copysign(steep, fraction)  # exactly 0 between two poles
    # Every other coefficient is 0: a polynomial in the square, times the cotangent where n is even.
    coefficients = _cotangent_polynomial(n)[(n + 1) % 2 :: 2]
    square, series = cotangent * cotangent, np.zeros_like(wide)
    for coefficient in reversed(coefficients):
        series = series * square + coefficient
    if n % 2 == 0:
        series = series * cotangent
    below = -(math.pi ** (n + 1)) * series - of_zeta
    odd = (-1.0) ** (n + 1)
    below = np.where(fraction == 0.0, odd * np.inf, below)
    return np.where(wide > 0.0, odd * of_zeta, below).astype(x.dtype)


def _gammaln_partials(attributes: Any, operands: Sequence[Value], r: Value) -> tuple[Value | None, ...]:
    return (polygamma(operands[0], 0),)


def _betaln_partials(attributes: Any, operands: Sequence[Value], r: Value) -> tuple[Value | None, ...]:
    of_sum = polygamma(operands[0] + operands[1], 0)
    return tuple(polygamma(x, 0) - of_sum for x in operands)


# Error functions


def _erfcx(attributes: Order, x: Array) -> Any:
    """Derivatives f of exp(x²) erfc(x): f' = 2x f - 2/√π, f'' = 2x f' + 2f, and so on.

    Upwards these recurrences cancel where x is large: there the quotients of neighbours are found downwards.
    """
    from scipy import special

    n = attributes.order
    if n == 0:
        return special.erfcx(x)
    wide = x.astype(np.float64)
    first = special.erfcx(wide)
    lower, found = first, 2.0 * wide * first - 2.0 / _ROOT_PI
    for k in range(1, n):
        lower, found = found, 2.0 * wide * found + 2.0 * k * lower
    far = np.clip(wide, 1.0, 1e150)
    quotient = np.sqrt(far * far + 2.0 * (n + 120)) - far  # nearly; what is wrong with it shrinks on the way down
    product = first
    for k in range(n + 120, 0, -1):
        quotient = 2.0 * k / (2.0 * far + quotient)
        if k <= n:
            product = product * -quotient
    return np.where(wide >= 1.0, product, found).astype(x.dtype)


def _log_ndtr_partials(attributes: Any, operands: Sequence[Value], r: Value) -> tuple[Value | None, ...]:
    """The density over the distribution; by erfcx in the lower tail, where both vanish."""
    (x,) = operands
    lower = math.sqrt(2.0 / math.pi) / erfcx(x * (-1.0 / _ROOT_TWO), 0)
    capped = where(x > 40.0, x.like(40.0), x)  # the density has long been 0 there
    upper = exp(capped * capped * -0.5 - r) * (1.0 / (_ROOT_TWO * _ROOT_PI))
    return (where(x < 0.0, lower, upper),)


# Products with logarithms: 0 * log(0) is 0. The derivative by y is undefined at the point (0, 0) only.


def _xlogy_partials(attributes: Any, operands: Sequence[Value], r: Value) -> tuple[Value | None, ...]:
    x, y = operands
    both_zero = x.equals(0.0) & y.equals(0.0)
    return log(y), where(both_zero, x.like(0.0), x / (y + 0.0))


def _xlog1py_partials(attributes: Any, operands: Sequence[Value], r: Value) -> tuple[Value | None, ...]:
    x, y = operands
    both_zero = x.equals(0.0) & y.equals(-1.0)
    return log1p(y), where(both_zero, x.like(0.0), x / (y + 1.0))


# Removable singularities


@lru_cache(maxsize=MAX_ORDER + 1)
def _quadrature(order: int) -> tuple[tuple[float, float], ...]:
    """Nodes t and weights for the integral of t**order g(t) over [0, 1] (Gauss and Legendre)."""
    nodes, weights = np.polynomial.legendre.leggauss(12 + 2 * order)
    middle = 0.5 * (nodes + 1.0)
    return tuple(zip(middle.tolist(), (0.5 * weights * middle**order).tolist(), strict=True))


def _with_moments(kernel: Callable[[Array], Array], order: int, x: Array) -> Array:
    """The integral of t**order kernel(t x) over [0, 1], which is the derivative of that order of kernel's mean."""
    total = np.zeros_like(x)
    for node, weight in _quadrature(order):
        total += weight * kernel(node * x)
    return total


def _sinc(attributes: Order, x: Array) -> Any:
    """Derivatives f of sin(x)/x: x f⁽ⁿ⁾ + n f⁽ⁿ⁻¹⁾ = sin⁽ⁿ⁾ upwards where x is large, else as a mean of cosines."""
    n = attributes.order
    if n == 0:
        return np.where(x == 0.0, x.dtype.type(1), np.sin(x) / x)
    wide = x.astype(np.float64)
    sine, cosine = np.sin(wide), np.cos(wide)
    derivatives = (sine, cosine, -sine, -cosine)
    far = sine / wide
    for k in range(1, n + 1):
        far = (derivatives[k % 4] - k * far) / wide
    kernel, factor = (np.cos, np.sin)[n % 2], (1.0, -1.0, -1.0, 1.0)[n % 4]
    near = np.abs(wide) < n + 2.0
    moments = factor * _with_moments(kernel, n, np.where(near, wide, 0.0))
    return np.where(near, moments, far).astype(x.dtype)


def _exprel(attributes: Order, x: Array) -> Any:
    """Derivatives f of (exp(x) - 1)/x: x f⁽ⁿ⁾ + n f⁽ⁿ⁻¹⁾ = exp(x) where x is large, else as a mean of exponentials."""
    from scipy import special

    n = attributes.order
    if n == 0:
        return special.exprel(x)
    wide = x.astype(np.float64)
    growing = np.exp(wide)
    far = special.exprel(wide)
    for k in range(1, n + 1):
        far = (growing - k * far) / wide
    near = np.abs(wide) < n + 2.0
    moments = _with_moments(np.exp, n, np.where(near, wide, 0.0))
    return np.where(near, moments, np.where(np.isinf(growing), growing, far)).astype(x.dtype)


# Bessel functions


def _ive(attributes: Order, x: Array) -> Any:
    """Iᵥ(x) exp(-|x|): by scipy, and upwards from orders 0 and 1 where x is too large for it."""
    from scipy import special

    n = attributes.order
    if n < 2:
        return special.i1e(x) if n else special.i0e(x)
    wide = np.abs(x.astype(np.float64))
    large = wide > 1e5
    found = special.ive(n, np.where(large, 1.0, wide))
    lower, upwards = special.i0e(wide), special.i1e(wide)
    for k in range(1, n):
        lower, upwards = upwards, lower - (2.0 * k / wide) * upwards
    found = np.where(large, upwards, found)
    return (np.where(x < 0, -found, found) if n % 2 else found).astype(x.dtype)


def _iv(attributes: Order, x: Array) -> Any:
    from scipy import special

    n = attributes.order
    if n < 2:
        return special.i1(x) if n else special.i0(x)
    size = np.abs(x)
    moderate = size < 100.0
    found = special.iv(n, np.where(moderate, x, 0).astype(np.float64))
    return np.where(moderate, found, np.exp(size) * _ive(attributes, x)).astype(x.dtype)


def _between_neighbours(family: Callable[[Value, int], Value], x: Value, order: int) -> Value:
    """The mean of the orders below and above; the order -1 is the order 1."""
    return (family(x, order - 1) + family(x, order + 1)) * 0.5 if order else family(x, 1)


def _iv_partials(attributes: Order, operands: Sequence[Value], r: Value) -> tuple[Value | None, ...]:
    return (_between_neighbours(iv, operands[0], attributes.order),)


def _ive_partials(attributes: Order, operands: Sequence[Value], r: Value) -> tuple[Value | None, ...]:
    (x,), n = operands, attributes.order
    # |x| has the derivative 0 at 0, as everywhere here.
    return (_between_neighbours(ive, x, n) - sign(x) * r,)


OPS = (
    elementwise(
        "gammaln",
        1,
        _scipy("gammaln"),
        Partials(_gammaln_partials),
        domains=(Domain(2.5, 5.0),),
        flops=60.0,
        ulps=8.0,
        library="scipy",
    ),
    elementwise(
        "gamma",
        1,
        _scipy("gamma"),
        Partials(lambda _, x, r: (r * polygamma(x[0], 0),)),
        domains=(Domain(0.3, 4.0),),
        flops=60.0,
        library="scipy",
    ),
    elementwise(
        "polygamma",
        1,
        _polygamma,
        _next_of("polygamma"),
        types=_ordered,
        domains=(Domain(0.4, 4.0, avoid=(1.4616,)),),
        flops=_flops_by_order(500.0, 1250.0, 10.0),
        scratch=12.0,
        attributes=Order,
        applied=_ORDERS,
        library="scipy",
    ),
    elementwise(
        "betaln",
        2,
        _scipy("betaln"),
        Partials(_betaln_partials),
        domains=(Domain(1.5, 4.0),),
        flops=150.0,
        ulps=16.0,
        library="scipy",
    ),
    elementwise(
        "erfinv",
        1,
        _scipy("erfinv"),
        Partials(lambda _, x, r: (exp(r * r) * (0.5 * _ROOT_PI),)),
        domains=(_INSIDE,),
        flops=40.0,
        library="scipy",
    ),
    elementwise(
        "erfcx",
        1,
        _erfcx,
        _next_of("erfcx"),
        types=_ordered,
        domains=(Domain(-1.0, 2.5),),
        flops=_flops_by_order(75.0, 640.0, 6.0),
        scratch=12.0,
        attributes=Order,
        applied=_ORDERS,
        library="scipy",
    ),
    elementwise(
        "ndtri",
        1,
        _scipy("ndtri"),
        Partials(lambda _, x, r: (exp(r * r * 0.5) * (_ROOT_TWO * _ROOT_PI),)),
        domains=(_PROBABILITY,),
        flops=40.0,
        library="scipy",
    ),
    elementwise("log_ndtr", 1, _scipy("log_ndtr"), Partials(_log_ndtr_partials), flops=40.0, ulps=8.0, library="scipy"),
    elementwise(
        "xlogy",
        2,
        _scipy("xlogy"),
        Partials(_xlogy_partials),
        domains=(REAL, POSITIVE),
        flops=15.0,
        library="scipy",
    ),
    elementwise(
        "xlog1py",
        2,
        _scipy("xlog1py"),
        Partials(_xlog1py_partials),
        domains=(REAL, Domain(-0.8, 3.0)),
        flops=20.0,
        library="scipy",
    ),
    elementwise(
        "iv",
        1,
        _iv,
        Partials(_iv_partials),
        types=_ordered,
        domains=(NONZERO,),
        flops=_flops_by_order(150.0, 2300.0, 20.0, from_order=2),
        scratch=14.0,
        attributes=Order,
        applied=_ORDERS,
        library="scipy",
    ),
    elementwise(
        "ive",
        1,
        _ive,
        Partials(_ive_partials),
        types=_ordered,
        domains=(NONZERO,),
        flops=_flops_by_order(130.0, 1050.0, 20.0, from_order=2),
        scratch=12.0,
        attributes=Order,
        applied=_ORDERS,
        library="scipy",
    ),
    elementwise(
        "sinc",
        1,
        _sinc,
        _next_of("sinc"),
        types=_ordered,
        domains=(Domain(-6.0, 6.0, avoid=(0.0,)),),
        flops=_flops_by_order(60.0, 800.0, 60.0),
        scratch=12.0,
        ulps=32.0,
        attributes=Order,
        applied=_ORDERS,
    ),
    elementwise(
        "exprel",
        1,
        _exprel,
        _next_of("exprel"),
        types=_ordered,
        domains=(Domain(-6.0, 4.0, avoid=(0.0,)),),
        flops=_flops_by_order(35.0, 350.0, 25.0),
        scratch=12.0,
        attributes=Order,
        applied=_ORDERS,
        library="scipy",
    ),
)
