"""call: stands for the graph that it calls, and is inlined before anything else happens."""

from __future__ import annotations

from collections.abc import Sequence

from gradwire_engine.attributes import Attributes
from gradwire_engine.errors import GraphError
from gradwire_engine.graph import Graph
from gradwire_engine.op import Control, Refused
from gradwire_engine.ops.control.records import control_op, flops_of_one_graph
from gradwire_engine.ops.rules import describe
from gradwire_engine.types import TensorType
from gradwire_engine.value import Value


def applied_types(attributes: Attributes, operands: Sequence[TensorType], graph: Graph) -> tuple[TensorType, ...]:
    """The type rule of a graph that is applied to its operands, once."""
    if tuple(operands) != graph.input_types:
        raise GraphError(f"got ({describe(operands)}) for a graph that takes ({describe(graph.input_types)})")
    return graph.output_types


def _batch(
    attributes: Attributes, operands: Sequence[Value], batched: Sequence[bool], size: int, callee: Graph
) -> tuple[Value, ...]:
    raise GraphError("call has no batch rule of its own; inline it first")


CALL = control_op(
    "call",
    applied_types,
    Refused("calls are inlined first"),
    _batch,
    Control(inlined="first", flops=flops_of_one_graph),
)
