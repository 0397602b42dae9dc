"""gather and scatter_add: indexing and its transpose.

Layout, with b = batch axes, p = offset axes, I = shape of the index set, k = number of indexed axes:

    gather        x: b + p + [k indexed axes] + rest, indices: b + I + [k]      -> b + p + I + rest
    scatter_add   updates: b + p + I + rest, indices: b + I + [k]               -> b + p + [k axes] + rest

Negative indices count from the end, once. An index out of range reads the fill value, or drops its update.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradwire_engine.attributes import Gather, Scatter
from gradwire_engine.errors import GraphError
from gradwire_engine.op import Array, Case, Linear, Masked, Op, Tangents, TestData
from gradwire_engine.ops.rules import describe, require_numeric, with_axis
from gradwire_engine.tangents import mask_or_true
from gradwire_engine.types import DType, TensorType
from gradwire_engine.value import Value
from gradwire_engine.vocabulary import astype, gather, scatter_add


def _require_indices(indices: TensorType, batch_dims: int, offset_dims: int) -> int:
    """Number of indexed axes."""
    if not indices.dtype.is_integer or indices.rank < batch_dims + 1 or batch_dims < 0 or offset_dims < 0:
        raise GraphError(f"got indices {indices} with {batch_dims} batch and {offset_dims} offset axes")
    if indices.shape[-1] < 1:
        raise GraphError(f"got indices {indices}: the last axis lists one index for each indexed axis, at least one")
    return indices.shape[-1]


def _gather_types(attributes: Gather, operands: Sequence[TensorType]) -> tuple[TensorType, ...]:
    x, indices = operands
    b, p = attributes.batch_dims, attributes.offset_dims
    k = _require_indices(indices, b, p)
    if x.rank < b + p + k or x.shape[:b] != indices.shape[:b]:
        raise GraphError(f"got {describe(operands)} with {attributes}")
    return (x.with_shape((*x.shape[: b + p], *indices.shape[b:-1], *x.shape[b + p + k :])),)


def _scatter_types(attributes: Scatter, operands: Sequence[TensorType]) -> tuple[TensorType, ...]:
    updates, indices = operands
    b, p, shape = attributes.batch_dims, attributes.offset_dims, attributes.shape
    k = _require_indices(indices, b, p)
    expected = (*shape[: b + p], *indices.shape[b:-1], *shape[b + p + k :])
    if len(shape) < b + p + k or shape[:b] != indices.shape[:b] or updates.shape != expected:
        raise GraphError(f"got {describe(operands)} with {attributes}, expected updates of shape {expected}")
    return (require_numeric(updates).with_shape(shape),)


def _coordinates(indices: Array, lengths: Sequence[int], b: int) -> tuple[tuple[Array, ...], Array]:
    """Where to index (batch grid, then one array for each indexed axis), and which indices are in range."""
    valid = np.ones(indices.shape[:-1], dtype=bool)
    places = []
    for axis, length in enumerate(lengths):
        index = indices[..., axis].astype(np.int64)
        index = np.where(index < 0, index + length, index)
        inside = (index >= 0) & (index < length)
        valid &= inside
        places.append(np.where(inside, index, 0))
    ones = (1,) * (indices.ndim - 1 - b)
    grid = [
        np.arange(indices.shape[i]).reshape((-1,) + (1,) * (b - i - 1) + ones)  # each batch axis meets itself only
        for i in range(b)
    ]
    return (*grid, *places), valid


def _offset_last(rank: int, b: int, p: int, k: int) -> list[int]:
    """Axes in the order batch, indexed, offset, rest."""
    return [*range(b), *range(b + p, b + p + k), *range(b, b + p), *range(b + p + k, rank)]


def _gather(attributes: Gather, x: Array, indices: Array) -> Any:
    b, p, k = attributes.batch_dims, attributes.offset_dims, indices.shape[-1]
    fill = x.dtype.type(0) if attributes.fill_zero or x.dtype.kind != "f" else x.dtype.type(np.nan)
    lengths = x.shape[b + p : b + p + k]
    index_rank = indices.ndim - 1 - b
    shape = (*x.shape[: b + p], *indices.shape[b:-1], *x.shape[b + p + k :])
    if 0 in lengths:
        return np.full(shape, fill, dtype=x.dtype)
    places, valid = _coordinates(indices, lengths, b)
    found = x.transpose(_offset_last(x.ndim, b, p, k))[places]
    ordered = np.moveaxis(found, range(b + index_rank, b + index_rank + p), range(b, b + p))
    if valid.all():
        return ordered
    spread = valid.reshape((*valid.shape[:b], *(1,) * p, *valid.shape[b:], *(1,) * (len(shape) - b - p - index_rank)))
    return np.where(spread, ordered, fill)


def _scatter(attributes: Scatter, updates: Array, indices: Array) -> Any:
    b, p, k = attributes.batch_dims, attributes.offset_dims, indices.shape[-1]
    shape = attributes.shape
    result = np.zeros(shape, dtype=updates.dtype)
    lengths = shape[b + p : b + p + k]
    if 0 in lengths:
        return result
    places, valid = _coordinates(indices, lengths, b)
    index_rank = indices.ndim - 1 - b
    moved = np.moveaxis(updates, range(b, b + p), range(b + index_rank, b + index_rank + p))
    if not valid.all():
        spread = valid.reshape(valid.shape + (1,) * (moved.ndim - valid.ndim))
        moved = np.where(spread, moved, updates.dtype.type(0))
    np.add.at(result.transpose(_offset_last(len(shape), b, p, k)), places, moved)
    return result


# Linear in x, or the updates: the tangent of a fill value is zero, and known to be.


def _gather_tangent(attributes: Gather, operands: Sequence[Value], tangents: Tangents) -> Masked | None:
    t, indices = tangents[0], operands[1]
    if t is None:
        return None
    zero = Gather(attributes.batch_dims, attributes.offset_dims, True)
    mask = None if t.mask is None else gather(t.mask, indices, zero)
    return Masked(gather(t.value, indices, zero), mask)


def _gather_transpose(
    attributes: Gather, cotangent: Masked, operands: Sequence[Value | None], types: Sequence[TensorType]
) -> Tangents:
    indices = operands[1]
    assert indices is not None
    to = Scatter(attributes.batch_dims, attributes.offset_dims, types[0].shape)
    return [_scattered(cotangent, indices, to), None]


def _scattered(t: Masked, indices: Value, attributes: Scatter) -> Masked:
    """The updates where they land; elements on which no active update lands are known to be zero."""
    landed = scatter_add(astype(mask_or_true(t), DType.INT32), indices, attributes)
    return Masked(scatter_add(t.value, indices, attributes), landed > 0)


def _scatter_tangent(attributes: Scatter, operands: Sequence[Value], tangents: Tangents) -> Masked | None:
    return None if tangents[0] is None else _scattered(tangents[0], operands[1], attributes)


def _scatter_transpose(
    attributes: Scatter, cotangent: Masked, operands: Sequence[Value | None], types: Sequence[TensorType]
) -> Tangents:
    indices = operands[1]
    assert indices is not None
    back = Gather(attributes.batch_dims, attributes.offset_dims, True)
    mask = None if cotangent.mask is None else gather(cotangent.mask, indices, back)
    return [Masked(gather(cotangent.value, indices, back), mask), None]


def _gather_batch(
    attributes: Gather, operands: Sequence[Value], batched: Sequence[bool], size: int
) -> tuple[Value, ...]:
    x, indices = operands
    b, p = attributes.batch_dims, attributes.offset_dims
    if not batched[1] and b == 0:
        return (gather(x, indices, Gather(0, p + 1, attributes.fill_zero)),)
    if not batched[0] and b == 0 and p == 0:
        return (gather(x, indices, attributes),)
    whole = [with_axis(operand, has, size) for operand, has in zip(operands, batched, strict=True)]
    return (gather(whole[0], whole[1], attributes.shifted(size)),)


def _scatter_batch(
    attributes: Scatter, operands: Sequence[Value], batched: Sequence[bool], size: int
) -> tuple[Value, ...]:
    updates, indices = operands
    if not batched[1] and attributes.batch_dims == 0:
        rest = Scatter(0, attributes.offset_dims + 1, (size, *attributes.shape))
        return (scatter_add(updates, indices, rest),)
    whole = [with_axis(operand, has, size) for operand, has in zip(operands, batched, strict=True)]
    return (scatter_add(whole[0], whole[1], attributes.shifted(size)),)


_INDICES = (None, "int64")

OPS: tuple[Op, ...] = (
    Op(
        name="gather",
        arity=2,
        types=_gather_types,
        evaluate=_gather,
        derivative=Linear((0,), _gather_transpose, None, _gather_tangent),
        batch=_gather_batch,
        attributes=Gather,
        flops=2.0,
        scratch=(0.0, 5.0, 2.0),
        tests=TestData(
            cases=(
                Case(((5,), (3, 1)), Gather(0, 0), _INDICES),
                Case(((5, 2), (4, 1)), Gather(0, 0), _INDICES),
                Case(((2, 5), (3, 1)), Gather(0, 1), _INDICES),
                Case(((4, 5, 3), (2, 2, 2)), Gather(0, 0), _INDICES),
                Case(((3, 2, 4), (3, 2, 1)), Gather(1, 1, True), _INDICES),
                Case(((5,), (0, 1)), Gather(0, 0), _INDICES),
                Case(((1,), (1,)), Gather(0, 0), _INDICES),
                Case(((5, 3), (2, 1)), Gather(0, 0), (None, "int32")),
            ),
            dtypes="fib",
        ),
    ),
    Op(
        name="scatter_add",
        arity=2,
        types=_scatter_types,
        evaluate=_scatter,
        derivative=Linear((0,), _scatter_transpose, None, _scatter_tangent),
        batch=_scatter_batch,
        attributes=Scatter,
        flops=4.0,
        scratch=(1.0, 5.0, 0.0),
        tests=TestData(
            cases=(
                Case(((3,), (3, 1)), Scatter(0, 0, (5,)), _INDICES),
                Case(((2, 3), (3, 1)), Scatter(0, 1, (2, 5)), _INDICES),
                Case(((2, 2, 3), (2, 2, 2)), Scatter(0, 0, (4, 5, 3)), _INDICES),
                Case(((3, 2, 2), (3, 2, 1)), Scatter(1, 1, (3, 2, 4)), _INDICES),
                Case(((0,), (0, 1)), Scatter(0, 0, (4,)), _INDICES),
                Case(((), (1,)), Scatter(0, 0, (1,)), _INDICES),
                Case(((2, 3), (2, 1)), Scatter(0, 0, (5, 3)), (None, "int32")),
            ),
            dtypes="fi",
        ),
    ),
)
