"""while: a graph applied as long as a condition holds, at most `max_steps` times; a row that is not done then fails.

Forward mode is a while whose carries are values and tangents. For reverse mode, the primal half counts its steps and
records the carries as each of them begins, with room for `max_steps`; the linear half is a scan over the record, of as
many steps as were counted. So a loop has no transpose rule of its own, and everything that is made from it is closed
under every transform.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from gradwire_engine.attributes import Scan, While
from gradwire_engine.bounds import Bound
from gradwire_engine.errors import GraphError
from gradwire_engine.graph import Graph, Node
from gradwire_engine.op import Control, Halves, PrimalPart, PullBack, Steps, Structured, Tangents, Tape
from gradwire_engine.ops.control.bodies import needed_inputs, rearranged
from gradwire_engine.ops.control.halves import LinearMembers, linear_results
from gradwire_engine.ops.control.operands import Group, Groups, Operand, emit, groups_of, with_recorded
from gradwire_engine.ops.control.push import push
from gradwire_engine.ops.control.records import control_op, flops_of_steps
from gradwire_engine.ops.control.rows import (
    batched_by_rows,
    for_body,
    require_rows,
    row_shape,
    snapshot_types,
    with_rows,
    without_rows,
)
from gradwire_engine.ops.rules import describe
from gradwire_engine.types import DType, TensorType
from gradwire_engine.value import Builder, Value

Types = Sequence[TensorType]
LARGEST_MAX_STEPS: Final = 2**31 - 1
_SNAPSHOT_BYTES: Final = 176
"""For each snapshot: which step it is of, in Python objects."""


def _types(attributes: While, operands: Types, condition: Graph, body: Graph) -> tuple[TensorType, ...]:
    a = attributes
    if min(a.condition_constants, a.body_constants) < 0 or a.condition_constants + a.body_constants > len(operands):
        raise GraphError(f"got {len(operands)} operands with {a}")
    if not 1 <= a.max_steps <= LARGEST_MAX_STEPS:
        raise GraphError(f"got max_steps {a.max_steps}, expected 1 to {LARGEST_MAX_STEPS}")
    members = Groups("while", a, len(operands), [condition, body]).operands
    carries = members["carries"]
    if any(i in a.shared for i in carries):
        raise GraphError("the carries of rows are not shared")
    if any(not 0 <= k < len(carries) for k in a.recorded):
        raise GraphError(f"got recorded carries {a.recorded}, there are {len(carries)}")
    rows = row_shape(a, operands)
    taken = [for_body(a, i, type) for i, type in enumerate(operands)]
    for name, graph, constants in (("condition", condition, members["tests"]), ("body", body, members["constants"])):
        expected = tuple(taken[i] for i in (*constants, *carries))
        if graph.input_types != expected:
            raise GraphError(f"got ({describe(expected)}) for a {name} that takes ({describe(graph.input_types)})")
    predicate = condition.output_types
    if len(predicate) != 1 or predicate[0].dtype is not DType.BOOL or without_rows(a, predicate[0]).shape != ():
        raise GraphError(f"the condition returns ({describe(predicate)}), expected one bool scalar")
    kinds = tuple(taken[i] for i in carries)
    if body.output_types != kinds:
        raise GraphError(
            f"carries begin a step as ({describe(kinds)}) and end it as ({describe(body.output_types)}); "
            "their types must not change"
        )
    for type in (*body.output_types, *predicate):
        require_rows(a, type)
    results = [with_rows(a, rows, type) for type in kinds]
    if a.counted:
        results.append(TensorType(DType.INT64, rows))
    if a.snapshots:
        return (*results, *snapshot_types(a, rows, kinds))
    return (*results, *(with_rows(a, (*rows, a.max_steps), kinds[k]) for k in a.recorded))


class _Division:
    """What goes where, as carries. The primal half is a while that records those in `_taped`; `_needed` are inputs of
    the body that the linear half takes."""

    def __init__(self, node: Node, linear: Sequence[bool], primal_part: PrimalPart) -> None:
        self._node, self._primal_part = node, primal_part
        self._groups = groups = groups_of(node)
        self._flags = LinearMembers.of(node, groups, linear)
        self._linear_carries = [k for k, moves in enumerate(self._flags.outputs) if moves]
        self._primal_carries = [k for k, moves in enumerate(self._flags.outputs) if not moves]
        self._constants, self._carries = groups.inputs[1]["constants"], groups.inputs[1]["carries"]
        needed = needed_inputs(node.subgraphs[1], self._linear_carries)
        self._taped = [k for k in self._primal_carries if self._carries[k] in needed]
        self._kept_constants = [k for k in self._constants if self._flags.inputs[k] or k in needed]

    def needed(self, linear: Sequence[bool]) -> frozenset[int]:
        """The operands that the linear half takes, besides those that are linear."""
        operands = self._groups.operands
        taken = [operands["constants"][k] for k in self._kept_constants]
        taken += [operands["carries"][k] for k in self._linear_carries]
        return frozenset(i for i in taken if not linear[i])

    def primal(self, builder: Builder, operands: Sequence[Value | None]) -> tuple[list[Value | None], list[Value]]:
        """The results that are not linear; the number of steps, and the tapes."""
        node, groups, carries = self._node, self._groups, self._primal_carries
        assert isinstance(node.attributes, While)
        condition, body = node.subgraphs
        tests = groups.inputs[0]
        taken = [*tests["tests"], *(tests["carries"][k] for k in carries)]
        graphs = [rearranged(builder, condition, taken, [0]), self._primal_part(body, self._flags.inputs, carries)]
        recorded = [k for k in groups.recorded if k in carries]
        recorded += [k for k in self._taped if k not in recorded]
        arguments: dict[Group, list[Operand]] = {
            "tests": groups.pick(operands, groups.operands["tests"]),
            "constants": groups.pick(
                operands, [groups.operands["constants"][k] for k in self._constants if not self._flags.inputs[k]]
            ),
            "carries": groups.pick(operands, [groups.operands["carries"][k] for k in carries]),
        }
        attributes = with_recorded(replace(node.attributes, counted=True), [carries.index(k) for k in recorded])
        by_name = emit(builder, "while", attributes, arguments, graphs)
        tapes = dict(zip(recorded, by_name["recorded"], strict=True))
        values = dict(zip(carries, by_name["carries"], strict=True))
        results = [values.get(k) for k in range(len(self._carries))]
        results += by_name["count"] if node.attributes.counted else []
        results += [tapes.get(k) for k in groups.recorded]
        return results, [*by_name["count"], *(tapes[k] for k in self._taped)]

    def linear(self, builder: Builder, operands: Sequence[Value | None], residuals: Sequence[Value]) -> list[Value]:
        """The results that are linear: of a scan over the tapes, which stacks the linear carries that are recorded."""
        node, groups, carries = self._node, self._groups, self._linear_carries
        assert isinstance(node.attributes, While)
        count, *tapes = residuals
        inputs = [*self._kept_constants, *(self._carries[k] for k in (*carries, *self._taped))]
        recorded = [k for k in groups.recorded if k in carries]
        body = _returning_inputs(node.subgraphs[1], [self._carries[k] for k in recorded])
        outputs = [*carries, *range(len(self._carries), len(body.outputs))]
        a = node.attributes
        attributes = Scan(constants=0, carries=0, length=a.max_steps, row_axes=a.row_axes, batched=a.batched)
        arguments: dict[Group, list[Operand]] = {
            "count": [Operand(count)],
            "constants": groups.pick(operands, [groups.operands["constants"][k] for k in self._kept_constants]),
            "carries": groups.pick(operands, [groups.operands["carries"][k] for k in carries]),
            "stacked": [Operand(tape) for tape in tapes],
        }
        by_name = emit(builder, "scan", attributes, arguments, [rearranged(builder, body, inputs, outputs)])
        return [*by_name["carries"], *by_name["stacked"]]


def _returning_inputs(graph: Graph, inputs: Sequence[int]) -> Graph:
    """`graph`, with some inputs as further outputs."""
    return Graph(graph.inputs, graph.nodes, (*graph.outputs, *inputs))


def _divide(node: Node, linear: Sequence[bool], primal_part: PrimalPart) -> Halves:
    division = _Division(node, linear, primal_part)
    return Halves(division.primal, division.needed(linear), division.linear)


def _transpose(
    builder: Builder,
    node: Node,
    operands: Sequence[Value | None],
    cotangents: Tangents,
    types: Types,
    pull_back: PullBack,
) -> Tangents:
    raise GraphError("while has no transpose: its linear half is a scan")


# the record as a tape


def _taped(node: Node) -> Mapping[int, int]:
    """A loop that does not say its number of steps is not gone through again."""
    a, groups = node.attributes, groups_of(node)
    if not isinstance(a, While) or not a.counted or a.snapshots:
        return {}
    return dict(zip(groups.results["recorded"], a.recorded, strict=True))


def _steps(first: int, node: Node) -> Steps:
    assert isinstance(node.attributes, While)
    (count,) = groups_of(node).results["count"]
    return Steps(node.attributes.max_steps, first + count, False)


def _flops(node: Node, bounds: Sequence[Bound], over_rows: Callable[[Bound], Bound]) -> Bound:
    """If it runs to its bound."""
    assert isinstance(node.attributes, While)
    return flops_of_steps(node, over_rows(bounds[0] + bounds[1]), node.attributes.max_steps)


WHILE = control_op(
    "while",
    _types,
    Structured(push, linear_results, _divide, _transpose),
    batched_by_rows("while", "carries"),
    Control(
        repeats=True,
        prunable=lambda attributes: not attributes.snapshots,
        tape=Tape(_taped, _steps, whole=True),
        open_ended=True,
        flops=_flops,
        snapshot_bytes=lambda attributes: _SNAPSHOT_BYTES * attributes.snapshots,
    ),
    attributes=While,
)
