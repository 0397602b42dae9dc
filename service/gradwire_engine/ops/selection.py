"""Selection and conversion: where, astype, stop_gradient. `where` is where structural zeros begin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradwire_engine.attributes import NONE, Attributes, Cast
from gradwire_engine.errors import GraphError
from gradwire_engine.op import Array, Case, Linear, Masked, Op, Tangents, TestData, Zero
from gradwire_engine.ops.arithmetic import SHAPES
from gradwire_engine.ops.rules import describe, require_bool, require_same, stacked
from gradwire_engine.tangents import mask_or_true, select
from gradwire_engine.types import DType, TensorType
from gradwire_engine.value import Value
from gradwire_engine.vocabulary import astype, where


def _where_types(attributes: Any, operands: Sequence[TensorType]) -> tuple[TensorType, ...]:
    condition, x, y = operands
    require_bool(condition)
    require_same((x, y))
    if condition.shape != x.shape:
        raise GraphError(f"shapes differ: {describe(operands)}; insert broadcast_to")
    return (x,)


def _where_tangent(attributes: Any, operands: Sequence[Value], tangents: Tangents) -> Masked | None:
    condition, (_, x, y) = operands[0], tangents
    if y is None:
        return None if x is None else select(condition, x)
    if x is None:
        return select(~condition, y)
    mask = None
    if x.mask is not None or y.mask is not None:
        mask = where(condition, mask_or_true(x), mask_or_true(y))
    return Masked(where(condition, x.value, y.value), mask)


def _where_transpose(
    attributes: Any, cotangent: Masked, operands: Sequence[Value | None], types: Sequence[TensorType]
) -> Tangents:
    condition, x, y = operands
    assert condition is not None
    return [
        None,
        select(condition, cotangent) if x is None else None,
        select(~condition, cotangent) if y is None else None,
    ]


def _astype_types(attributes: Cast, operands: Sequence[TensorType]) -> tuple[TensorType, ...]:
    return (operands[0].with_dtype(attributes.dtype),)


def _astype(attributes: Cast, x: Array) -> Any:
    target: np.dtype[Any] = attributes.dtype.numpy
    if x.dtype.kind != "f" or not attributes.dtype.is_integer:
        return x.astype(target)
    # Truncate, saturate, and NaN to 0. 2**31 and 2**63 are exact in both floating-point types.
    limits = np.iinfo(target)
    beyond = x.dtype.type(2.0) ** (limits.bits - 1)
    inside = np.where((x >= -beyond) & (x < beyond), x, x.dtype.type(0)).astype(target)
    return np.where(x >= beyond, target.type(limits.max), np.where(x < -beyond, target.type(limits.min), inside))


def _astype_tangent(attributes: Cast, operands: Sequence[Value], tangents: Tangents) -> Masked | None:
    (t,) = tangents
    return None if t is None else Masked(astype(t.value, attributes.dtype), t.mask)


def _astype_transpose(
    attributes: Cast, cotangent: Masked, operands: Sequence[Value | None], types: Sequence[TensorType]
) -> Tangents:
    return [Masked(astype(cotangent.value, types[0].dtype), cotangent.mask)]


def _unchanged(attributes: Attributes, x: Array) -> Any:
    return x


OPS = (
    Op(
        name="where",
        arity=3,
        types=_where_types,
        evaluate=lambda _, condition, x, y: np.where(condition, x, y),
        derivative=Linear((1, 2), _where_transpose, None, _where_tangent),
        batch=stacked("where"),
        elementwise=True,
        tests=TestData(cases=tuple(Case((shape,) * 3, NONE, ("bool", None, None)) for shape in SHAPES), dtypes="fib"),
    ),
    Op(
        name="astype",
        arity=1,
        types=_astype_types,
        evaluate=_astype,
        derivative=Linear((0,), _astype_transpose, None, _astype_tangent),
        batch=stacked("astype"),
        attributes=Cast,
        scratch=2.0,
        elementwise=True,
        tests=TestData(cases=tuple(Case((shape,), Cast(dtype)) for shape in SHAPES for dtype in DType), dtypes="fib"),
    ),
    Op(
        name="stop_gradient",
        arity=1,
        types=lambda _, operands: (operands[0],),
        evaluate=_unchanged,
        derivative=Zero(),
        batch=stacked("stop_gradient"),
        flops=0.0,
        elementwise=True,
        tests=TestData(cases=tuple(Case((shape,)) for shape in SHAPES), dtypes="fib"),
    ),
)
