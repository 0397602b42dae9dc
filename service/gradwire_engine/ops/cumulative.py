"""Running reductions along an axis: element i combines the elements up to i, or from i on if reversed.

Products and logsumexp are differentiated as the tree of pairwise combinations that they abbreviate: after k rounds each
element combines its last 2**k, so there is no division, and a zero is no corner. Maxima and minima select: the elements
so far that are the largest share the tangent evenly, as in the reduction `max`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradwire_engine.attributes import Cumulative
from gradwire_engine.errors import GraphError
from gradwire_engine.op import Array, Case, Derivative, Expansion, Jvp, Linear, Masked, Op, Tangents, TestData
from gradwire_engine.ops.rules import TypeRule, require_floating, require_numeric, stacked
from gradwire_engine.tangents import add, mask_or_true, scale, select
from gradwire_engine.types import DType, TensorType
from gradwire_engine.value import Value
from gradwire_engine.vocabulary import astype, broadcast_to, concat, flip, iota, isnan, reshape, slice_axis, true, where


def _types(require: Callable[[TensorType], TensorType]) -> TypeRule:
    def rule(attributes: Cumulative, operands: Sequence[TensorType]) -> tuple[TensorType, ...]:
        x, axis = require(operands[0]), attributes.axis
        if not 0 <= axis < x.rank or (x.is_batched and axis == 0):
            raise GraphError(f"got axis {axis} for {x}")
        return (x,)

    return rule


def _running(accumulate: Callable[..., Any]) -> Callable[[Cumulative, Array], Any]:
    def evaluate(attributes: Cumulative, x: Array) -> Any:
        axis = attributes.axis
        if attributes.reverse:
            return np.flip(accumulate(np.flip(x, axis), axis=axis, dtype=x.dtype), axis)
        return accumulate(x, axis=axis, dtype=x.dtype)

    return evaluate


def _turned(x: Value, attributes: Cumulative) -> Value:
    """In the order of the running; its own inverse."""
    return flip(x, [attributes.axis]) if attributes.reverse else x


# sum


def _reversed(attributes: Cumulative) -> Cumulative:
    return Cumulative(attributes.axis, not attributes.reverse)


def _reached(mask: Value, attributes: Cumulative) -> Value:
    """Where any element so far is active."""
    return astype(mask, DType.INT64).emit("cumulative_sum", attributes=attributes) > 0


def _sum_mask(attributes: Cumulative, masks: Sequence[Value], operands: Sequence[Value]) -> Value:
    return _reached(masks[0], attributes)


def _sum_transpose(
    attributes: Cumulative, cotangent: Masked, operands: Sequence[Value | None], types: Sequence[TensorType]
) -> Tangents:
    back = _reversed(attributes)
    mask = None if cotangent.mask is None else _reached(cotangent.mask, back)
    return [Masked(cotangent.value.emit("cumulative_sum", attributes=back), mask)]


# products and logsumexp, by pairs


def _by_pairs(x: Value, attributes: Cumulative, combine: Callable[[Value, Value], Value]) -> Value:
    axis = attributes.axis
    x = _turned(x, attributes)
    length, step = x.shape[axis], 1
    while step < length:
        pairs = combine(slice_axis(x, axis, step, length), slice_axis(x, axis, 0, length - step))
        x = concat([slice_axis(x, axis, 0, step), pairs], axis)
        step *= 2
    return _turned(x, attributes)


def _prod_expand(attributes: Cumulative, operands: Sequence[Value]) -> Sequence[Value]:
    return [_by_pairs(operands[0], attributes, lambda x, y: x * y)]


def _logsumexp_expand(attributes: Cumulative, operands: Sequence[Value]) -> Sequence[Value]:
    """-inf has no part in any sum, its own included; those that are +inf share evenly, as the largest do."""
    (x,) = operands
    total = _by_pairs(where(x.equals(-np.inf), x.like(-np.inf), x), attributes, lambda x, y: x.emit("logaddexp", y))
    peak = x.emit("cumulative_max", attributes=attributes)
    return [where(peak.equals(np.inf), peak, total)]


# maxima and minima


def _extremum_jvp(
    attributes: Cumulative, operands: Sequence[Value], results: Sequence[Value], tangents: Tangents
) -> Tangents:
    (t,), axis = tangents, attributes.axis
    if t is None or operands[0].shape[axis] < 2:
        return [t]
    x, peak = _turned(operands[0], attributes), _turned(results[0], attributes)
    t = Masked(_turned(t.value, attributes), None if t.mask is None else _turned(t.mask, attributes))
    start = _starts(peak, axis)
    held = x.equals(peak) | isnan(x)
    total = _sum_since(start, select(held, t), axis)
    count = _sum_since(start, Masked(astype(held, x.dtype)), axis)
    shared = scale(1.0 / count.value, total)
    return [
        Masked(_turned(shared.value, attributes), None if shared.mask is None else _turned(shared.mask, attributes))
    ]


def _places(x: Value, axis: int) -> Value:
    """The position of each element along the axis."""
    along = [1] * len(x.shape)
    along[axis] = length = x.shape[axis]
    return broadcast_to(reshape(iota(x.builder, DType.INT64, (length,), 0), tuple(along)), x.shape)


def _starts(peak: Value, axis: int) -> Value:
    """For each element, the position from which on the running extremum has been what it is there."""
    length = peak.shape[axis]
    now, before = slice_axis(peak, axis, 1, length), slice_axis(peak, axis, 0, length - 1)
    first = slice_axis(peak, axis, 0, 1)
    begins = concat([true(peak.builder, first.shape), ~(now.equals(before) | isnan(before))], axis)
    places = _places(peak, axis)
    return where(begins, places, 0).emit("cumulative_max", attributes=Cumulative(axis))


def _sum_since(start: Value, t: Masked, axis: int) -> Masked:
    """The sum from `start` on: by doubling, since a difference of running sums would cancel."""
    length, step = start.shape[axis], 1
    places = _places(start, axis)
    while step < length:
        within = slice_axis(start, axis, step, length) <= slice_axis(places, axis, 0, length - step)
        more = add(_part(t, axis, step, length), select(within, _part(t, axis, 0, length - step)))
        assert more is not None
        head = _part(t, axis, 0, step)
        masked = head.mask is not None or more.mask is not None
        mask = concat([mask_or_true(head), mask_or_true(more)], axis) if masked else None
        t = Masked(concat([head.value, more.value], axis), mask)
        step *= 2
    return t


def _part(t: Masked, axis: int, start: int, limit: int) -> Masked:
    mask = None if t.mask is None else slice_axis(t.mask, axis, start, limit)
    return Masked(slice_axis(t.value, axis, start, limit), mask)


# the records


_CASES = (
    Case(((5,),), Cumulative(0)),
    Case(((2, 4),), Cumulative(1, True)),
    Case(((3, 2, 2),), Cumulative(0)),
    Case(((2, 3, 2),), Cumulative(1)),
    Case(((1,),), Cumulative(0, True)),
    Case(((2, 0),), Cumulative(1)),
)


def _op(
    name: str,
    accumulate: Callable[..., Any],
    derivative: Derivative,
    require: Callable[[TensorType], TensorType] = require_numeric,
    *,
    flops: float = 1.0,
    ulps: float = 4.0,
    dtypes: str = "fi",
) -> Op:
    return Op(
        name=name,
        arity=1,
        types=_types(require),
        evaluate=_running(accumulate),
        derivative=derivative,
        batch=stacked(name),
        attributes=Cumulative,
        flops=flops,
        tests=TestData(cases=_CASES, ulps=ulps, dtypes=dtypes),
    )


OPS: tuple[Op, ...] = (
    _op("cumulative_sum", np.add.accumulate, Linear(None, _sum_transpose, _sum_mask)),
    _op("cumulative_prod", np.multiply.accumulate, Expansion(_prod_expand)),
    _op("cumulative_max", np.maximum.accumulate, Jvp(_extremum_jvp)),
    _op("cumulative_min", np.minimum.accumulate, Jvp(_extremum_jvp)),
    _op(
        "cumulative_logsumexp",
        np.logaddexp.accumulate,
        Expansion(_logsumexp_expand),
        require_floating,
        flops=20.0,
        dtypes="f",
    ),
)
