"""Ops without operands: constant and iota."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradwire_engine.attributes import Constant, Iota
from gradwire_engine.errors import GraphError
from gradwire_engine.op import Case, Op, TestData, Zero
from gradwire_engine.ops.rules import never_batched
from gradwire_engine.types import DType, TensorType


def _require_no_rows(type: TensorType) -> None:
    if type.is_batched:
        raise GraphError(f"got {type}: what has no operands does not vary with the rows; repeat it with broadcast_to")


def _constant_types(attributes: Constant, operands: Sequence[TensorType]) -> tuple[TensorType, ...]:
    _require_no_rows(attributes.type)
    expected = attributes.type.elements * attributes.type.dtype.itemsize
    if len(attributes.data) != expected:
        raise GraphError(f"got {len(attributes.data)} bytes of data for {attributes.type}, expected {expected}")
    return (attributes.type,)


def _constant(attributes: Constant) -> Any:
    return attributes.array


def _iota_types(attributes: Iota, operands: Sequence[TensorType]) -> tuple[TensorType, ...]:
    if attributes.dtype is DType.BOOL:
        raise GraphError("got dtype bool, expected a numeric type")
    if not 0 <= attributes.axis < len(attributes.shape):
        raise GraphError(f"got axis {attributes.axis} for shape {attributes.shape}")
    type = TensorType(attributes.dtype, attributes.shape)
    _require_no_rows(type)
    return (type,)


def _iota(attributes: Iota) -> Any:
    counting = np.arange(attributes.shape[attributes.axis]).astype(attributes.dtype.numpy)
    along = [1] * len(attributes.shape)
    along[attributes.axis] = -1
    return np.broadcast_to(counting.reshape(along), attributes.shape)


OPS = (
    Op(
        name="constant",
        arity=0,
        types=_constant_types,
        evaluate=_constant,
        derivative=Zero(),
        batch=never_batched("constant"),
        attributes=Constant,
        flops=0.0,
        tests=TestData(cases=(Case((), Constant.of(np.array([[1.5, -0.0], [np.nan, np.inf]]))),)),
    ),
    Op(
        name="iota",
        arity=0,
        types=_iota_types,
        evaluate=_iota,
        derivative=Zero(),
        batch=never_batched("iota"),
        attributes=Iota,
        flops=0.0,
        tests=TestData(
            cases=(Case((), Iota(DType.FLOAT64, (3, 4), 1)), Case((), Iota(DType.INT32, (2, 0), 0))),
        ),
    ),
)
