"""Element-wise arithmetic. Derivatives stand beside the functions: ``r`` is the result, ``x`` and ``y`` the operands.

Guards replace only the point at which a rule is undefined (ops at (0, 0), never a whole line), so that mixed second
derivatives across them stay right.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradwire_engine.attributes import NONE, Attributes, Exponent
from gradwire_engine.errors import GraphError
from gradwire_engine.op import (
    Array,
    Bilinear,
    Case,
    Derivative,
    Domain,
    Jvp,
    Linear,
    Masked,
    Op,
    Partials,
    Tangents,
    TestData,
    Zero,
)
from gradwire_engine.ops.rules import (
    TypeRule,
    floating,
    numeric,
    require_bool,
    require_floating,
    require_same,
    stacked,
)
from gradwire_engine.tangents import add, negate, product, scale, select
from gradwire_engine.types import TensorType
from gradwire_engine.value import Value
from gradwire_engine.vocabulary import (
    floor_divide,
    hypot,
    integer_power,
    isnan,
    log,
    power,
    reciprocal,
    sign,
    where,
)

REAL = Domain()
POSITIVE = Domain(0.1, 3.0)
NONZERO = Domain(avoid=(0.0,))
BIG, SMALL = Domain(-3.0, 3.0), Domain(-1.0, 1.0)

SHAPES: tuple[tuple[int, ...], ...] = ((), (3,), (2, 3), (0, 2), (1,))


def elementwise(
    name: str,
    arity: int,
    evaluate: Callable[..., Any],
    derivative: Derivative,
    *,
    domains: tuple[Domain, ...] = (REAL,),
    types: TypeRule = floating,
    flops: float | Callable[[Any, Sequence[TensorType], Sequence[TensorType]], tuple[int, int]] = 1.0,
    scratch: float = 0.0,
    ulps: float = 4.0,
    dtypes: str = "f",
    attributes: type[Attributes] = Attributes,
    applied: tuple[Attributes, ...] = (NONE,),
    library: str = "numpy",
) -> Op:
    """The record of an element-wise op; `evaluate` takes the arrays only, unless the op has attributes."""
    with_attributes = attributes is not Attributes

    def run(given: Attributes, *arrays: Array) -> Any:
        return evaluate(given, *arrays) if with_attributes else evaluate(*arrays)

    return Op(
        name=name,
        arity=arity,
        types=types,
        evaluate=run,
        derivative=derivative,
        batch=stacked(name),
        attributes=attributes,
        flops=flops,
        scratch=scratch,
        elementwise=True,
        library=library,
        tests=TestData(
            domains=domains,
            cases=tuple(Case((shape,) * arity, given) for shape in SHAPES for given in applied),
            ulps=ulps,
            dtypes=dtypes,
        ),
    )


def elementwise_linear(
    tangent: Callable[[Any, Sequence[Value], Tangents], Masked | None],
    transpose: Callable[[Masked], Tangents],
) -> Linear:
    """Linear in all operands, which have the result's shape."""

    def transposed(
        attributes: Any, cotangent: Masked, operands: Sequence[Value | None], types: Sequence[TensorType]
    ) -> Tangents:
        return [each if known is None else None for each, known in zip(transpose(cotangent), operands, strict=True)]

    return Linear(None, transposed, None, tangent)


_ADD = elementwise_linear(lambda _, operands, t: add(t[0], t[1]), lambda ct: (ct, ct))
_SUBTRACT = elementwise_linear(
    lambda _, operands, t: add(t[0], None if t[1] is None else negate(t[1])), lambda ct: (ct, negate(ct))
)
_NEGATIVE = elementwise_linear(lambda _, operands, t: None if t[0] is None else negate(t[0]), lambda ct: (negate(ct),))


def _multiply_product(attributes: Any, operands: Sequence[Value], index: int, tangent: Masked) -> Masked:
    return scale(operands[1 - index], tangent)


def _multiply_transpose(
    attributes: Any, cotangent: Masked, operands: Sequence[Value | None], types: Sequence[TensorType]
) -> Tangents:
    x, y = operands
    return [None if y is None else scale(y, cotangent), None if x is None else scale(x, cotangent)]


def _masked_types(attributes: Any, operands: Sequence[TensorType]) -> tuple[TensorType, ...]:
    x, y, *masks = operands
    require_same((x, y))
    for mask in masks:
        if require_bool(mask).shape != x.shape:
            raise GraphError(f"got a mask of shape {mask.shape} for operands of shape {x.shape}")
    return (require_floating(x),)


# The derivative by a factor keeps what is known of the other factor, and takes what is known of this one's tangent.


def _masked_product(attributes: Any, operands: Sequence[Value], index: int, tangent: Masked) -> Masked:
    return product(Masked(operands[1 - index], operands[3 - index]), tangent)


