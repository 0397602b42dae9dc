"""dot_general: all contractions (matmul, dot, tensordot, einsum, outer products) as one bilinear op.

Result axes: the batch axes, then the rest of x, then the rest of y. The evaluation is one `matmul` on operands brought
to (batch, rows, inner) and (batch, inner, columns).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from gradwire_engine.attributes import DotGeneral
from gradwire_engine.errors import GraphError
from gradwire_engine.op import Array, Bilinear, Case, Masked, Op, Tangents, TestData
from gradwire_engine.ops.rules import describe, require_numeric, with_axis
from gradwire_engine.types import ROWS, TensorType
from gradwire_engine.value import Value
from gradwire_engine.vocabulary import dot_general, permute_dims


def _rest(rank: int, contract: Sequence[int], batch: Sequence[int]) -> tuple[int, ...]:
    """The axes that are neither summed over nor shared."""
    return tuple(axis for axis in range(rank) if axis not in contract and axis not in batch)


def _types(attributes: DotGeneral, operands: Sequence[TensorType]) -> tuple[TensorType, ...]:
    x, y = operands
    require_numeric(x)
    a = attributes
    pairs = (
        (a.lhs_contract, a.rhs_contract),
        (a.lhs_batch, a.rhs_batch),
    )
    lhs, rhs = (*a.lhs_contract, *a.lhs_batch), (*a.rhs_contract, *a.rhs_batch)
    within = all(0 <= axis < x.rank for axis in lhs) and all(0 <= axis < y.rank for axis in rhs)
    distinct = len(set(lhs)) == len(lhs) and len(set(rhs)) == len(rhs)
    if x.dtype is not y.dtype or not within or not distinct or any(len(left) != len(right) for left, right in pairs):
        raise GraphError(f"got {describe(operands)} with {attributes}")
    for left, right in zip(lhs, rhs, strict=True):
        if x.shape[left] != y.shape[right]:
            raise GraphError(f"axis {left} of {x} and axis {right} of {y} are paired but differ in length")
    shape = (
        *(x.shape[axis] for axis in a.lhs_batch),
        *(x.shape[axis] for axis in _rest(x.rank, a.lhs_contract, a.lhs_batch)),
        *(y.shape[axis] for axis in _rest(y.rank, a.rhs_contract, a.rhs_batch)),
    )
    if ROWS in shape[1:]:
        raise GraphError(f"got {describe(operands)} with {attributes}: the batch axis would not come first")
    return (x.with_shape(shape),)


def _evaluate(attributes: DotGeneral, x: Array, y: Array) -> Any:
    a = attributes
    x_rest = _rest(x.ndim, a.lhs_contract, a.lhs_batch)
    y_rest = _rest(y.ndim, a.rhs_contract, a.rhs_batch)
    batch = tuple(x.shape[axis] for axis in a.lhs_batch)
    rows = tuple(x.shape[axis] for axis in x_rest)
    columns = tuple(y.shape[axis] for axis in y_rest)
    inner = math.prod(x.shape[axis] for axis in a.lhs_contract)
    left = x.transpose((*a.lhs_batch, *x_rest, *a.lhs_contract)).reshape((*batch, math.prod(rows), inner))
    right = y.transpose((*a.rhs_batch, *a.rhs_contract, *y_rest)).reshape((*batch, inner, math.prod(columns)))
    return np.matmul(left, right).reshape((*batch, *rows, *columns))


def _product(attributes: DotGeneral, operands: Sequence[Value], index: int, tangent: Masked) -> Masked:
    x, y = operands
    if index == 0:
        return Masked(dot_general(tangent.value, y, attributes))
    return Masked(dot_general(x, tangent.value, attributes))


def _transpose(
    attributes: DotGeneral, cotangent: Masked, operands: Sequence[Value | None], types: Sequence[TensorType]
) -> Tangents:
    x, y = operands
    if x is None:
        assert y is not None
        return [_transpose_lhs(attributes, cotangent.value, y, types[0], types[1]), None]
    a = attributes
    mirrored = DotGeneral(a.rhs_contract, a.lhs_contract, a.rhs_batch, a.lhs_batch)
    # the mirrored product has the rest of y before the rest of x
    batch = len(a.lhs_batch)
    x_rest = types[0].rank - len(a.lhs_contract) - batch
    rank = len(cotangent.value.shape)
    order = (*range(batch), *range(batch + x_rest, rank), *range(batch, batch + x_rest))
    return [None, _transpose_lhs(mirrored, permute_dims(cotangent.value, order), x, types[1], types[0])]


def _transpose_lhs(attributes: DotGeneral, ct: Value, y: Value, x: TensorType, y_type: TensorType) -> Masked:
    """The cotangent of the left operand: the result's cotangent contracted with y over the rest of y."""
    a = attributes
    batch = len(a.lhs_batch)
    x_rest = _rest(x.rank, a.lhs_contract, a.lhs_batch)
    y_rest = _rest(y_type.rank, a.rhs_contract, a.rhs_batch)
    ct_rest = tuple(range(batch + len(x_rest), len(ct.shape)))
    product = dot_general(ct, y, DotGeneral(ct_rest, y_rest, tuple(range(batch)), a.rhs_batch))
    # axes of the product: batch, the rest of x, then the contracted axes in the order they have in y
    by_place_in_y = sorted(range(len(a.rhs_contract)), key=lambda i: a.rhs_contract[i])
    axes = (*a.lhs_batch, *x_rest, *(a.lhs_contract[i] for i in by_place_in_y))
    return Masked(permute_dims(product, [axes.index(axis) for axis in range(x.rank)]))


