"""Element-wise exponentials, logarithms, trigonometric, hyperbolic and special functions.

Formulas: Abramowitz and Stegun, "Handbook of Mathematical Functions", 4.1 (log), 4.2 (exp), 4.3-4.6 (circular and
hyperbolic), 7.1 (erf).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from gradwire_engine.op import Array, Domain, Partials
from gradwire_engine.ops.arithmetic import NONZERO, POSITIVE, elementwise
from gradwire_engine.value import Value
from gradwire_engine.vocabulary import cos, cosh, exp, expit, hypot, isinf, minimum, reciprocal, rsqrt, sin, sinh, where

_LN2, _LN10 = math.log(2.0), math.log(10.0)
_INSIDE = Domain(-0.9, 0.9)
_ABOVE_ONE = Domain(1.1, 3.0)
_ABOVE_MINUS_ONE = Domain(-0.8, 3.0)


def _expit(x: Array) -> Any:
    from scipy.special import expit as evaluate

    return evaluate(x)


def _erf(x: Array) -> Any:
    from scipy.special import erf as evaluate

    return evaluate(x)


def _erfc(x: Array) -> Any:
    from scipy.special import erfc as evaluate

    return evaluate(x)


def _logaddexp_partials(attributes: Any, operands: Sequence[Value], r: Value) -> tuple[Value | None, ...]:
    x, y = operands
    # x - y is undefined only where both are the same infinity: at +inf the two share evenly, at -inf nothing moves r.
    same_infinity = isinf(x) & x.equals(y)
    at_infinity = where(x > 0.0, x.like(0.5), 0.0)
    return where(same_infinity, at_infinity, expit(x - y)), where(same_infinity, at_infinity, expit(y - x))


def _gaussian(x: Value) -> Value:
    square = x * x
    # Capped where it has long been 0, so that the next derivative is 0 at infinity and not inf * 0.
    return exp(-minimum(square, square.like(1600.0))) * (2.0 / math.sqrt(math.pi))


OPS = (
    elementwise("exp", 1, np.exp, Partials(lambda _, x, r: (r,)), flops=10.0),
    elementwise("exp2", 1, np.exp2, Partials(lambda _, x, r: (r * _LN2,)), flops=10.0),
    elementwise("expm1", 1, np.expm1, Partials(lambda _, x, r: (exp(x[0]),)), flops=15.0),
    # x + 0.0 turns -0.0 into 0.0, so that the derivative is +inf at both.
    elementwise("log", 1, np.log, Partials(lambda _, x, r: (reciprocal(x[0] + 0.0),)), domains=(POSITIVE,), flops=10.0),
    elementwise(
        "log1p",
        1,
        np.log1p,
        Partials(lambda _, x, r: (reciprocal(x[0] + 1.0),)),
        domains=(_ABOVE_MINUS_ONE,),
        flops=15.0,
    ),
    elementwise(
        "log2", 1, np.log2, Partials(lambda _, x, r: ((1.0 / _LN2) / (x[0] + 0.0),)), domains=(POSITIVE,), flops=10.0
    ),
    elementwise(
        "log10", 1, np.log10, Partials(lambda _, x, r: ((1.0 / _LN10) / (x[0] + 0.0),)), domains=(POSITIVE,), flops=10.0
    ),
    # Tested where the result is not near 0, where terms cancel.
    elementwise(
        "logaddexp",
        2,
        np.logaddexp,
        Partials(_logaddexp_partials),
        domains=(Domain(-0.5, 2.0),),
        flops=30.0,
        ulps=8.0,
    ),
    # expit(-x) and not 1 - r, which is 0 long before the derivative is.
    elementwise("expit", 1, _expit, Partials(lambda _, x, r: (r * expit(-x[0]),)), flops=12.0, library="scipy"),
    elementwise(
        "softplus",
        1,
        lambda x: np.logaddexp(x, x.dtype.type(0)),
        Partials(lambda _, x, r: (expit(x[0]),)),
        flops=25.0,
        ulps=8.0,
    ),
    elementwise("sin", 1, np.sin, Partials(lambda _, x, r: (cos(x[0]),)), flops=20.0),
    elementwise("cos", 1, np.cos, Partials(lambda _, x, r: (-sin(x[0]),)), flops=20.0),
    elementwise("tan", 1, np.tan, Partials(lambda _, x, r: (r * r + 1.0,)), domains=(Domain(-1.2, 1.2),), flops=25.0),
    elementwise(
        "asin",
        1,
        np.arcsin,
        Partials(lambda _, x, r: (rsqrt((1.0 - x[0]) * (1.0 + x[0])),)),
        domains=(_INSIDE,),
        flops=25.0,
    ),
    elementwise(
        "acos",
        1,
        np.arccos,
        Partials(lambda _, x, r: (-rsqrt((1.0 - x[0]) * (1.0 + x[0])),)),
        domains=(_INSIDE,),
        flops=25.0,
    ),
    elementwise("atan", 1, np.arctan, Partials(lambda _, x, r: (reciprocal(x[0] * x[0] + 1.0),)), flops=25.0),
    elementwise("sinh", 1, np.sinh, Partials(lambda _, x, r: (cosh(x[0]),)), flops=20.0),
    elementwise("cosh", 1, np.cosh, Partials(lambda _, x, r: (sinh(x[0]),)), domains=(NONZERO,), flops=20.0),
    elementwise("tanh", 1, np.tanh, Partials(lambda _, x, r: ((1.0 - r) * (1.0 + r),)), flops=15.0),
    elementwise(
        "asinh", 1, np.arcsinh, Partials(lambda _, x, r: (reciprocal(hypot(x[0], x[0].like(1.0))),)), flops=25.0
    ),
    elementwise(
        "acosh",
        1,
        np.arccosh,
        Partials(lambda _, x, r: (rsqrt((x[0] - 1.0) * (x[0] + 1.0)),)),
        domains=(_ABOVE_ONE,),
        flops=25.0,
    ),
    elementwise(
        "atanh",
        1,
        np.arctanh,
        Partials(lambda _, x, r: (reciprocal((1.0 - x[0]) * (1.0 + x[0])),)),
        domains=(_INSIDE,),
        flops=25.0,
    ),
    elementwise("erf", 1, _erf, Partials(lambda _, x, r: (_gaussian(x[0]),)), flops=25.0, library="scipy"),
    elementwise(
        "erfc", 1, _erfc, Partials(lambda _, x, r: (-_gaussian(x[0]),)), flops=25.0, ulps=16.0, library="scipy"
    ),
)
