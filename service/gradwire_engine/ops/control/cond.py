"""cond: of two graphs the one that a predicate chooses."""

from __future__ import annotations

from collections.abc import Sequence

from gradwire_engine.attributes import Cond
from gradwire_engine.errors import GraphError
from gradwire_engine.graph import Graph
from gradwire_engine.op import Control, Structured
from gradwire_engine.ops.control.backward import transpose
from gradwire_engine.ops.control.halves import divide, linear_results
from gradwire_engine.ops.control.push import push
from gradwire_engine.ops.control.records import control_op, flops_of_one_graph
from gradwire_engine.ops.control.rows import batched_by_rows, for_body, require_rows, row_shape, with_rows
from gradwire_engine.ops.rules import describe
from gradwire_engine.types import DType, TensorType


def _types(attributes: Cond, operands: Sequence[TensorType], otherwise: Graph, then: Graph) -> tuple[TensorType, ...]:
    if not operands or operands[0].dtype is not DType.BOOL or operands[0].rank != attributes.row_axes:
        raise GraphError(f"got ({describe(operands)}), expected a bool scalar as predicate, then the operands")
    if 0 in attributes.shared:
        raise GraphError("the predicate of rows is not shared")
    rows = row_shape(attributes, operands)
    expected = tuple(for_body(attributes, i, type) for i, type in enumerate(operands) if i > 0)
    for branch in (otherwise, then):
        if branch.input_types != expected:
            raise GraphError(
                f"got operands ({describe(expected)}) for a branch that takes ({describe(branch.input_types)})"
            )
    if otherwise.output_types != then.output_types:
        raise GraphError(
            f"the branches return ({describe(otherwise.output_types)}) and ({describe(then.output_types)}), "
            "expected the same types"
        )
    for type in then.output_types:
        require_rows(attributes, type)
    return tuple(with_rows(attributes, rows, type) for type in then.output_types)


COND = control_op(
    "cond",
    _types,
    Structured(push, linear_results, divide, transpose),
    batched_by_rows("cond", "predicate"),
    Control(prunable=lambda attributes: True, flops=flops_of_one_graph),
    attributes=Cond,
)