def _batch(attributes: DotGeneral, operands: Sequence[Value], batched: Sequence[bool], size: int) -> tuple[Value, ...]:
    x, y = operands
    a = attributes
    if all(batched) or a.lhs_batch:
        whole = [with_axis(operand, has, size) for operand, has in zip(operands, batched, strict=True)]
        return (dot_general(whole[0], whole[1], a.shifted(size)),)

    def up(axes: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(axis + 1 for axis in axes)

    if batched[0]:
        return (dot_general(x, y, DotGeneral(up(a.lhs_contract), a.rhs_contract)),)
    # y carries the rows: put it first, so that they lead, and bring the rest of x back before the rest of y
    swapped = dot_general(y, x, DotGeneral(up(a.rhs_contract), a.lhs_contract))
    y_rest = len(y.shape) - 1 - len(a.rhs_contract)
    rank = len(swapped.shape)
    return (permute_dims(swapped, (0, *range(1 + y_rest, rank), *range(1, 1 + y_rest))),)


def _flops(attributes: DotGeneral, operands: Sequence[TensorType], results: Sequence[TensorType]) -> tuple[int, int]:
    lengths = [operands[0].shape[axis] for axis in attributes.lhs_contract]
    inner = math.prod(length for length in lengths if length != ROWS)
    work = 2 * results[0].elements * inner
    return (0, work) if results[0].is_batched or ROWS in lengths else (work, 0)


OPS: tuple[Op, ...] = (
    Op(
        name="dot_general",
        arity=2,
        types=_types,
        evaluate=_evaluate,
        derivative=Bilinear(_transpose, _product),
        batch=_batch,
        attributes=DotGeneral,
        flops=_flops,
        scratch=1.0,
        tests=TestData(
            cases=(
                Case(((2, 3), (3, 4)), DotGeneral((1,), (0,))),
                Case(((3,), (3,)), DotGeneral((0,), (0,))),
                Case(((2,), (3,)), DotGeneral((), ())),
                Case(((5, 2, 3), (3, 5, 4)), DotGeneral((2,), (0,), (0,), (1,))),
                Case(((2, 3, 4), (4, 2)), DotGeneral((0, 2), (1, 0))),
                Case(((2, 0), (0, 3)), DotGeneral((1,), (0,))),
                Case(((0, 2), (2, 3)), DotGeneral((1,), (0,))),
                Case(((), ()), DotGeneral((), ())),
            ),
            ulps=32.0,
            dtypes="fi",
        ),
    ),
)
