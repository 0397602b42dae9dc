"""What the records of all ops that refer to graphs have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

from gradwire_engine.attributes import Attributes
from gradwire_engine.errors import GraphError
from gradwire_engine.op import Array, Case, Control, Op, Refused, Structured, TestData
from gradwire_engine.ops.control.operands import SIGNATURES
from gradwire_engine.types import TensorType
from gradwire_engine.value import Value


def control_op(
    name: str,
    types: Callable[..., tuple[TensorType, ...]],
    derivative: Structured | Refused,
    batch: Callable[..., tuple[Value, ...]],
    control: Control,
    attributes: type[Attributes] = Attributes,
) -> Op:
    """The record of an op that has a signature. Tests draw its graphs by themselves."""
    return Op(
        name=name,
        arity=None,
        types=types,
        evaluate=_evaluate,
        derivative=derivative,
        batch=batch,
        attributes=attributes,
        control=control,
        subgraphs=len(SIGNATURES[name].graphs),
        tests=TestData(cases=(Case(((),)),)),
    )


def _evaluate(attributes: Attributes, *arrays: Array) -> NoReturn:
    raise GraphError("an op that refers to graphs is inlined, or run by an executor")
