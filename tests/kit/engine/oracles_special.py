"""The special functions written again for independent engines.

Families that have an order are written as formulas of their first members, which hold where the ops are compared: away
from removable singularities and tails. What the ops do there is in `test_special_corners`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

Function = Callable[..., Any]
"""(attributes, *arrays of the engine) -> array of the engine."""


def _erfcx(first: Function) -> Function:
    """Derivatives of exp(x²) erfc(x), upwards."""

    def function(attributes: Any, x: Any) -> Any:
        lower, found = 2.0 / math.sqrt(math.pi) + 0.0 * x, first(x)
        for k in range(attributes.order):
            lower, found = found, 2.0 * x * found + (2.0 * k if k else -1.0) * lower
        return found

    return function


def _divided(first: Function, derivative: Callable[[int, Any], Any]) -> Function:
    """Derivatives of a quotient g(x)/x from those of g."""

    def function(attributes: Any, x: Any) -> Any:
        found = first(x)
        for k in range(1, attributes.order + 1):
            found = (derivative(k, x) - k * found) / x
        return found

    return function


def _bessel(zero: Function, one: Function) -> Function:
    """Bessel functions of higher orders from those of orders 0 and 1."""

    def function(attributes: Any, x: Any) -> Any:
        lower, found = zero(x), one(x)
        if attributes.order == 0:
            return lower
        for k in range(1, attributes.order):
            lower, found = found, lower - 2.0 * k / x * found
        return found

    return function


def _families(xp: Any, erfcx: Function, i0e: Function, i1e: Function) -> dict[str, Function]:
    """What is a formula of sines and exponentials, in a namespace that has these."""

    def sine(order: int, x: Any) -> Any:
        return xp.sin(x + order * (math.pi / 2.0))

    return {
        "erfcx": _erfcx(erfcx),
        "ive": _bessel(i0e, i1e),
        "iv": _bessel(lambda x: i0e(x) * xp.exp(xp.abs(x)), lambda x: i1e(x) * xp.exp(xp.abs(x))),
        "sinc": _divided(lambda x: xp.sin(x) / x, sine),
        "exprel": _divided(lambda x: xp.expm1(x) / x, lambda _, x: xp.exp(x)),
    }


def of_autograd() -> dict[str, Function]:
    import autograd.numpy as xp
    from autograd.scipy import special

    root = math.sqrt(2.0)
    return {
        "gammaln": lambda _, x: special.gammaln(x),
        "gamma": lambda _, x: special.gamma(x),
        "polygamma": lambda a, x: special.polygamma(a.order, x) if a.order else special.digamma(x),
        "betaln": lambda _, x, y: special.betaln(x, y),
        "erfinv": lambda _, x: special.erfinv(x),
        "ndtri": lambda _, x: root * special.erfinv(2.0 * x - 1.0),
        "log_ndtr": lambda _, x: xp.log(0.5 * special.erfc(-x / root)),
        "xlogy": lambda _, x, y: x * xp.log(y),
        "xlog1py": lambda _, x, y: x * xp.log1p(y),
        **_families(
            xp,
            lambda x: xp.exp(x * x) * special.erfc(x),
            lambda x: special.i0(x) * xp.exp(-xp.abs(x)),
            lambda x: special.i1(x) * xp.exp(-xp.abs(x)),
        ),
    }


def of_jax() -> dict[str, Function]:
    import jax.numpy as xp
    from jax.scipy import special

    return {
        "gammaln": lambda _, x: special.gammaln(x),
        "gamma": lambda _, x: special.gamma(x),
        "polygamma": lambda a, x: special.digamma(x) if a.order == 0 else special.polygamma(a.order, x),
        "betaln": lambda _, x, y: special.betaln(x, y),
        "erfinv": lambda _, x: special.erfinv(x),
        "ndtri": lambda _, x: special.ndtri(x),
        "log_ndtr": lambda _, x: special.log_ndtr(x),
        "xlogy": lambda _, x, y: special.xlogy(x, y),
        "xlog1py": lambda _, x, y: special.xlog1py(x, y),
        **_families(xp, lambda x: xp.exp(x * x) * special.erfc(x), special.i0e, special.i1e),
    }


def of_torch() -> dict[str, Function]:
    import torch

    special = torch.special

    def polygamma(attributes: Any, x: Any) -> Any:
        """From a distance: torch's derivative of digamma has ten digits at small x, and all at large ones."""
        n = attributes.order
        factor = (-1.0) ** n * math.factorial(n)
        return special.polygamma(n, x + 40.0) - sum(factor / (x + k) ** (n + 1) for k in range(40))

    return {
        "gammaln": lambda _, x: special.gammaln(x),
        "gamma": lambda _, x: torch.exp(special.gammaln(x)),
        "polygamma": polygamma,
        "betaln": lambda _, x, y: special.gammaln(x) + special.gammaln(y) - special.gammaln(x + y),
        "erfinv": lambda _, x: special.erfinv(x),
        "ndtri": lambda _, x: special.ndtri(x),
        "log_ndtr": lambda _, x: special.log_ndtr(x),
        "xlogy": lambda _, x, y: special.xlogy(x, y),
        "xlog1py": lambda _, x, y: special.xlog1py(x, y),
        **_families(torch, lambda x: torch.exp(x * x) * special.erfc(x), special.i0e, special.i1e),
    }
