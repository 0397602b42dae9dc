"""Element-wise functions by their names in scipy.special: one record each, for `gw.special` and for scipy's own ufuncs.

A record says what a function is called, what it means on traced values, and how plain numbers are computed. From it
come the function of `gw.special`, the meaning of scipy's ufunc of that name on traced values, and the stub for type
checkers. A rule sees values of one floating-point type and one shape. What is not an op of the engine is a composition
that is stable and right at the corners: `where` leaks nothing from the side that it does not select, so a form that
holds on one side only may be garbage on the other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Final

import numpy as np

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


@dataclass(frozen=True, kw_only=True)
class SpecialFunction:
    """An element-wise function of `gw.special`."""

    name: str
    operands: tuple[str, ...] = ("x",)
    text: str
    """What its docstring says."""
    rule: Rule
    """What it means on traced values."""
    numbers: Callable[..., Any] | None = None
    """How plain arrays are computed where scipy is not installed; None: not at all."""
    needs_no_scipy: bool = False
    """`numbers` is as good as scipy, and used in its place."""
    ufunc: str | None = ""
    """Its ufunc in scipy.special, "" where that has the same name; None where scipy has no such ufunc."""

    @property
    def name_in_scipy(self) -> str:
        """What scipy.special calls it."""
        return self.ufunc or self.name


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
    entropy = where(close, near, x.emit("xlogy", x) - x.emit("xlogy", y))
    entropy = where(x.equals(0.0) & y.equals(0.0), x.like(0.0), entropy)
    return where((x < 0.0) | (y < 0.0), x.like(math.inf), entropy)


def _kl_div(x: Value, y: Value) -> Value:
    return where((x < 0.0) | (y < 0.0), x.like(math.inf), _rel_entr(x, y) - x + y)


def _cosm1(x: Value) -> Value:
    half = sin(x * 0.5)
    return half * half * -2.0


# Plain numbers


def _gammaln_of_number(x: float) -> float:
    try:
        return math.lgamma(x)
    except (ValueError, OverflowError):  # a pole, or too large
        return math.inf


def _ndtri_of_number(x: float) -> float:
    if 0.0 < x < 1.0:
        return NormalDist().inv_cdf(x)
    return {0.0: -math.inf, 1.0: math.inf}.get(x, math.nan)


def _logit_of_numbers(x: Any) -> Any:
    return np.where(np.abs(x - 0.5) < 0.25, 2 * np.arctanh(2 * x - 1), np.log(x) - np.log1p(-x))


def _zero_where_x_is(log: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda x, y: np.where((x == 0) & ~np.isnan(y), 0.0, x * log(y))


# The table

_X_AND_Y: Final = ("x", "y")
_A_AND_B: Final = ("a", "b")

EXPIT: Final = SpecialFunction(
    name="expit",
    text="The logistic function, 1 / (1 + exp(-x)).",
    rule=op("expit"),
    numbers=lambda x: np.exp(-np.logaddexp(0, -x)),
    needs_no_scipy=True,
)
SPECIAL_FUNCTIONS: Final = (
    EXPIT,
    SpecialFunction(
        name="log_expit",
        text="The logarithm of `expit`, without underflow.",
        rule=_log_expit,
        numbers=lambda x: -np.logaddexp(0, -x),
        needs_no_scipy=True,
    ),
    SpecialFunction(
        name="logit",
        text="log(x / (1 - x)), the inverse of `expit`; NaN outside [0, 1].",
        rule=_logit,
        numbers=_logit_of_numbers,
        needs_no_scipy=True,
    ),
    SpecialFunction(
        name="softplus",
        text="log(1 + exp(x)), without overflow.",
        rule=op("softplus"),
        numbers=lambda x: np.logaddexp(0, x),
        needs_no_scipy=True,
        ufunc=None,
    ),
    SpecialFunction(
        name="erf",
        text="The error function.",
        rule=op("erf"),
        numbers=np.frompyfunc(math.erf, 1, 1),
        needs_no_scipy=True,
    ),
    SpecialFunction(
        name="erfc",
        text="1 - erf(x), exact for large x.",
        rule=op("erfc"),
        numbers=np.frompyfunc(math.erfc, 1, 1),
        needs_no_scipy=True,
    ),
    SpecialFunction(name="erfcx", text="exp(x**2) erfc(x), without underflow.", rule=lambda x: erfcx(x, 0)),
    SpecialFunction(name="erfinv", text="The inverse of `erf`.", rule=op("erfinv")),
    SpecialFunction(name="erfcinv", text="The inverse of `erfc`, exact for small x.", rule=_erfcinv),
    SpecialFunction(
        name="ndtr",
        text="The distribution function of the standard normal distribution.",
        rule=_ndtr,
        numbers=np.frompyfunc(lambda x: 0.5 * math.erfc(-x * math.sqrt(0.5)), 1, 1),
    ),
    SpecialFunction(
        name="ndtri", text="The inverse of `ndtr`.", rule=op("ndtri"), numbers=np.frompyfunc(_ndtri_of_number, 1, 1)
    ),
    SpecialFunction(
        name="log_ndtr",
        text="The logarithm of `ndtr`; its derivatives are right far in the tail too.",
        rule=op("log_ndtr"),
    ),
    SpecialFunction(name="gamma", text="The gamma function.", rule=op("gamma")),
    SpecialFunction(
        name="gammaln",
        text="The logarithm of the absolute value of `gamma`, without overflow.",
        rule=op("gammaln"),
        numbers=np.frompyfunc(_gammaln_of_number, 1, 1),
    ),
    SpecialFunction(name="gammasgn", text="The sign of `gamma`: 1 or -1, NaN at -1, -2, …", rule=_gammasgn),
    SpecialFunction(
        name="rgamma",
        text="1 / gamma(x), which is 0 at 0, -1, -2, … and has derivatives there.",
        rule=_rgamma,
    ),
    SpecialFunction(name="digamma", text="The derivative of `gammaln`.", rule=lambda x: polygamma(x, 0), ufunc="psi"),
    SpecialFunction(
        name="beta", operands=_A_AND_B, text="gamma(a) gamma(b) / gamma(a + b), without overflow.", rule=_beta
    ),
    SpecialFunction(
        name="betaln", operands=_A_AND_B, text="The logarithm of the absolute value of `beta`.", rule=op("betaln")
    ),
    SpecialFunction(
        name="xlogy",
        operands=_X_AND_Y,
        text="x log(y), and 0 where x is 0.",
        rule=op("xlogy"),
        numbers=_zero_where_x_is(np.log),
    ),
    SpecialFunction(
        name="xlog1py",
        operands=_X_AND_Y,
        text="x log(1 + y), and 0 where x is 0.",
        rule=op("xlog1py"),
        numbers=_zero_where_x_is(np.log1p),
    ),
    SpecialFunction(
        name="entr",
        text="-x log(x): 0 at 0, -inf below.",
        rule=_entr,
        numbers=lambda x: np.where(x == 0, 0.0, np.where(x < 0, -np.inf, -x * np.log(x))),
    ),
    SpecialFunction(
        name="rel_entr",
        operands=_X_AND_Y,
        text="x log(x / y): 0 where x is 0 and y is not negative, +inf where one is negative or only y is 0.",
        rule=_rel_entr,
    ),
    SpecialFunction(name="kl_div", operands=_X_AND_Y, text="rel_entr(x, y) - x + y.", rule=_kl_div),
    SpecialFunction(
        name="i0",
        text="The modified Bessel function of the first kind of order 0.",
        rule=lambda x: iv(x, 0),
        numbers=np.i0,
    ),
    SpecialFunction(name="i0e", text="exp(-|x|) i0(x).", rule=lambda x: ive(x, 0)),
    SpecialFunction(
        name="i1", text="The modified Bessel function of the first kind of order 1.", rule=lambda x: iv(x, 1)
    ),
    SpecialFunction(name="i1e", text="exp(-|x|) i1(x).", rule=lambda x: ive(x, 1)),
    SpecialFunction(
        name="exprel",
        text="(exp(x) - 1) / x, and 1 at 0, where derivatives are right to every order.",
        rule=lambda x: exprel(x, 0),
        numbers=lambda x: np.where(x == 0, 1.0, np.expm1(x) / x),
    ),
)

SPECIAL: Final[Mapping[str, Rule]] = {
    **{function.name_in_scipy: function.rule for function in SPECIAL_FUNCTIONS if function.ufunc is not None},
    "cbrt": op("cbrt"),
    "exp2": op("exp2"),
    "exp10": lambda x: x.like(10.0).emit("pow", x),
    "expm1": op("expm1"),
    "log1p": op("log1p"),
    "cosm1": _cosm1,
}
"""Ufuncs of scipy.special, by name: those that `gw.special` has, and others that occur in code written for scipy."""
