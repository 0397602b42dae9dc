"""windows and overlap_add: what a sliding window sees, and its transpose.

Layout, with lead = any axes, S = lengths of the windowed axes, the last ones, K = kernel, P = number of positions:

    windows        lead + S          -> lead + P + K      element i of the window at p is x[p * stride + i * dilation]
    overlap_add    lead + P + K      -> lead + S          every window added where it was seen

A window never reaches over an end: P = (S - extent) // stride + 1, where extent = (K - 1) * dilation + 1. Pooling is a
reduction over the axes K, padding is `pad` before. `windows` is a view and costs nothing until something is computed
from it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from gradwire_engine.attributes import OverlapAdd, Windows
from gradwire_engine.errors import GraphError
from gradwire_engine.op import Array, Case, Linear, Masked, Op, Tangents, TestData
from gradwire_engine.ops.rules import describe, require_numeric, stacked
from gradwire_engine.tangents import mask_or_true
from gradwire_engine.types import DType, TensorType
from gradwire_engine.value import Value
from gradwire_engine.vocabulary import astype, overlap_add, windows


def extents(kernel: Sequence[int], dilations: Sequence[int]) -> tuple[int, ...]:
    """From the first to the last element that a window sees, both counted."""
    return tuple((length - 1) * step + 1 for length, step in zip(kernel, dilations, strict=True))


def positions(
    lengths: Sequence[int], kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> tuple[int, ...] | None:
    """How many positions a window has along each axis; None where it does not fit, or nothing is meant."""
    if not len(lengths) == len(kernel) == len(strides) == len(dilations):
        return None
    reach = extents(kernel, dilations)
    if min((*kernel, *strides, *dilations), default=1) < 1 or any(n < e for n, e in zip(lengths, reach, strict=True)):
        return None
    return tuple((n - e) // stride + 1 for n, e, stride in zip(lengths, reach, strides, strict=True))


def _split(type: TensorType, axes: int) -> int:
    """The first of the last `axes` axes, none of which may be the batch."""
    first = type.rank - axes
    if first < 0 or (type.is_batched and first == 0):
        raise GraphError(f"got {type}, expected at least {axes} axes besides the batch")
    return first


def _windows_types(attributes: Windows, operands: Sequence[TensorType]) -> tuple[TensorType, ...]:
    (x,), a = operands, attributes
    first = _split(x, len(a.kernel))
    counts = positions(x.shape[first:], a.kernel, a.strides, a.dilations)
    if counts is None:
        raise GraphError(f"got {x} with {a}, expected windows of at least one element that fit")
    return (x.with_shape((*x.shape[:first], *counts, *a.kernel)),)


def _overlap_add_types(attributes: OverlapAdd, operands: Sequence[TensorType]) -> tuple[TensorType, ...]:
    (x,), a = operands, attributes
    count = len(a.shape)
    first = _split(require_numeric(x), 2 * count)
    seen, kernel = x.shape[first : first + count], x.shape[first + count :]
    if positions(a.shape, kernel, a.strides, a.dilations) != seen:
        raise GraphError(f"got {describe(operands)} with {a}, expected the windows of an array of that shape")
    return (x.with_shape((*x.shape[:first], *a.shape)),)


def _windows(attributes: Windows, x: Array) -> Any:
    a = attributes
    count = len(a.kernel)
    axes = tuple(range(x.ndim - count, x.ndim))
    seen = np.lib.stride_tricks.sliding_window_view(x, extents(a.kernel, a.dilations), axes)
    lead = (slice(None),) * (x.ndim - count)
    return seen[lead + tuple(slice(None, None, step) for step in (*a.strides, *a.dilations))]


def _overlap_add(attributes: OverlapAdd, x: Array) -> Any:
    """Position by position or element by element, whichever are fewer."""
    a = attributes
    count = len(a.shape)
    first = x.ndim - 2 * count
    seen, kernel = x.shape[first : first + count], x.shape[first + count :]
    result = np.zeros((*x.shape[:first], *a.shape), dtype=x.dtype)
    lead, every = (slice(None),) * first, (slice(None),) * count
    by_element = math.prod(kernel) <= math.prod(seen)
    steps, others = (a.dilations, a.strides) if by_element else (a.strides, a.dilations)
    for place in np.ndindex(*(kernel if by_element else seen)):
        box = tuple(
            slice(i * step, i * step + (n - 1) * other + 1, other)
            for i, step, other, n in zip(place, steps, others, seen if by_element else kernel, strict=True)
        )
        result[lead + box] += x[lead + every + place] if by_element else x[lead + place]
    return result


def _overlapping(t: Masked, attributes: OverlapAdd) -> Masked:
    """The windows where they were seen; elements that no active window saw are known to be zero."""
    landed = overlap_add(astype(mask_or_true(t), DType.INT32), attributes)
    return Masked(overlap_add(t.value, attributes), landed > 0)


def _windows_mask(attributes: Windows, masks: Sequence[Value], operands: Sequence[Value]) -> Value:
    return windows(masks[0], attributes)


def _windows_transpose(
    attributes: Windows, cotangent: Masked, operands: Sequence[Value | None], types: Sequence[TensorType]
) -> Tangents:
    a = attributes
    shape = types[0].shape[types[0].rank - len(a.kernel) :]
    return [_overlapping(cotangent, OverlapAdd(a.strides, a.dilations, shape))]


def _overlap_add_tangent(attributes: OverlapAdd, operands: Sequence[Value], tangents: Tangents) -> Masked | None:
    return None if tangents[0] is None else _overlapping(tangents[0], attributes)


def _overlap_add_transpose(
    attributes: OverlapAdd, cotangent: Masked, operands: Sequence[Value | None], types: Sequence[TensorType]
) -> Tangents:
    a = attributes
    kernel = types[0].shape[types[0].rank - len(a.shape) :]
    back = Windows(kernel, a.strides, a.dilations)
    return [Masked(windows(cotangent.value, back), None if cotangent.mask is None else windows(cotangent.mask, back))]


OPS: tuple[Op, ...] = (
    Op(
        name="windows",
        arity=1,
        types=_windows_types,
        evaluate=_windows,
        derivative=Linear(None, _windows_transpose, _windows_mask),
        batch=stacked("windows"),
        attributes=Windows,
        flops=0.0,
        tests=TestData(
            cases=(
                Case(((5,),), Windows((3,), (1,), (1,))),
                Case(((2, 7),), Windows((2,), (2,), (3,))),
                Case(((4, 5),), Windows((2, 3), (1, 2), (2, 1))),
                Case(((2, 3, 2, 4),), Windows((2, 1, 2), (1, 1, 3), (1, 1, 1))),
                Case(((3,),), Windows((1,), (2,), (1,))),
                Case(((4,),), Windows((4,), (1,), (1,))),
                Case(((0, 3),), Windows((2,), (1,), (1,))),
                Case(((1,),), Windows((1,), (1,), (1,))),
                Case(((),), Windows((), (), ())),
            ),
            dtypes="fib",
        ),
    ),
    Op(
        name="overlap_add",
        arity=1,
        types=_overlap_add_types,
        evaluate=_overlap_add,
        derivative=Linear(None, _overlap_add_transpose, None, _overlap_add_tangent),
        batch=stacked("overlap_add"),
        attributes=OverlapAdd,
        flops=2.0,
        tests=TestData(
            cases=(
                Case(((3, 3),), OverlapAdd((1,), (1,), (5,))),
                Case(((2, 2, 2),), OverlapAdd((2,), (3,), (7,))),
                Case(((2, 4),), OverlapAdd((3,), (1,), (8,))),
                Case(((2, 2, 2, 3),), OverlapAdd((1, 2), (2, 1), (4, 6))),
                Case(((2, 1, 3, 1, 2, 1, 2),), OverlapAdd((1, 1, 2), (1, 1, 1), (2, 3, 4))),
                Case(((0, 2, 2),), OverlapAdd((1,), (1,), (3,))),
                Case(((1, 1),), OverlapAdd((1,), (1,), (1,))),
                Case(((),), OverlapAdd((), (), ())),
            ),
            ulps=16.0,
            dtypes="fi",
        ),
    ),
)
