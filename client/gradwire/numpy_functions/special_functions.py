"""Ufuncs of scipy.special: each as a rule over values of one floating-point type and one shape.

What is not an op of the engine is a composition that is stable and right at the corners: `where` leaks nothing from the
side that it does not select, so a form that holds on one side only may be garbage on the other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

from gradwire_engine.types import DType
from gradwire_engine.value import Value
from gradwire_engine.vocabulary import (
    absolute,
    erfcx,
    exp,
    exprel,
    floor,
    isinf,
    isnan,
    iv,
    ive,
    log,
    log1p,
    minimum,
    polygamma,
    reciprocal,
    sin,
    where,
)

Rule = Callable[..., Any]

_ROOT_HALF = math.sqrt(0.5)


def op(name: str) -> Rule:
    """The engine's op of that name."""

    def rule(x: Value, *others: Value) -> Value:
        return x.emit(name, *others)

    return rule


def _logit(x: Value) -> Value:
    """log(x / (1 - x)); by atanh where that form cancels, near 1/2."""
    middle = absolute(x - 0.5) < 0.25
    near = where(middle, x, 0.5)
    far = where(middle, x.like(0.25), x)
    return where(middle, (near * 2.0 - 1.0).emit("atanh") * 2.0, log(far) - log1p(-far))


def _log_expit(x: Value) -> Value:
    return -((-x).emit("softplus"))


# Gamma functions


def _is_odd(whole: Value) -> Value:
    half = whole * 0.5
    return floor(half).differs(half)


def _gamma_is_negative(x: Value) -> Value:
    """Between the poles below 0, in every other gap."""
    return (x < 0.0) & _is_odd(floor(x))


def _gammasgn(x: Value) -> Value:
    sign = where(_gamma_is_negative(x), x.like(-1.0), 1.0)
    sign = where(x.equals(0.0) & (reciprocal(x) < 0.0), x.like(-1.0), sign)
    return where(isnan(x) | ((x < 0.0) & floor(x).equals(x)), x.like(math.nan), sign)


def _rgamma(x: Value) -> Value:
    """1 / gamma(x), which has a derivative at the poles of gamma: below 1/2 by reflection, by gammaln near overflow."""
    nearest = x.emit("round")
    sine = sin((x - nearest) * math.pi)
    sine = where(_is_odd(nearest), -sine, sine)
    mirrored = (1.0 - x).emit("gamma")
    lower = where(sine.equals(0.0) & isinf(mirrored), x.like(0.0), sine * mirrored * (1.0 / math.pi))
    large = x > (170.0 if x.dtype is DType.FLOAT64 else 34.0)
    upper = where(large, exp(-minimum(x, x.like(1000.0)).emit("gammaln")), reciprocal(x.emit("gamma")))
    return where(x < 0.5, lower, upper)


def _beta(a: Value, b: Value) -> Value:
    size = exp(a.emit("betaln", b))
    negative = _gamma_is_negative(a).emit("logical_xor", _gamma_is_negative(b))
    negative = negative.emit("logical_xor", _gamma_is_negative(a + b))
    return where(negative, -size, size)


# Normal distribution and entropies


def _ndtr(x: Value) -> Value:
    return (x * -_ROOT_HALF).emit("erfc") * 0.5


def _erfcinv(x: Value) -> Value:
    return (x * 0.5).emit("ndtri") * -_ROOT_HALF


def _entr(x: Value) -> Value:
    return where(x < 0.0, x.like(-math.inf), -x.emit("xlogy", x))


def _rel_entr(x: Value, y: Value) -> Value:
    """x log(x / y); by log1p where the two are close, else as a difference of logarithms."""
    close = absolute(x - y) < absolute(y) * 0.5
    near = x.emit("xlog1py", where(close, (x - y) / y, 0.0))
    found = where(close, near, x.emit("xlogy", x) - x.emit("xlogy", y))
    found = where(x.equals(0.0) & y.equals(0.0), x.like(0.0), found)
    return where((x < 0.0) | (y < 0.0), x.like(math.inf), found)


def _kl_div(x: Value, y: Value) -> Value:
    return where((x < 0.0) | (y < 0.0), x.like(math.inf), _rel_entr(x, y) - x + y)


def _cosm1(x: Value) -> Value:
    half = sin(x * 0.5)
    return half * half * -2.0


SPECIAL: Final[Mapping[str, Rule]] = {
    "expit": op("expit"),
    "logit": _logit,
    "log_expit": _log_expit,
    "erf": op("erf"),
    "erfc": op("erfc"),
    "erfcx": lambda x: erfcx(x, 0),
    "erfinv": op("erfinv"),
    "erfcinv": _erfcinv,
    "ndtr": _ndtr,
    "ndtri": op("ndtri"),
    "log_ndtr": op("log_ndtr"),
    "gamma": op("gamma"),
    "gammaln": op("gammaln"),
    "gammasgn": _gammasgn,
    "rgamma": _rgamma,
    "psi": lambda x: polygamma(x, 0),
    "beta": _beta,
    "betaln": op("betaln"),
    "xlogy": op("xlogy"),
    "xlog1py": op("xlog1py"),
    "entr": _entr,
    "rel_entr": _rel_entr,
    "kl_div": _kl_div,
    "i0": lambda x: iv(x, 0),
    "i0e": lambda x: ive(x, 0),
    "i1": lambda x: iv(x, 1),
    "i1e": lambda x: ive(x, 1),
    "exprel": lambda x: exprel(x, 0),
    "cbrt": op("cbrt"),
    "exp2": op("exp2"),
    "exp10": lambda x: x.like(10.0).emit("pow", x),
    "expm1": op("expm1"),
    "log1p": op("log1p"),
    "cosm1": _cosm1,
}
"""Ufuncs of scipy.special, by name."""
