"""scan: a graph applied step by step, with values that go from step to step.

The body takes (constants, carries, one slice of each stacked operand) to (carries, one slice of each stacked result, a
term of each sum). The groups are each other's transposes, so the transpose of a scan is a scan in the opposite
direction, whose body is the body's backward pass. What its linear half needs of every step it computes again, from the
carries that the primal half began each step with, which that half stacks as one more result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from gradwire_engine.attributes import Scan
from gradwire_engine.bounds import Bound
from gradwire_engine.errors import GraphError
from gradwire_engine.graph import Graph, Node
from gradwire_engine.op import Control, PullBack, Steps, Structured, Tangents, Tape
from gradwire_engine.ops.control import backward
from gradwire_engine.ops.control.halves import divide, linear_results
from gradwire_engine.ops.control.operands import Groups, groups_of
from gradwire_engine.ops.control.push import push
from gradwire_engine.ops.control.records import control_op, flops_of_steps
from gradwire_engine.ops.control.reread import reread
from gradwire_engine.ops.control.rows import (
    batched_by_rows,
    for_body,
    require_rows,
    row_shape,
    slice_type,
    snapshot_types,
    with_rows,
    without_rows,
)
from gradwire_engine.types import DType, TensorType
from gradwire_engine.value import Builder, Value
from gradwire_engine.vocabulary import sum_over

Types = Sequence[TensorType]


def scan_types(attributes: Scan, operands: Types, body: Graph, further: int = 0) -> tuple[TensorType, ...]:
    """The type rule; the body takes `further` inputs after those that are operands."""
    a = attributes
    first = int(a.counted)
    if min(a.constants, a.carries, a.sums, a.length) < 0 or first + a.constants + a.carries > len(operands):
        raise GraphError(f"got {len(operands)} operands with {a}")
    if a.carries + a.sums > len(body.outputs):
        raise GraphError(f"the body returns {len(body.outputs)} values, expected {a.carries} carries and {a.sums} sums")
    groups = Groups("scan", a, len(operands), [body])
    if any(i in a.shared for i in groups.operands["carries"]):
        raise GraphError("the carries of rows are not shared")
    rows = row_shape(a, operands)
    if a.counted:
        _require_count(a, operands[0])
    for i, parameter in enumerate(body.inputs[: len(operands) - first]):
        position, operand = first + i, operands[first + i]
        stacked = position in groups.operands["stacked"]
        expected = slice_type(a, position, operand, a.length) if stacked else for_body(a, position, operand)
        if parameter.type != expected:
            raise GraphError(f"input {i} of the body is {parameter.type}, its operand {operand} gives {expected}")
    if len(body.inputs) - further != len(operands) - first:
        raise GraphError(f"the body takes {len(body.inputs) - further} values, got {len(operands) - first} operands")
    outputs, members = body.output_types, groups.outputs[0]
    for i, j in zip(groups.inputs[0]["carries"], members["carries"], strict=True):
        if body.inputs[i].type != outputs[j]:
            raise GraphError(
                f"carry {j} begins a step as {body.inputs[i].type} and ends it as {outputs[j]}; "
                "its type must not change"
            )
    return (
        *(with_rows(a, rows, outputs[j]) for j in members["carries"]),
        *(_stacked_type(a, rows, outputs[j]) for j in members["stacked"]),
        *(_sum_type(a, rows, outputs[j], k in a.row_sums) for k, j in enumerate(members["sums"])),
        *snapshot_types(a, rows, [outputs[j] for j in members["carries"]]),
    )


def _types(attributes: Scan, operands: Types, body: Graph) -> tuple[TensorType, ...]:
    return scan_types(attributes, operands, body)


def _require_count(a: Scan, count: TensorType) -> None:
    rank = 0 if 0 in a.shared else a.row_axes
    if count.dtype is not DType.INT64 or count.rank != rank:
        raise GraphError(f"got {count} as the count of a scan, expected an int64 scalar")


def _stacked_type(a: Scan, rows: tuple[int, ...], output: TensorType) -> TensorType:
    require_rows(a, output)
    return with_rows(a, (*rows, a.length), output)


def _sum_type(a: Scan, rows: tuple[int, ...], output: TensorType, over_rows: bool) -> TensorType:
    if output.dtype is DType.BOOL:
        raise GraphError(f"got {output} as a term of a sum, expected a numeric type")
    if over_rows and a.row_axes:
        return without_rows(a, output)
    require_rows(a, output)
    return with_rows(a, rows, output)


def _transpose(
    builder: Builder,
    node: Node,
    operands: Sequence[Value | None],
    cotangents: Tangents,
    types: Types,
    pull_back: PullBack,
) -> Tangents:
    """The backward pass, step by step the other way."""
    assert isinstance(node.attributes, Scan)
    opposite = node._replace(attributes=replace(node.attributes, reverse=not node.attributes.reverse))
    return backward.transpose(builder, opposite, operands, cotangents, types, pull_back)


def _batch(
    attributes: Scan, operands: Sequence[Value], batched: Sequence[bool], size: int, body: Graph
) -> tuple[Value, ...]:
    """Sums over rows of the old are added up after the loop."""
    results = list(_batched(replace(attributes, row_sums=()), operands, batched, size, body))
    sums = Groups("scan", attributes, len(operands), [body]).outputs[0]["sums"]
    for k in attributes.row_sums if attributes.row_axes else ():
        results[sums[k]] = sum_over(results[sums[k]], range(1, 1 + attributes.row_axes))
    return tuple(results)


_batched = batched_by_rows("scan", "carries")

# carries as stacked results: the tape


def _taped(node: Node) -> Mapping[int, int]:
    """The stacked results that are carries as the body got them."""
    a, groups, outputs = node.attributes, groups_of(node), node.subgraphs[0].outputs
    if not isinstance(a, Scan) or a.snapshots:
        return {}
    carries = groups.inputs[0]["carries"]
    return {j: carries.index(outputs[j]) for j in groups.outputs[0]["stacked"] if outputs[j] in carries}


def _steps(first: int, node: Node) -> Steps:
    assert isinstance(node.attributes, Scan)
    count = node.operands[0] if node.attributes.counted else None
    return Steps(node.attributes.length, count, node.attributes.reverse)


def _flops(node: Node, bounds: Sequence[Bound], over_rows: Callable[[Bound], Bound]) -> Bound:
    assert isinstance(node.attributes, Scan)
    return flops_of_steps(node, over_rows(bounds[0]), max(node.attributes.length, 1))


SCAN = control_op(
    "scan",
    _types,
    Structured(push, linear_results, divide, _transpose),
    _batch,
    Control(
        repeats=True,
        prunable=lambda attributes: not attributes.snapshots,
        tape=Tape(_taped, _steps),
        reread=reread,
        flops=_flops,
    ),
    attributes=Scan,
)