def _masked_transpose(
    attributes: Any, cotangent: Masked, operands: Sequence[Value | None], types: Sequence[TensorType]
) -> Tangents:
    x, y, x_active, y_active = operands
    if x is None:
        assert y is not None
        return [product(Masked(y, y_active), cotangent), None, None, None]
    return [None, product(Masked(x, x_active), cotangent), None, None]


def _masked_multiply(x: Array, y: Array, x_active: Array, y_active: Array) -> Any:
    return np.where(x_active & y_active, x * y, np.zeros((), dtype=x.dtype))


def _pow(x: Array, y: Array) -> Any:
    if x.dtype.kind == "f":
        return np.power(x, y)
    result = np.power(x, np.maximum(y, 0))
    unit = np.where(y % 2 == 0, x * x, x)  # of 1 and -1
    return np.where(y < 0, np.where(np.abs(x) == 1, unit, 0), result).astype(x.dtype)


def _pow_partials(attributes: Any, operands: Sequence[Value], r: Value) -> tuple[Value | None, ...]:
    x, y = operands
    x_is_zero = x.equals(0.0)
    by_x = where(x_is_zero & y.equals(0.0), x.like(0.0), y * power(x, y - 1.0))
    # x^y log x is 0 at x = 0 where y > 0, and so is r, which goes on to have a slope there at y = 1
    at_zero = where(y.equals(0.0), x.like(0.0), r)
    by_y = where(x_is_zero & (y >= 0.0), at_zero, r * log(x))
    return by_x, by_y


_LEAST_EXPONENT, _LARGEST_EXPONENT = -(2**63), 2**63 - 1


def _integer_pow_types(attributes: Exponent, operands: Sequence[TensorType]) -> tuple[TensorType, ...]:
    if not _LEAST_EXPONENT <= attributes.exponent <= _LARGEST_EXPONENT:
        raise GraphError(f"got exponent {attributes.exponent}, expected a 64-bit integer; use pow")
    if attributes.exponent < 0 and not operands[0].dtype.is_floating:
        raise GraphError(f"got exponent {attributes.exponent} for {operands[0]}; convert to floating point first")
    return numeric(attributes, operands)


def _integer_pow(attributes: Exponent, x: Array) -> Any:
    n = attributes.exponent
    if x.dtype.kind == "i" and n > np.iinfo(x.dtype).max:
        period = 2 ** (np.iinfo(x.dtype).bits - 2)  # of odd numbers; even ones have long been 0
        n = period + n % period
    if n == 2:
        return x * x
    if n == 3:
        return x * x * x
    return np.power(x, x.dtype.type(n))


def _integer_pow_partials(attributes: Exponent, operands: Sequence[Value], r: Value) -> tuple[Value | None, ...]:
    n = attributes.exponent
    (x,) = operands
    if n == 0:
        return (None,)
    # The least exponent and the one below it are the same number once they are floating point.
    return (x.like(1.0),) if n == 1 else (integer_power(x, max(n - 1, _LEAST_EXPONENT)) * float(n),)


def _extremum_jvp(larger: bool) -> Jvp:
    def rule(attributes: Any, operands: Sequence[Value], results: Sequence[Value], tangents: Tangents) -> Tangents:
        x, y = operands
        wins_x = (x >= y if larger else x <= y) | isnan(x)
        wins_y = (y >= x if larger else y <= x) | isnan(y)
        share = where(wins_x & wins_y, x.like(0.5), 1.0)
        parts = [
            None if t is None else select(wins, scale(share, t))
            for wins, t in zip((wins_x, wins_y), tangents, strict=True)
        ]
        return [add(*parts)]

    return Jvp(rule)


def _relu_jvp(attributes: Any, operands: Sequence[Value], results: Sequence[Value], tangents: Tangents) -> Tangents:
    (x,), (t,) = operands, tangents
    return [None if t is None else select(x > 0.0, t)]


def _heaviside_jvp(
    attributes: Any, operands: Sequence[Value], results: Sequence[Value], tangents: Tangents
) -> Tangents:
    return [None if tangents[1] is None else select(operands[0].equals(0.0), tangents[1])]


def _hypot_partials(attributes: Any, operands: Sequence[Value], r: Value) -> tuple[Value | None, ...]:
    origin = r.equals(0.0)
    return tuple(where(origin, x.like(0.0), x / r) for x in operands)


def _atan2_partials(attributes: Any, operands: Sequence[Value], r: Value) -> tuple[Value | None, ...]:
    y, x = operands
    radius = hypot(x, y)  # dividing twice by the radius does not underflow where its square would
    origin = radius.equals(0.0)
    return where(origin, x.like(0.0), x / radius / radius), where(origin, x.like(0.0), -y / radius / radius)


def _relu(x: Array) -> Any:
    return np.maximum(x, x.dtype.type(0))


