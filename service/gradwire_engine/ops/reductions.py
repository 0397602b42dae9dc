"""Reductions and normalisations over a set of axes.

In the rules, ``r`` is the result spread back to the operand's shape. Reductions that select (max, min) do so with
`select`, so what they did not select is structurally zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradwire_engine.attributes import Axes, Axis
from gradwire_engine.errors import GraphError
from gradwire_engine.op import (
    Array,
    Case,
    Derivative,
    Domain,
    Expansion,
    Jvp,
    Linear,
    Masked,
    Op,
    Tangents,
    TestData,
    Zero,
)
from gradwire_engine.ops.rules import (
    TypeRule,
    require_axes,
    require_bool,
    require_floating,
    require_numeric,
    stacked,
    without,
)
from gradwire_engine.tangents import add, negate, scale, select, spread_tangent, sum_tangent
from gradwire_engine.types import DType, TensorType
from gradwire_engine.value import Value, full
from gradwire_engine.vocabulary import (
    any_over,
    astype,
    concat,
    exp,
    isinf,
    isnan,
    logsumexp,
    max_over,
    permute_dims,
    reshape,
    slice_axis,
    spread,
    sum_over,
    where,
)

_CASES = (
    Case(((4,),), Axes((0,))),
    Case(((2, 3),), Axes((1,))),
    Case(((2, 3, 2),), Axes((0, 2))),
    Case(((2, 3),), Axes(())),
    Case(((1,),), Axes((0,))),
    Case(((3, 0),), Axes((1,))),
    Case(((0, 3),), Axes((1,))),
    Case(((),), Axes(())),
)


def _reducing(require: Callable[[TensorType], TensorType]) -> TypeRule:
    def types(attributes: Axes, operands: Sequence[TensorType]) -> tuple[TensorType, ...]:
        x = require(operands[0])
        require_axes(attributes.axes, x.rank)
        return (x.with_shape(without(x.shape, attributes.axes)),)

    return types


def _keeping(attributes: Axes, operands: Sequence[TensorType]) -> tuple[TensorType, ...]:
    x = require_floating(operands[0])
    require_axes(attributes.axes, x.rank)
    if x.is_batched and 0 in attributes.axes:
        raise GraphError(f"cannot normalise over the batch axis of {x}")
    return (x,)


def _reduction(
    name: str,
    evaluate: Callable[[Array, tuple[int, ...]], Any],
    derivative: Derivative,
    *,
    types: TypeRule,
    flops: float = 1.0,
    scratch: float = 0.0,
    domains: tuple[Domain, ...] = (Domain(),),
    dtypes: str = "fi",
    ulps: float = 8.0,
) -> Op:
    return Op(
        name=name,
        arity=1,
        types=types,
        evaluate=lambda attributes, x: evaluate(x, attributes.axes),
        derivative=derivative,
        batch=stacked(name),
        attributes=Axes,
        flops=flops,
        scratch=scratch,
        tests=TestData(domains=domains, cases=_CASES, dtypes=dtypes, ulps=ulps),
    )


# sum


def _sum_transpose(
    attributes: Axes, cotangent: Masked, operands: Sequence[Value | None], types: Sequence[TensorType]
) -> Tangents:
    return [spread_tangent(cotangent, attributes.axes, types[0].shape)]


def _sum_mask(attributes: Axes, masks: Sequence[Value], operands: Sequence[Value]) -> Value:
    return any_over(masks[0], attributes.axes)


# prod: differentiated as the balanced tree of products that it is, which has no division and so no corner at zero.


def _prod_expand(attributes: Axes, operands: Sequence[Value]) -> Sequence[Value]:
    (x,), axes = operands, attributes.axes
    kept = [axis for axis in range(len(x.shape)) if axis not in axes]
    result_shape = tuple(x.shape[axis] for axis in kept)
    count = math.prod(x.shape[axis] for axis in axes)
    if count == 0:
        return [full(x.builder, x.type.with_shape(result_shape), 1.0)]
    factors = reshape(permute_dims(x, [*axes, *kept]), (count, *result_shape))
    while count > 1:
        half = count // 2
        products = slice_axis(factors, 0, 0, half) * slice_axis(factors, 0, half, 2 * half)
        rest = [slice_axis(factors, 0, 2 * half, count)] if count % 2 else []
        factors = concat([products, *rest], 0) if rest else products
        count = half + count % 2
    return [reshape(factors, result_shape)]


# max and min


def _lowest(dtype: np.dtype[Any]) -> Any:
    return -np.inf if dtype.kind == "f" else np.iinfo(dtype).min


def _highest(dtype: np.dtype[Any]) -> Any:
    return np.inf if dtype.kind == "f" else np.iinfo(dtype).max


def _extremum_jvp(
    attributes: Axes, operands: Sequence[Value], results: Sequence[Value], tangents: Tangents
) -> Tangents:
    (x,), (t,), axes = operands, tangents, attributes.axes
    if t is None:
        return [None]
    selected = x.equals(spread(results[0], axes, x.shape)) | isnan(x)
    count = sum_over(astype(selected, x.dtype), axes)
    share = spread(1.0 / count, axes, x.shape)
    return [sum_tangent(select(selected, scale(share, t)), axes)]


# logsumexp, softmax, log_softmax


def _peak(x: Array, axes: tuple[int, ...]) -> Any:
    return np.max(x, axis=axes, keepdims=True, initial=-np.inf)


def _finite_peak(x: Array, axes: tuple[int, ...]) -> Any:
    """What to subtract so that exp does not overflow: 0 where the peak is infinite, and nothing helps."""
    peak = _peak(x, axes)
    return np.where(np.isfinite(peak), peak, x.dtype.type(0))


def _logsumexp(x: Array, axes: tuple[int, ...]) -> Any:
    shift = _finite_peak(x, axes)
    total = np.log(np.sum(np.exp(x - shift), axis=axes, keepdims=True)) + shift
    return total.reshape(without(x.shape, axes))


def _shares(x: Value, r: Value, axes: Sequence[int]) -> Value:
    """exp(x - logsumexp(x)): how much each element contributes, at the infinities too."""
    r = spread(r, axes, x.shape)
    at_top = x.equals(r) & (r > 0.0)
    tied = spread(sum_over(astype(at_top, x.dtype), axes), axes, x.shape)
    return where(isinf(r), where(at_top, 1.0 / tied, 0.0), exp(x - r))


def _logsumexp_jvp(
    attributes: Axes, operands: Sequence[Value], results: Sequence[Value], tangents: Tangents
) -> Tangents:
    (x,), (t,), axes = operands, tangents, attributes.axes
    return [None if t is None else sum_tangent(scale(_shares(x, results[0], axes), t), axes)]


def _softmax(x: Array, axes: tuple[int, ...]) -> Any:
    powers = np.exp(x - _peak(x, axes))
    return powers / np.sum(powers, axis=axes, keepdims=True)


def _log_softmax(x: Array, axes: tuple[int, ...]) -> Any:
    shifted = x - _finite_peak(x, axes)
    return shifted - np.log(np.sum(np.exp(shifted), axis=axes, keepdims=True))


def _all_masked(x: Value, axes: Sequence[int]) -> Value:
    """Where all of a row is -inf, so that its softmax is not a number and, by convention, does not vary."""
    return spread(max_over(x, axes).equals(-np.inf), axes, x.shape)


def _softmax_jvp(attributes: Axes, operands: Sequence[Value], results: Sequence[Value], tangents: Tangents) -> Tangents:
    (x,), (s,), (t,), axes = operands, results, tangents, attributes.axes
    if t is None:
        return [None]
    shares = where(_all_masked(x, axes), s.like(0.0), s)
    weighted = scale(shares, t)
    mean = spread_tangent(sum_tangent(weighted, axes), axes, x.shape)
    return [add(weighted, negate(scale(shares, mean)))]


def _log_softmax_jvp(
    attributes: Axes, operands: Sequence[Value], results: Sequence[Value], tangents: Tangents
) -> Tangents:
    (x,), (t,), axes = operands, tangents, attributes.axes
    if t is None:
        return [None]
    mean = sum_tangent(scale(_shares(x, logsumexp(x, axes), axes), t), axes)
    centred = add(t, negate(spread_tangent(mean, axes, x.shape)))
    assert centred is not None
    return [select(~_all_masked(x, axes), centred)]


# norm


def _norm(x: Array, axes: tuple[int, ...]) -> Any:
    """Where the squares overflow or lose digits, of numbers scaled by the largest."""
    plain = np.sqrt(np.sum(np.square(x), axis=axes))
    limits = np.finfo(x.dtype)
    extreme = ~((plain > np.sqrt(limits.tiny) / limits.eps) & (plain < np.inf))
    if not extreme.any():
        return plain
    peak = np.max(np.abs(x), axis=axes, keepdims=True, initial=0)
    peak = np.where((peak > 0) & np.isfinite(peak), peak, x.dtype.type(1))
    scaled = np.sqrt(np.sum(np.square(x / peak), axis=axes)) * np.squeeze(peak, axis=axes)
    return np.where(extreme, scaled, plain)


def _norm_jvp(attributes: Axes, operands: Sequence[Value], results: Sequence[Value], tangents: Tangents) -> Tangents:
    (x,), (t,), axes = operands, tangents, attributes.axes
    if t is None:
        return [None]
    r = spread(results[0], axes, x.shape)
    direction = where(r.equals(0.0), x.like(0.0), x / r)
    return [sum_tangent(scale(direction, t), axes)]


# argmax and argmin


def _arg_types(attributes: Axis, operands: Sequence[TensorType]) -> tuple[TensorType, ...]:
    x = require_numeric(operands[0])
    if not 0 <= attributes.axis < x.rank or (x.is_batched and attributes.axis == 0):
        raise GraphError(f"got axis {attributes.axis} for {x}")
    return (TensorType(DType.INT64, without(x.shape, (attributes.axis,))),)


def _arg(find: Callable[..., Any]) -> Callable[[Axis, Array], Any]:
    def evaluate(attributes: Axis, x: Array) -> Any:
        axis = attributes.axis
        if x.shape[axis] == 0:
            return np.zeros(without(x.shape, (axis,)), dtype=np.int64)
        return np.asarray(find(x, axis=axis), dtype=np.int64)

    return evaluate


def _arg_op(name: str, find: Callable[..., Any]) -> Op:
    cases = (Case(((5,),), Axis(0)), Case(((2, 3),), Axis(1)), Case(((2, 0),), Axis(1)), Case(((1,),), Axis(0)))
    return Op(
        name=name,
        arity=1,
        types=_arg_types,
        evaluate=_arg(find),
        derivative=Zero(),
        batch=stacked(name),
        attributes=Axis,
        tests=TestData(cases=cases, dtypes="fi"),
    )


OPS: tuple[Op, ...] = (
    _reduction(
        "sum",
        lambda x, axes: np.sum(x, axis=axes, dtype=x.dtype),
        Linear(None, _sum_transpose, _sum_mask),
        types=_reducing(require_numeric),
    ),
    _reduction(
        "prod",
        lambda x, axes: np.prod(x, axis=axes, dtype=x.dtype),
        Expansion(_prod_expand),
        types=_reducing(require_numeric),
        domains=(Domain(avoid=(0.0,)),),
    ),
    _reduction(
        "max",
        lambda x, axes: np.max(x, axis=axes, initial=_lowest(x.dtype)),
        Jvp(_extremum_jvp),
        types=_reducing(require_numeric),
    ),
    _reduction(
        "min",
        lambda x, axes: np.min(x, axis=axes, initial=_highest(x.dtype)),
        Jvp(_extremum_jvp),
        types=_reducing(require_numeric),
    ),
    _reduction("any", lambda x, axes: np.any(x, axis=axes), Zero(), types=_reducing(require_bool), dtypes="b"),
    _reduction("all", lambda x, axes: np.all(x, axis=axes), Zero(), types=_reducing(require_bool), dtypes="b"),
    _arg_op("argmax", np.argmax),
    _arg_op("argmin", np.argmin),
    _reduction(
        "logsumexp",
        _logsumexp,
        Jvp(_logsumexp_jvp),
        types=_reducing(require_floating),
        flops=15.0,
        scratch=2.5,
        dtypes="f",
    ),
    _reduction("softmax", _softmax, Jvp(_softmax_jvp), types=_keeping, flops=15.0, scratch=1.5, dtypes="f"),
    _reduction("log_softmax", _log_softmax, Jvp(_log_softmax_jvp), types=_keeping, flops=20.0, scratch=2.0, dtypes="f"),
    _reduction(
        "norm",
        _norm,
        Jvp(_norm_jvp),
        types=_reducing(require_floating),
        flops=5.0,
        scratch=3.0,
        dtypes="f",
    ),
)
