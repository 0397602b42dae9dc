"""convolution: sums of products over a sliding window, as ONNX's Conv (a correlation: nothing is flipped).

Layout, with B = shared leading axes, N = any axes of examples, S = spatial lengths, K = kernel, G = groups:

    x: B + N + [C] + S,    w: B + [O, C / G] + K    ->    B + N + [O] + P

P is the number of positions of the kernel on the padded axes. Output channel o sees the channels of its group only. The
padding contributes nothing, not even 0 * inf. The evaluation adds up matrix products, each for as many elements of the
kernel as its memory allows, so that it needs no copy of x for each of them. With unit strides the transpose by x is a
convolution again; by w, and with other strides, it is a contraction with `windows`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import islice
from typing import Any

import numpy as np

from gradwire_engine.attributes import Convolution, DotGeneral, OverlapAdd, Windows
from gradwire_engine.errors import GraphError
from gradwire_engine.op import Array, Bilinear, Case, Masked, Op, Tangents, TestData
from gradwire_engine.ops.rules import describe, require_numeric, with_axis
from gradwire_engine.ops.windows import extents, positions
from gradwire_engine.types import TensorType
from gradwire_engine.value import Value
from gradwire_engine.vocabulary import (
    convolution,
    dot_general,
    flip,
    move_axis,
    overlap_add,
    pad,
    permute_dims,
    reshape,
    slice_of,
    windows,
)

Shape = tuple[int, ...]


def _padded(a: Convolution, lengths: Sequence[int]) -> Shape:
    return tuple(low + length + high for low, length, high in zip(a.low, lengths, a.high, strict=True))


def _types(attributes: Convolution, operands: Sequence[TensorType]) -> tuple[TensorType, ...]:
    (x, w), a = operands, attributes
    b, spatial = a.batch_dims, len(a.strides)
    require_numeric(x)
    channels = x.rank - spatial - 1
    fits = (
        x.dtype is w.dtype
        and len(a.low) == len(a.high) == len(a.dilations) == spatial
        and 0 <= b <= channels
        and w.rank == b + 2 + spatial
        and x.shape[:b] == w.shape[:b]
        and not (x.is_batched and channels == 0)
        and (b > 0 or not w.is_batched)
        and min((*a.low, *a.high), default=0) >= 0
        and a.groups >= 1
    )
    if not fits or x.shape[channels] != w.shape[b + 1] * a.groups or w.shape[b] % a.groups:
        raise GraphError(f"got {describe(operands)} with {a}, expected channels and kernels that fit")
    counts = positions(_padded(a, x.shape[channels + 1 :]), w.shape[b + 2 :], a.strides, a.dilations)
    if counts is None:
        raise GraphError(f"got {describe(operands)} with {a}: the kernel does not fit the padded operand")
    return (x.with_shape((*x.shape[:channels], w.shape[b], *counts)),)


def _span(place: int, stride: int, low: int, length: int, count: int) -> tuple[slice, slice]:
    """Which positions see an element of x through this place of the kernel, and which elements they see.

    With position and place exchanged, and stride and dilation: which places see an element of x from this position.
    """
    first = max(-(-(low - place) // stride), 0)
    last = min((length - 1 + low - place) // stride, count - 1)
    if last < first:
        return slice(0, 0), slice(0, 0)
    start = first * stride + place - low
    return slice(first, last + 1), slice(start, start + (last - first) * stride + 1, stride)


def _evaluate(attributes: Convolution, x: Array, w: Array) -> Any:
    a = attributes
    b, spatial, groups = a.batch_dims, len(a.strides), a.groups
    lead, lengths = x.shape[: x.ndim - spatial - 1], x.shape[x.ndim - spatial :]
    outputs, inputs, kernel = w.shape[b] // groups, w.shape[b + 1], w.shape[b + 2 :]
    counts = positions(_padded(a, lengths), kernel, a.strides, a.dilations)
    assert counts is not None
    parts = x.reshape((*lead, groups, inputs, *lengths))
    weights = w.reshape((*lead[:b], *(1,) * (len(lead) - b), groups, outputs, inputs, *kernel))
    result = np.zeros((*lead, groups, outputs, *counts), dtype=x.dtype)
    if math.prod(counts) < math.prod(kernel):
        _by_position(a, result, weights, parts)
    else:
        _by_place(a, result, weights, parts)
    return result.reshape((*lead, groups * outputs, *counts))


def _by_position(a: Convolution, result: Array, weights: Array, parts: Array) -> None:
    """One product of matrix and vector for each position of the kernel."""
    first = result.ndim - len(a.strides)
    every: tuple[Any, ...] = (slice(None),) * first
    for position in np.ndindex(*result.shape[first:]):
        spans = [
            _span(p * stride, dilation, low, length, count)
            for p, stride, dilation, low, length, count in zip(
                position, a.strides, a.dilations, a.low, parts.shape[first:], weights.shape[first + 1 :], strict=True
            )
        ]
        seen = parts[(*every, *(source for _, source in spans))]
        used = weights[(*every, slice(None), *(places for places, _ in spans))]
        column = seen.reshape((*seen.shape[: first - 1], math.prod(seen.shape[first - 1 :]), 1))
        product = np.matmul(used.reshape((*used.shape[:first], column.shape[-2])), column)
        result[(*every, *position)] = product[..., 0]


def _by_place(a: Convolution, result: Array, weights: Array, parts: Array) -> None:
    """One product of matrices for some places of the kernel at a time, added up.

    What the places see stands in as much memory as operand and result have. One at a time where the weights are not
    finite, so that padding contributes nothing; or where rows have weights of their own, so that those of one row
    decide nothing for another.
    """
    first = result.ndim - len(a.strides)
    kernel = weights.shape[first + 1 :]
    by_place = np.ascontiguousarray(np.moveaxis(weights, first, -1))
    flat = by_place.reshape((*weights.shape[:first], math.prod(kernel), weights.shape[first]))
    seen = max(math.prod((*parts.shape[:first], *result.shape[first:])), 1)
    alone = a.batch_dims > 0 or not np.isfinite(weights).all()
    together = 1 if alone else min(max((parts.size + result.size) // seen, 1), _MOST_TOGETHER)
    places = np.ndindex(*kernel)
    for start in range(0, math.prod(kernel), together):
        spans = [
            [
                _span(i * dilation, stride, low, length, count)
                for i, dilation, stride, low, length, count in zip(
                    place, a.dilations, a.strides, a.low, parts.shape[first:], result.shape[first:], strict=True
                )
            ]
            for place in islice(places, together)
        ]
        _add_products(result, flat[..., start : start + together, :], parts, spans)


_MOST_TOGETHER = 64
"""Places of a kernel that share one product: more gain nothing."""


def _add_products(result: Array, weights: Array, parts: Array, spans: Sequence[Sequence[tuple[slice, slice]]]) -> None:
    """What some places of the kernel contribute, at all positions that they see from."""
    seeing = [(k, one) for k, one in enumerate(spans) if all(target.stop > target.start for target, _ in one)]
    if not seeing:
        return
    axes = range(len(spans[0]))
    firsts = [min(one[axis][0].start for _, one in seeing) for axis in axes]
    lasts = [max(one[axis][0].stop for _, one in seeing) for axis in axes]
    lead, inputs = parts.shape[: parts.ndim - len(axes) - 1], parts.shape[parts.ndim - len(axes) - 1]
    lengths = tuple(last - first for first, last in zip(firsts, lasts, strict=True))
    seen = np.zeros((*lead, len(spans), inputs, *lengths), dtype=parts.dtype)
    every: tuple[Any, ...] = (slice(None),) * len(lead)
    for k, one in seeing:
        box = [slice(target.start - first, target.stop - first) for (target, _), first in zip(one, firsts, strict=True)]
        seen[(*every, k, slice(None), *box)] = parts[(*every, slice(None), *(source for _, source in one))]
    inner = len(spans) * inputs
    columns = seen.reshape((*lead, inner, math.prod(lengths)))
    product = np.matmul(weights.reshape((*weights.shape[:-2], inner)), columns)
    target = result[(*every, slice(None), *(slice(*ends) for ends in zip(firsts, lasts, strict=True)))]
    target += product.reshape(target.shape)


def _product(attributes: Convolution, operands: Sequence[Value], index: int, tangent: Masked) -> Masked:
    x, w = operands
    if index == 0:
        return Masked(convolution(tangent.value, w, attributes))
    return Masked(convolution(x, tangent.value, attributes))


def _transpose(
    attributes: Convolution, cotangent: Masked, operands: Sequence[Value | None], types: Sequence[TensorType]
) -> Tangents:
    x, w = operands
    ct, a = cotangent.value, attributes
    if w is None:
        assert x is not None
        return [None, Masked(_cotangent_of_weights(a, ct, x, types[1].shape))]
    reach = extents(types[1].shape[a.batch_dims + 2 :], a.dilations)
    within = all(max(low, high) < extent for low, high, extent in zip(a.low, a.high, reach, strict=True))
    if within and set(a.strides) <= {1}:
        return [Masked(_correlated(a, ct, w, reach)), None]
    return [Masked(_spread(a, ct, w, types[0].shape)), None]


def _in_groups(x: Value, axis: int, groups: int) -> Value:
    """The channels on two axes, groups first; on one where there is one group."""
    shape = x.shape
    return x if groups == 1 else reshape(x, (*shape[:axis], groups, shape[axis] // groups, *shape[axis + 1 :]))


def _correlated(a: Convolution, ct: Value, w: Value, reach: Sequence[int]) -> Value:
    """The cotangent of x for unit strides: a convolution with the kernel turned round, channels exchanged."""
    b = a.batch_dims
    turned = _in_groups(flip(w, range(b + 2, len(w.shape))), b, a.groups)
    first = b + (a.groups > 1)
    exchanged = move_axis(turned, first, first + 1)
    per_group = ct.shape[len(ct.shape) - len(a.strides) - 1] // a.groups
    whole = reshape(exchanged, (*w.shape[:b], w.shape[b + 1] * a.groups, per_group, *w.shape[b + 2 :]))
    low = tuple(extent - 1 - before for extent, before in zip(reach, a.low, strict=True))
    high = tuple(extent - 1 - after for extent, after in zip(reach, a.high, strict=True))
    return convolution(ct, whole, Convolution(a.strides, low, high, a.dilations, a.groups, b))


def _spread(a: Convolution, ct: Value, w: Value, shape: Shape) -> Value:
    """The cotangent of x: what each position gives to what it saw, added up."""
    b, spatial = a.batch_dims, len(a.strides)
    lead = len(shape) - spatial - 1
    several = int(a.groups > 1)
    batch = (*range(b), *([lead] if several else []))
    shared = tuple(range(b + several))
    product = dot_general(
        _in_groups(ct, lead, a.groups),
        _in_groups(w, b, a.groups),
        DotGeneral((lead + several,), (b + several,), batch, shared),
    )
    # axes of the product: B, group, N, P, channel, K
    examples = range(b + several, lead + several)
    places = range(lead + several, lead + several + spatial)
    rest = range(lead + several + spatial, len(product.shape))
    order = [*range(b), *examples, *range(b, b + several), rest[0], *places, *rest[1:]]
    padded = _padded(a, shape[lead + 1 :])
    added = overlap_add(permute_dims(product, order), OverlapAdd(a.strides, a.dilations, padded))
    whole = reshape(added, (*shape[: lead + 1], *padded))
    ends = [low + length for low, length in zip(a.low, shape[lead + 1 :], strict=True)]
    return slice_of(whole, [0] * (lead + 1) + list(a.low), [*shape[: lead + 1], *ends])


def _cotangent_of_weights(a: Convolution, ct: Value, x: Value, shape: Shape) -> Value:
    """What the windows saw, times what came back: over examples and positions, one contraction."""
    b, spatial = a.batch_dims, len(a.strides)
    lead = len(x.shape) - spatial - 1
    several = int(a.groups > 1)
    around = [0] * (lead + 1)
    padded = pad(x, [*around, *a.low], [*around, *a.high]) if any((*a.low, *a.high)) else x
    seen = windows(_in_groups(padded, lead, a.groups), Windows(shape[b + 2 :], a.strides, a.dilations))
    batch = (*range(b), *([lead] if several else []))
    first = lead + several + 1
    summed = (*range(b, lead), *range(first, first + spatial))
    return reshape(dot_general(_in_groups(ct, lead, a.groups), seen, DotGeneral(summed, summed, batch, batch)), shape)


def _batch(attributes: Convolution, operands: Sequence[Value], batched: Sequence[bool], size: int) -> tuple[Value, ...]:
    if not batched[1] and attributes.batch_dims == 0:
        return (convolution(operands[0], operands[1], attributes),)
    x, w = (with_axis(operand, has, size) for operand, has in zip(operands, batched, strict=True))
    return (convolution(x, w, attributes.shifted(size)),)


def _flops(attributes: Convolution, operands: Sequence[TensorType], results: Sequence[TensorType]) -> tuple[int, int]:
    w, result = operands[1], results[0]
    work = 2 * result.elements * math.prod(w.shape[attributes.batch_dims + 1 :])
    return (0, work) if result.is_batched else (work, 0)


OPS: tuple[Op, ...] = (
    Op(
        name="convolution",
        arity=2,
        types=_types,
        evaluate=_evaluate,
        derivative=Bilinear(_transpose, _product),
        batch=_batch,
        attributes=Convolution,
        flops=_flops,
        scratch=(1.0, 2.0, 2.0),
        tests=TestData(
            cases=(
                Case(((2, 2, 5), (3, 2, 2)), Convolution((1,), (0,), (0,), (1,))),
                Case(((2, 3), (1, 2, 2)), Convolution((1,), (1,), (0,), (1,))),
                Case(((2, 2, 5, 4), (2, 2, 2, 3)), Convolution((2, 1), (1, 0), (0, 2), (2, 1))),
                Case(((2, 2, 3, 3), (1, 2, 2, 2)), Convolution((1, 1), (1, 0), (0, 1), (1, 1))),
                Case(((1, 1, 2, 3, 2), (2, 1, 2, 2, 1)), Convolution((1, 1, 1), (0, 0, 0), (0, 0, 0), (1, 1, 1))),
                Case(((1, 4, 5), (6, 2, 3)), Convolution((1,), (1,), (1,), (1,), 2)),
                Case(((2, 2, 6), (2, 1, 2)), Convolution((3,), (1,), (0,), (2,), 2)),
                Case(((3, 1, 2), (1, 1, 2)), Convolution((2,), (3,), (4,), (1,))),
                Case(((2, 3, 2, 4), (2, 2, 2, 2)), Convolution((1,), (0,), (1,), (1,), 1, 1)),
                Case(((2, 2, 4, 4), (2, 2, 2, 2)), Convolution((2,), (0,), (0,), (1,), 2, 1)),
                Case(((2, 2, 4), (2, 2, 3)), Convolution((2,), (1,), (0,), (1,))),
                Case(((2, 1, 3, 4), (1, 1, 2, 3)), Convolution((2, 1), (1, 0), (0, 0), (1, 1))),
                Case(((0, 2, 3), (1, 2, 2)), Convolution((1,), (0,), (0,), (1,))),
                Case(((1, 1, 1), (1, 1, 1)), Convolution((1,), (0,), (0,), (1,))),
            ),
            ulps=32.0,
            dtypes="fi",
        ),
    ),
)