def _reciprocal(x: Array) -> Any:
    return np.divide(x.dtype.type(1), x)


OPS = (
    elementwise("add", 2, np.add, _ADD, types=numeric, dtypes="fi"),
    elementwise("subtract", 2, np.subtract, _SUBTRACT, types=numeric, dtypes="fi"),
    elementwise("negative", 1, np.negative, _NEGATIVE, types=numeric, dtypes="fi"),
    elementwise(
        "multiply", 2, np.multiply, Bilinear(_multiply_transpose, _multiply_product), types=numeric, dtypes="fi"
    ),
    elementwise(
        "divide",
        2,
        np.divide,
        Partials(lambda _, operands, r: (reciprocal(operands[1]), -(r / operands[1]))),
        domains=(REAL, NONZERO),
        flops=2.0,
    ),
    elementwise("reciprocal", 1, _reciprocal, Partials(lambda _, x, r: (-(r * r),)), domains=(NONZERO,), flops=2.0),
    elementwise("square", 1, np.square, Partials(lambda _, x, r: (x[0] * 2.0,)), types=numeric, dtypes="fi"),
    # r + 0.0 turns the root of -0.0 into that of 0.0, so that the derivative is +inf at both.
    elementwise("sqrt", 1, np.sqrt, Partials(lambda _, x, r: (0.5 / (r + 0.0),)), domains=(POSITIVE,), flops=4.0),
    elementwise(
        "rsqrt",
        1,
        lambda x: _reciprocal(np.sqrt(x)),
        Partials(lambda _, x, r: (-0.5 * r / x[0],)),
        domains=(POSITIVE,),
        flops=6.0,
        scratch=0.5,
    ),
    elementwise("cbrt", 1, np.cbrt, Partials(lambda _, x, r: (1.0 / (3.0 * (r * r)),)), domains=(NONZERO,), flops=20.0),
    elementwise(
        "pow",
        2,
        _pow,
        Partials(_pow_partials),
        types=numeric,
        domains=(POSITIVE, REAL),
        flops=40.0,
        scratch=1.5,
        ulps=16.0,
        dtypes="fi",
    ),
    elementwise(
        "integer_pow",
        1,
        _integer_pow,
        Partials(_integer_pow_partials),
        types=_integer_pow_types,
        domains=(NONZERO,),
        flops=8.0,
        scratch=0.5,
        ulps=8.0,
        dtypes="fi",
        attributes=Exponent,
        applied=(Exponent(-2), Exponent(0), Exponent(1), Exponent(2), Exponent(3), Exponent(5)),
    ),
    elementwise(
        "remainder",
        2,
        np.remainder,
        Partials(lambda _, operands, r: (r.like(1.0), -floor_divide(*operands))),
        types=numeric,
        domains=(Domain(5.1, 5.9), Domain(1.1, 1.25)),
        flops=8.0,
        ulps=16.0,
        dtypes="fi",
    ),
    elementwise(
        "floor_divide",
        2,
        np.floor_divide,
        Zero(),
        types=numeric,
        domains=(Domain(5.1, 5.9), Domain(1.1, 1.25)),
        flops=8.0,
        dtypes="fi",
    ),
    elementwise(
        "abs", 1, np.abs, Partials(lambda _, x, r: (sign(x[0]),)), types=numeric, domains=(NONZERO,), dtypes="fi"
    ),
    elementwise("sign", 1, np.sign, Zero(), types=numeric, domains=(NONZERO,), dtypes="fi"),
    elementwise("maximum", 2, np.maximum, _extremum_jvp(True), types=numeric, domains=(BIG, SMALL), dtypes="fi"),
    elementwise("minimum", 2, np.minimum, _extremum_jvp(False), types=numeric, domains=(BIG, SMALL), dtypes="fi"),
    elementwise("relu", 1, _relu, Jvp(_relu_jvp), types=numeric, domains=(NONZERO,), dtypes="fi"),
    elementwise("heaviside", 2, np.heaviside, Jvp(_heaviside_jvp), domains=(NONZERO, REAL)),
    elementwise("hypot", 2, np.hypot, Partials(_hypot_partials), domains=(NONZERO,), flops=10.0),
    elementwise("atan2", 2, np.arctan2, Partials(_atan2_partials), domains=(POSITIVE, POSITIVE), flops=30.0),
    Op(
        name="masked_multiply",
        arity=4,
        types=_masked_types,
        evaluate=lambda _, x, y, x_active, y_active: _masked_multiply(x, y, x_active, y_active),
        derivative=Bilinear(_masked_transpose, _masked_product),
        batch=stacked("masked_multiply"),
        flops=2.0,
        scratch=0.5,
        elementwise=True,
        tests=TestData(
            cases=tuple(Case((shape,) * 4, NONE, (None, None, "bool", "bool")) for shape in SHAPES), dtypes="f"
        ),
    ),
)
