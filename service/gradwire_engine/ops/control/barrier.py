"""barrier: the operands as they are. No pass looks through it: what is computed behind it is computed again, later."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gradwire_engine.attributes import Attributes
from gradwire_engine.op import Array, Case, Op, Refused, TestData
from gradwire_engine.types import TensorType
from gradwire_engine.value import Value


def _types(attributes: Attributes, operands: Sequence[TensorType]) -> tuple[TensorType, ...]:
    return tuple(operands)


def _evaluate(attributes: Attributes, *arrays: Array) -> Any:
    return arrays if len(arrays) != 1 else arrays[0]


def _batch(attributes: Attributes, operands: Sequence[Value], batched: Sequence[bool], size: int) -> tuple[Value, ...]:
    results: tuple[Value, ...] = operands[0].builder.emit_all("barrier", operands)
    return results


BARRIER = Op(
    name="barrier",
    arity=None,
    types=_types,
    evaluate=_evaluate,
    derivative=Refused("it is made after differentiation"),
    batch=_batch,
    flops=0.0,
    tests=TestData(cases=(Case(((),)),)),
)
