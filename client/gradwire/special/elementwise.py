"""Element-wise functions by their names in scipy.special.

On traced values they are operations of the service. Plain numbers and arrays are given to scipy where that is
installed; where it is not, to numpy and the standard library as far as these go.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping, Sequence
from statistics import NormalDist
from typing import Any, Final

import numpy as np

from gradwire.errors import GradwireError
from gradwire.numpy_functions.operands import (
    broadcast,
    broadcast_shapes,
    dtype_of,
    emit,
    floating,
    integer,
    promoted,
    wrong,
)
from gradwire.numpy_functions.special_functions import SPECIAL
from gradwire.tracing.promotion import common_type
from gradwire.tracing.tracer import Tracer
from gradwire_engine.attributes import Order
from gradwire_engine.ops.special import MAX_ORDER

Array = Any


def gamma(x: Any) -> Array:
    """The gamma function."""
    return applied("gamma", x)


def gammaln(x: Any) -> Array:
    """The logarithm of the absolute value of `gamma`, without overflow."""
    return applied("gammaln", x)


def gammasgn(x: Any) -> Array:
    """The sign of `gamma`: 1 or -1, NaN at -1, -2, …"""
    return applied("gammasgn", x)


def rgamma(x: Any) -> Array:
    """1 / gamma(x), which is 0 at 0, -1, -2, … and has derivatives there."""
    return applied("rgamma", x)


def digamma(x: Any) -> Array:
    """The derivative of `gammaln`."""
    return applied("psi", x)


psi = digamma


def polygamma(n: Any, x: Any) -> Array:
    """The derivative of order n of `digamma`; n is a Python integer, 0 to 100."""
    order = integer(n, "polygamma: n")
    if not 0 <= order <= MAX_ORDER:
        raise wrong(f"polygamma: n is {order}, expected 0 to {MAX_ORDER}")
    if isinstance(x, Tracer):
        return emit(floating(x), "polygamma", attributes=Order(order))
    return _numbers("polygamma", (x,), order)


def multigammaln(a: Any, d: Any) -> Array:
    """The logarithm of the multivariate gamma function of dimension d, a Python integer of at least 1."""
    dimension = integer(d, "multigammaln: d")
    if dimension < 1:
        raise wrong(f"multigammaln: d is {dimension}, expected at least 1")
    terms = [gammaln(a - 0.5 * j) for j in range(dimension)]
    return sum(terms[1:], terms[0]) + dimension * (dimension - 1) / 4.0 * math.log(math.pi)


def beta(a: Any, b: Any) -> Array:
    """gamma(a) gamma(b) / gamma(a + b), without overflow."""
    return applied("beta", a, b)


def betaln(a: Any, b: Any) -> Array:
    """The logarithm of the absolute value of `beta`."""
    return applied("betaln", a, b)


def erfcx(x: Any) -> Array:
    """exp(x**2) erfc(x), without underflow."""
    return applied("erfcx", x)


def erfinv(x: Any) -> Array:
    """The inverse of `erf`."""
    return applied("erfinv", x)


def erfcinv(x: Any) -> Array:
    """The inverse of `erfc`, exact for small x."""
    return applied("erfcinv", x)


def ndtr(x: Any) -> Array:
    """The distribution function of the standard normal distribution."""
    return applied("ndtr", x)


def ndtri(x: Any) -> Array:
    """The inverse of `ndtr`."""
    return applied("ndtri", x)


def log_ndtr(x: Any) -> Array:
    """The logarithm of `ndtr`; its derivatives are right far in the tail too."""
    return applied("log_ndtr", x)


def xlogy(x: Any, y: Any) -> Array:
    """x log(y), and 0 where x is 0."""
    return applied("xlogy", x, y)


def xlog1py(x: Any, y: Any) -> Array:
    """x log(1 + y), and 0 where x is 0."""
    return applied("xlog1py", x, y)


def entr(x: Any) -> Array:
    """-x log(x): 0 at 0, -inf below."""
    return applied("entr", x)


def rel_entr(x: Any, y: Any) -> Array:
    """x log(x / y): 0 where x is 0 and y is not negative, +inf where one is negative or only y is 0."""
    return applied("rel_entr", x, y)


def kl_div(x: Any, y: Any) -> Array:
    """rel_entr(x, y) - x + y."""
    return applied("kl_div", x, y)


def i0(x: Any) -> Array:
    """The modified Bessel function of the first kind of order 0."""
    return applied("i0", x)


def i0e(x: Any) -> Array:
    """exp(-|x|) i0(x)."""
    return applied("i0e", x)


def i1(x: Any) -> Array:
    """The modified Bessel function of the first kind of order 1."""
    return applied("i1", x)


def i1e(x: Any) -> Array:
    """exp(-|x|) i1(x)."""
    return applied("i1e", x)


def exprel(x: Any) -> Array:
    """(exp(x) - 1) / x, and 1 at 0, where derivatives are right to every order."""
    return applied("exprel", x)


def applied(name: str, *operands: Any) -> Array:
    """The function of that name in scipy.special."""
    if not any([isinstance(one, Tracer) for one in operands]):
        return _numbers(name, operands)
    tracers = [floating(one) for one in promoted(operands, name)]
    shape = broadcast_shapes(*[one.shape for one in tracers])
    values = [broadcast(one, shape)._value for one in tracers]
    return tracers[0]._trace.wrap(SPECIAL[name](*values))


# Plain numbers


def _numbers(name: str, operands: Sequence[Any], *leading: int) -> Any:
    """By scipy, in the type that traced operands would have; `leading` are static arguments before the operands."""
    dtype = common_type([dtype_of(one) for one in operands], name)
    dtype = dtype if dtype.kind == "f" else np.dtype(np.float64)
    arrays = [np.asarray(one).astype(dtype) for one in operands]
    try:
        function = getattr(importlib.import_module("scipy.special"), name)
    except ImportError:
        function = _WITHOUT_SCIPY.get(name)
        if function is None:
            raise GradwireError(
                f"gw.special.{name} of plain numbers needs scipy, which is not installed: "
                "pip install 'gradwire[service]'. Traced values are evaluated by the service",
                reason="SCIPY_MISSING",
            ) from None
    with np.errstate(all="ignore"):
        return np.asarray(function(*leading, *arrays)).astype(dtype)[()]


def _gammaln(x: float) -> float:
    try:
        return math.lgamma(x)
    except (ValueError, OverflowError):  # a pole, or too large
        return math.inf


def _ndtri(x: float) -> float:
    if 0.0 < x < 1.0:
        return NormalDist().inv_cdf(x)
    return {0.0: -math.inf, 1.0: math.inf}.get(x, math.nan)


def _zero_where_x_is(log: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda x, y: np.where((x == 0) & ~np.isnan(y), 0.0, x * log(y))


_WITHOUT_SCIPY: Final[Mapping[str, Callable[..., Any]]] = {
    "gammaln": np.frompyfunc(_gammaln, 1, 1),
    "ndtr": np.frompyfunc(lambda x: 0.5 * math.erfc(-x * math.sqrt(0.5)), 1, 1),
    "ndtri": np.frompyfunc(_ndtri, 1, 1),
    "xlogy": _zero_where_x_is(np.log),
    "xlog1py": _zero_where_x_is(np.log1p),
    "entr": lambda x: np.where(x == 0, 0.0, np.where(x < 0, -np.inf, -x * np.log(x))),
    "expit": lambda x: np.exp(-np.logaddexp(0, -x)),
    "i0": np.i0,
    "exprel": lambda x: np.where(x == 0, 1.0, np.expm1(x) / x),
}
