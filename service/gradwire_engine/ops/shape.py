"""Ops that move elements without computing: broadcast, reshape, permute, slice, concat, pad, flip. All are linear."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from gradwire_engine.attributes import Axes, Axis, Pad, Permutation, Shape, Slice
from gradwire_engine.errors import GraphError
from gradwire_engine.op import Array, Case, Linear, Masked, Op, Tangents, TestData
from gradwire_engine.ops.rules import describe, require_axes, stacked, with_axis, without
from gradwire_engine.tangents import select, sum_tangent
from gradwire_engine.types import ROWS, TensorType
from gradwire_engine.value import Value
from gradwire_engine.vocabulary import (
    any_over,
    broadcast_to,
    concat,
    flip,
    pad,
    permute_dims,
    reshape,
    slice_of,
    sum_over,
    true,
    where,
)

Known = Sequence[Value | None]
Types = Sequence[TensorType]


def _same_op(name: str) -> Any:
    """Mask rule of an op that only moves elements: the same op on the mask."""

    def rule(attributes: Any, masks: Sequence[Value], operands: Sequence[Value]) -> Value:
        return masks[0].emit(name, *masks[1:], attributes=attributes)

    return rule


# broadcast_to


def _broadcast_types(attributes: Shape, operands: Types) -> tuple[TensorType, ...]:
    (x,), shape = operands, attributes.shape
    trailing = shape[len(shape) - x.rank :] if x.rank <= len(shape) else ()
    fits = x.rank <= len(shape) and all(a in (1, b) for a, b in zip(x.shape, trailing, strict=True))
    if not fits:
        raise GraphError(f"cannot broadcast {x} to shape {shape}: axes are aligned at the end and must be equal or 1")
    return (x.with_shape(shape),)


def _broadcast_axes(shape: tuple[int, ...], target: tuple[int, ...]) -> tuple[int, ...]:
    """Axes of `target` along which an operand of `shape` is repeated."""
    new = len(target) - len(shape)
    return (*range(new), *(i + new for i, length in enumerate(shape) if length == 1 and target[i + new] != 1))


def _broadcast_transpose(attributes: Shape, cotangent: Masked, operands: Known, types: Types) -> Tangents:
    shape = types[0].shape
    axes = _broadcast_axes(shape, attributes.shape)
    mask = None if cotangent.mask is None else reshape(any_over(cotangent.mask, axes), shape)
    return [Masked(reshape(sum_over(cotangent.value, axes), shape), mask)]


def _broadcast_batch(
    attributes: Shape, operands: Sequence[Value], batched: Sequence[bool], size: int
) -> tuple[Value, ...]:
    (x,), target = operands, attributes.shape
    inner = x.shape[1:]
    aligned = reshape(x, (size, *(1,) * (len(target) - len(inner)), *inner))
    return (broadcast_to(aligned, (size, *target)),)


# reshape


def _reshape_types(attributes: Shape, operands: Types) -> tuple[TensorType, ...]:
    (x,), shape = operands, attributes.shape
    result = x.with_shape(shape)
    result.require_sound()  # before its elements are counted
    if result.elements != x.elements or result.is_batched != x.is_batched:
        raise GraphError(f"cannot reshape {x} to {shape}: {x.elements} elements do not make {math.prod(shape)}")
    return (result,)


def _reshape_transpose(attributes: Shape, cotangent: Masked, operands: Known, types: Types) -> Tangents:
    shape = types[0].shape
    mask = None if cotangent.mask is None else reshape(cotangent.mask, shape)
    return [Masked(reshape(cotangent.value, shape), mask)]


# permute_dims


def _permute_types(attributes: Permutation, operands: Types) -> tuple[TensorType, ...]:
    (x,), order = operands, attributes.permutation
    if sorted(order) != list(range(x.rank)):
        raise GraphError(f"got permutation {order} for {x}, expected each of 0 to {x.rank - 1} once")
    if x.is_batched and order[0] != 0:
        raise GraphError(f"permutation {order} moves the batch axis of {x}")
    return (x.with_shape(tuple(x.shape[axis] for axis in order)),)


def _permute_transpose(attributes: Permutation, cotangent: Masked, operands: Known, types: Types) -> Tangents:
    inverse = tuple(int(axis) for axis in np.argsort(attributes.permutation))
    mask = None if cotangent.mask is None else permute_dims(cotangent.mask, inverse)
    return [Masked(permute_dims(cotangent.value, inverse), mask)]


# slice


def _slice_types(attributes: Slice, operands: Types) -> tuple[TensorType, ...]:
    (x,) = operands
    start, limit, stride = attributes.start, attributes.limit, attributes.stride
    if not len(start) == len(limit) == len(stride) == x.rank:
        raise GraphError(f"got {len(start)} starts, {len(limit)} limits, {len(stride)} strides for {x}")
    shape = []
    for axis, (first, end, step, length) in enumerate(zip(start, limit, stride, x.shape, strict=True)):
        if length == ROWS and (first, end, step) == (0, ROWS, 1):
            shape.append(ROWS)
            continue
        if not (0 <= first <= end <= length and step >= 1):
            raise GraphError(
                f"got {first}:{end}:{step} for axis {axis} of {x}, "
                f"expected 0 <= start <= limit <= {length} and a stride of at least 1"
            )
        shape.append(-(-(end - first) // step))
    return (x.with_shape(tuple(shape)),)


def _slice(attributes: Slice, x: Array) -> Any:
    box = x[tuple(map(slice, attributes.start, attributes.limit, attributes.stride))]
    return box.copy() if copies_slice(x.size, box.size) else box


def copies_slice(whole: int, part: int) -> bool:
    """Whether a slice is copied: a small part of an array would keep all of it in memory."""
    return 2 * part < whole


def _slice_transpose(attributes: Slice, cotangent: Masked, operands: Known, types: Types) -> Tangents:
    high, between = [], []
    taken = cotangent.value.shape
    for first, step, length, count in zip(attributes.start, attributes.stride, types[0].shape, taken, strict=True):
        gap = step - 1 if count > 1 else 0
        between.append(gap)
        high.append(length - first - (count + (count - 1) * gap if count else 0))
    return [_padded(cotangent, attributes.start, high, between)]


def _padded(t: Masked, low: Sequence[int], high: Sequence[int], between: Sequence[int]) -> Masked:
    """The tangent with structural zeros around and between its elements."""
    active = true(t.value.builder, t.value.shape) if t.mask is None else t.mask
    return Masked(pad(t.value, low, high, between), pad(active, low, high, between))


# concat


def _concat_types(attributes: Axis, operands: Types) -> tuple[TensorType, ...]:
    if not operands:
        raise GraphError("got no operands, expected at least 1")
    first, axis = operands[0], attributes.axis
    if not 0 <= axis < first.rank or (first.is_batched and axis == 0):
        raise GraphError(f"got axis {axis} for {first}")
    for other in operands[1:]:
        same = other.rank == first.rank and without(other.shape, (axis,)) == without(first.shape, (axis,))
        if other.dtype is not first.dtype or not same:
            raise GraphError(f"operands differ outside axis {axis}: {describe(operands)}")
    length = sum(operand.shape[axis] for operand in operands)
    return (first.with_shape((*first.shape[:axis], length, *first.shape[axis + 1 :])),)


def _concat_transpose(attributes: Axis, cotangent: Masked, operands: Known, types: Types) -> Tangents:
    axis, start, parts = attributes.axis, 0, []
    for operand, type in zip(operands, types, strict=True):
        end = start + type.shape[axis]
        parts.append(_sliced(cotangent, axis, start, end) if operand is None else None)
        start = end
    return parts


def _sliced(t: Masked, axis: int, start: int, end: int) -> Masked:
    starts, limits = [0] * len(t.value.shape), list(t.value.shape)
    starts[axis], limits[axis] = start, end
    return Masked(slice_of(t.value, starts, limits), None if t.mask is None else slice_of(t.mask, starts, limits))


def _concat_mask(attributes: Axis, masks: Sequence[Value], operands: Sequence[Value]) -> Value:
    return concat(masks, attributes.axis)


# pad


def _pad_types(attributes: Pad, operands: Types) -> tuple[TensorType, ...]:
    x, fill = operands
    low, high, interior = attributes.low, attributes.high, attributes.interior
    if fill != TensorType(x.dtype):
        raise GraphError(f"got fill {fill} for {x}, expected a scalar {x.dtype.value}")
    if not len(low) == len(high) == len(interior) == x.rank or min((*low, *high, *interior), default=0) < 0:
        raise GraphError(f"got low {low}, high {high}, interior {interior} for {x}, expected one >= 0 for each axis")
    shape = []
    for before, after, gap, length in zip(low, high, interior, x.shape, strict=True):
        if length == ROWS:
            if before or after or gap:
                raise GraphError(f"cannot pad the batch axis of {x}")
            shape.append(ROWS)
        else:
            shape.append(before + after + length + max(length - 1, 0) * gap)
    return (x.with_shape(tuple(shape)),)


def _pad(attributes: Pad, x: Array, fill: Array) -> Any:
    steps = tuple(gap + 1 for gap in attributes.interior)
    shape = tuple(
        low + high + n + max(n - 1, 0) * (step - 1)
        for low, high, n, step in zip(attributes.low, attributes.high, x.shape, steps, strict=True)
    )
    result = np.full(shape, fill, dtype=x.dtype)
    box = [
        slice(low, low + (n - 1) * step + 1 if n else low, step)
        for low, n, step in zip(attributes.low, x.shape, steps, strict=True)
    ]
    result[tuple(box)] = x
    return result


def _unpadded(attributes: Pad, x: Value, shape: tuple[int, ...]) -> Value:
    """The elements of a padded array that were the operand's, of the operand's shape."""
    stride = [gap + 1 if n > 1 else 1 for gap, n in zip(attributes.interior, shape, strict=True)]
    ends = [
        low + (n - 1) * step + 1 if n > 0 else (ROWS if n == ROWS else low)
        for low, n, step in zip(attributes.low, shape, stride, strict=True)
    ]
    return slice_of(x, attributes.low, ends, stride)


def _pad_transpose(attributes: Pad, cotangent: Masked, operands: Known, types: Types) -> Tangents:
    x, fill = operands
    to_x = to_fill = None
    if x is None:
        mask = None if cotangent.mask is None else _unpadded(attributes, cotangent.mask, types[0].shape)
        to_x = Masked(_unpadded(attributes, cotangent.value, types[0].shape), mask)
    if fill is None:
        around = _is_padding(attributes, cotangent.value, types[0].shape)
        to_fill = sum_tangent(select(around, cotangent), range(len(cotangent.value.shape)))
    return [to_x, to_fill]


def _is_padding(attributes: Pad, like: Value, shape: tuple[int, ...]) -> Value:
    inside = true(like.builder, shape)
    return ~pad(inside, attributes.low, attributes.high, attributes.interior)


def _pad_batch(attributes: Pad, operands: Sequence[Value], batched: Sequence[bool], size: int) -> tuple[Value, ...]:
    x, fill = operands
    whole = with_axis(x, batched[0], size)
    shifted = attributes.shifted(size)
    if not batched[1]:
        return (whole.emit("pad", fill, attributes=shifted),)
    padded = pad(whole, shifted.low, shifted.high, shifted.interior)
    fills = broadcast_to(reshape(fill, (size, *(1,) * (len(padded.shape) - 1))), padded.shape)
    inner = _is_padding(attributes, x, whole.shape[1:])
    return (where(broadcast_to(inner, padded.shape), fills, padded),)


# flip


def _flip_types(attributes: Axes, operands: Types) -> tuple[TensorType, ...]:
    (x,) = operands
    require_axes(attributes.axes, x.rank)
    if x.is_batched and 0 in attributes.axes:
        raise GraphError(f"cannot flip the batch axis of {x}")
    return (x,)


def _flip_transpose(attributes: Axes, cotangent: Masked, operands: Known, types: Types) -> Tangents:
    mask = None if cotangent.mask is None else flip(cotangent.mask, attributes.axes)
    return [Masked(flip(cotangent.value, attributes.axes), mask)]


def _resized(attributes: Shape, x: Array) -> Any:
    return x.reshape(attributes.shape)


ALL = "fib"

OPS = (
    Op(
        name="broadcast_to",
        arity=1,
        types=_broadcast_types,
        evaluate=lambda attributes, x: np.broadcast_to(x, attributes.shape),
        derivative=Linear(None, _broadcast_transpose, _same_op("broadcast_to")),
        batch=_broadcast_batch,
        attributes=Shape,
        flops=0.0,
        tests=TestData(
            cases=(
                Case(((),), Shape((2, 3))),
                Case(((3,),), Shape((2, 3))),
                Case(((2, 1),), Shape((4, 2, 3))),
                Case(((1,),), Shape((0,))),
                Case(((0,),), Shape((2, 0))),
                Case(((2,),), Shape((2,))),
            ),
            dtypes=ALL,
        ),
    ),
    Op(
        name="reshape",
        arity=1,
        types=_reshape_types,
        evaluate=_resized,
        derivative=Linear(None, _reshape_transpose, _same_op("reshape")),
        batch=stacked("reshape"),
        attributes=Shape,
        flops=0.0,
        tests=TestData(
            cases=(
                Case(((2, 3),), Shape((3, 2))),
                Case(((1,),), Shape(())),
                Case(((),), Shape((1, 1))),
                Case(((0, 3),), Shape((3, 0, 2))),
                Case(((4,),), Shape((2, 2))),
            ),
            dtypes=ALL,
        ),
    ),
    Op(
        name="permute_dims",
        arity=1,
        types=_permute_types,
        evaluate=lambda attributes, x: x.transpose(attributes.permutation),
        derivative=Linear(None, _permute_transpose, _same_op("permute_dims")),
        batch=stacked("permute_dims"),
        attributes=Permutation,
        flops=0.0,
        tests=TestData(
            cases=(
                Case(((2, 3),), Permutation((1, 0))),
                Case(((2, 3, 4),), Permutation((2, 0, 1))),
                Case(((),), Permutation(())),
                Case(((0, 2),), Permutation((1, 0))),
            ),
            dtypes=ALL,
        ),
    ),
    Op(
        name="slice",
        arity=1,
        types=_slice_types,
        evaluate=_slice,
        derivative=Linear(None, _slice_transpose, _same_op("slice")),
        batch=stacked("slice"),
        attributes=Slice,
        flops=0.0,
        tests=TestData(
            cases=(
                Case(((5,),), Slice((1,), (4,), (1,))),
                Case(((7, 3),), Slice((1, 0), (7, 2), (2, 1))),
                Case(((7,),), Slice((0,), (6,), (3,))),
                Case(((4,),), Slice((2,), (2,), (1,))),
                Case(((0, 2),), Slice((0, 1), (0, 2), (1, 1))),
                Case(((1,),), Slice((0,), (1,), (2,))),
                Case(((),), Slice((), (), ())),
            ),
            dtypes=ALL,
        ),
    ),
    Op(
        name="concat",
        arity=None,
        types=_concat_types,
        evaluate=lambda attributes, *arrays: np.concatenate(arrays, axis=attributes.axis),
        derivative=Linear(None, _concat_transpose, _concat_mask),
        batch=stacked("concat"),
        attributes=Axis,
        flops=0.0,
        tests=TestData(
            cases=(
                Case(((2,), (3,)), Axis(0)),
                Case(((2, 1), (2, 3), (2, 0)), Axis(1)),
                Case(((3,),), Axis(0)),
            ),
            dtypes=ALL,
        ),
    ),
    Op(
        name="pad",
        arity=2,
        types=_pad_types,
        evaluate=_pad,
        derivative=Linear(None, _pad_transpose, _same_op("pad")),
        batch=_pad_batch,
        attributes=Pad,
        flops=0.0,
        tests=TestData(
            cases=(
                Case(((3,), ()), Pad((1,), (2,), (0,))),
                Case(((2, 3), ()), Pad((0, 1), (1, 0), (2, 1))),
                Case(((0,), ()), Pad((1,), (1,), (3,))),
                Case(((1,), ()), Pad((0,), (0,), (2,))),
            ),
            dtypes=ALL,
        ),
    ),
    Op(
        name="flip",
        arity=1,
        types=_flip_types,
        evaluate=lambda attributes, x: np.flip(x, attributes.axes),
        derivative=Linear(None, _flip_transpose, _same_op("flip")),
        batch=stacked("flip"),
        attributes=Axes,
        flops=0.0,
        tests=TestData(
            cases=(
                Case(((4,),), Axes((0,))),
                Case(((2, 3),), Axes((0, 1))),
                Case(((2, 3),), Axes((1,))),
                Case(((0,),), Axes((0,))),
                Case(((),), Axes(())),
            ),
            dtypes=ALL,
        ),
    ),
)
