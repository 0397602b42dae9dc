"""What numpy's ufuncs mean: each is a rule over values that have numpy's loop types and one shape."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from gradwire.errors import TracingError
from gradwire.numpy_functions.special_functions import Rule, op
from gradwire.tracing.locations import at_user_line
from gradwire_engine.types import DType
from gradwire_engine.value import Value
from gradwire_engine.vocabulary import astype, floor_divide, isnan, where


def _on_bool(name: str, for_bool: str) -> Rule:
    """An op that on bools is a logical one."""

    def rule(x: Value, *others: Value) -> Value:
        return x.emit(for_bool if x.dtype is DType.BOOL else name, *others)

    return rule


def _same(x: Value) -> Value:
    return x


def _rounding(name: str) -> Rule:
    """numpy rounds integers to themselves."""

    def rule(x: Value) -> Value:
        return x.emit(name) if x.dtype.is_floating else x

    return rule


def _absolute(x: Value) -> Value:
    return x if x.dtype is DType.BOOL else x.emit("abs")


def _truth(name: str) -> Rule:
    def rule(x: Value, *others: Value) -> Value:
        return astype(x, DType.BOOL).emit(name, *[astype(other, DType.BOOL) for other in others])

    return rule


def _invert(x: Value) -> Value:
    return ~x if x.dtype is DType.BOOL else -1 - x


def _predicate(name: str, of_integers: bool) -> Rule:
    def rule(x: Value) -> Value:
        return x.emit(name) if x.dtype.is_floating else astype(x, DType.BOOL).like(of_integers)

    return rule


def _nan_loses(name: str) -> Rule:
    """fmax and fmin: a NaN gives way to a number."""

    def rule(x: Value, y: Value) -> Any:
        if not x.dtype.is_floating:
            return _on_bool(name, "logical_or" if name == "maximum" else "logical_and")(x, y)
        return where(isnan(x), y, where(isnan(y), x, x.emit(name, y)))

    return rule


def _reciprocal(x: Value) -> Value:
    if not x.dtype.is_floating:
        raise TracingError(at_user_line("np.reciprocal of integers; convert with .astype(np.float64), or write 1 // x"))
    return x.emit("reciprocal")


def _fmod(x: Value, y: Value) -> Value:
    """The remainder with the sign of x."""
    if x.dtype.is_floating:
        size = y.emit("abs")
        return where(x < 0.0, -((-x).emit("remainder", size)), x.emit("remainder", size))
    remainder = x.emit("remainder", y)
    signs_differ = (x < 0).emit("logical_xor", y < 0)
    return where(signs_differ & remainder.differs(0), remainder - y, remainder)


def _lcm(x: Value, y: Value) -> Value:
    return floor_divide(x.emit("abs"), x.emit("gcd", y)) * y.emit("abs")


def _signbit(x: Value) -> Value:
    """Whether the sign is set, that of -0.0 too; false for NaN."""
    return where(x.equals(0.0), x.emit("reciprocal"), x) < 0.0


def _copysign(x: Value, y: Value) -> Value:
    size = x.emit("abs")
    return where(_signbit(y), -size, size)


def _ldexp(x: Value, n: Value) -> Value:
    """x times 2 to the power n, in three steps: one factor alone may be no number where the result is."""
    limit = 2200 if x.dtype is DType.FLOAT64 else 300
    n = n.emit("maximum", n.like(-limit)).emit("minimum", n.like(limit))
    third = floor_divide(n, n.like(3))
    for part in (third, third, n - third * 2):
        x = x * astype(part, x.dtype).emit("exp2")
    return x


def _divmod(x: Value, y: Value) -> tuple[Value, Value]:
    return floor_divide(x, y), x.emit("remainder", y)


def _modf(x: Value) -> tuple[Value, Value]:
    whole = x.emit("trunc")
    return where(x.emit("isinf"), x.like(0.0), x - whole), whole


def _frexp(x: Value) -> tuple[Value, Value]:
    """A mantissa from 1/2 to below 1, and a power of 2; a logarithm that was rounded is put right."""
    size = x.emit("abs")
    ordinary = (size > 0.0) & size.emit("isfinite")
    power = astype(where(ordinary, size, 1.0).emit("log2").emit("floor") + 1.0, DType.INT32)
    for _ in range(2):
        scaled = _ldexp(size, -power)
        power = where(scaled >= 1.0, power + 1, where(scaled < 0.5, power - 1, power))
    return where(ordinary, _ldexp(x, -power), x), where(ordinary, power, 0)


def _logaddexp2(x: Value, y: Value) -> Value:
    scale = math.log(2.0)
    return (x * scale).emit("logaddexp", y * scale) * (1.0 / scale)


_SAME_NAME: Final = [
    "sqrt",
    "cbrt",
    "exp",
    "exp2",
    "expm1",
    "log",
    "log1p",
    "log2",
    "log10",
    "logaddexp",
    "sin",
    "cos",
    "tan",
    "sinh",
    "cosh",
    "tanh",
    "hypot",
    "heaviside",
    "square",
    "negative",
    "sign",
    "divide",
    "subtract",
    "equal",
    "not_equal",
    "less",
    "less_equal",
    "greater",
    "greater_equal",
    "remainder",
    "floor_divide",
]

RULES: Final[dict[np.ufunc, Rule]] = {
    **{getattr(np, name): op(name) for name in _SAME_NAME},
    np.add: _on_bool("add", "logical_or"),
    np.multiply: _on_bool("multiply", "logical_and"),
    np.maximum: _on_bool("maximum", "logical_or"),
    np.minimum: _on_bool("minimum", "logical_and"),
    np.fmax: _nan_loses("maximum"),
    np.fmin: _nan_loses("minimum"),
    np.positive: _same,
    np.conjugate: _same,
    np.absolute: _absolute,
    np.fabs: op("abs"),
    np.reciprocal: _reciprocal,
    np.power: op("pow"),
    np.float_power: op("pow"),
    np.fmod: _fmod,
    np.divmod: _divmod,
    np.modf: _modf,
    np.arcsin: op("asin"),
    np.arccos: op("acos"),
    np.arctan: op("atan"),
    np.arctan2: op("atan2"),
    np.arcsinh: op("asinh"),
    np.arccosh: op("acosh"),
    np.arctanh: op("atanh"),
    np.logaddexp2: _logaddexp2,
    np.deg2rad: lambda x: x * (math.pi / 180.0),
    np.radians: lambda x: x * (math.pi / 180.0),
    np.rad2deg: lambda x: x * (180.0 / math.pi),
    np.degrees: lambda x: x * (180.0 / math.pi),
    np.floor: _rounding("floor"),
    np.ceil: _rounding("ceil"),
    np.trunc: _rounding("trunc"),
    np.rint: _rounding("round"),
    np.isnan: _predicate("isnan", False),
    np.isinf: _predicate("isinf", False),
    np.isfinite: _predicate("isfinite", True),
    np.logical_and: _truth("logical_and"),
    np.logical_or: _truth("logical_or"),
    np.logical_xor: _truth("logical_xor"),
    np.logical_not: _truth("logical_not"),
    np.bitwise_and: _on_bool("bitwise_and", "logical_and"),
    np.bitwise_or: _on_bool("bitwise_or", "logical_or"),
    np.bitwise_xor: _on_bool("bitwise_xor", "logical_xor"),
    np.left_shift: op("left_shift"),
    np.right_shift: op("right_shift"),
    np.invert: _invert,
    np.gcd: op("gcd"),
    np.lcm: _lcm,
    np.signbit: _signbit,
    np.copysign: _copysign,
    np.ldexp: _ldexp,
    np.frexp: _frexp,
}
"""The rules, by the ufunc itself."""
