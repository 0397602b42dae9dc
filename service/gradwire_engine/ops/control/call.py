"""call: stands for the graph that it calls, and is inlined before anything else happens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gradwire_engine.errors import GraphError
from gradwire_engine.op import Case, Op, Refused, TestData
from gradwire_engine.ops.rules import describe
from gradwire_engine.types import TensorType
from gradwire_engine.value import Value


def _call_types(attributes: Any, operands: Sequence[TensorType], callee: Any) -> tuple[TensorType, ...]:
    if tuple(operands) != callee.input_types:
        raise GraphError(f"got ({describe(operands)}) for a graph that takes ({describe(callee.input_types)})")
    results: tuple[TensorType, ...] = callee.output_types
    return results


def _call_evaluate(attributes: Any, *arrays: Any) -> Any:
    raise GraphError("call has no evaluation of its own; inline it first")


def _call_batch(
    attributes: Any, operands: Sequence[Value], batched: Sequence[bool], size: int, callee: Any
) -> tuple[Value, ...]:
    raise GraphError("call has no batch rule of its own; inline it first")


CALL = Op(
    name="call",
    arity=None,
    types=_call_types,
    evaluate=_call_evaluate,
    derivative=Refused("calls are inlined first"),
    batch=_call_batch,
    subgraphs=1,
    tests=TestData(cases=(Case(((),)),)),
)
