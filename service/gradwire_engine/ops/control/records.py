"""What the records of ops that refer to graphs have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NoReturn

from gradwire_engine.attributes import Attributes
from gradwire_engine.bounds import Bound, largest
from gradwire_engine.errors import GraphError
from gradwire_engine.graph import Node
from gradwire_engine.op import Array, Case, Control, Op, Refused, Structured, TestData
from gradwire_engine.ops.control.operands import SIGNATURES
from gradwire_engine.types import TensorType
from gradwire_engine.value import Value


def flops_of_one_graph(node: Node, bounds: Sequence[Bound], over_rows: Callable[[Bound], Bound]) -> Bound:
    """Of the dearest graph, once."""
    return flops_of_steps(node, over_rows(largest(bounds)), 1)


def flops_of_steps(node: Node, step: Bound, steps: int) -> Bound:
    """Of so many steps; one costs something even where it computes nothing."""
    size = sum(graph.size for graph in node.subgraphs) + 1
    return Bound((step.constant + size) * steps, step.per_row * steps)


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
