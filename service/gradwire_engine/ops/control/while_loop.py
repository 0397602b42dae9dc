"""while: a graph applied as long as a condition holds, at most `max_steps` times; a row that is not done then fails.

Forward mode is a while whose carries are values and tangents. For reverse mode, the primal half counts its steps and
records the carries as each of them begins, with room for `max_steps`; the linear half is a scan over the record, of as
many steps as were counted. So a loop has no transpose rule of its own, and everything that is made from it is closed
under every transform.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from gradwire_engine.attributes import Scan, While
from gradwire_engine.errors import GraphError
from gradwire_engine.graph import Graph, Node
from gradwire_engine.op import (
    Case,
    Halves,
    Masked,
    Op,
    PrimalPart,
    PullBack,
    PushForward,
    Structured,
    Tangents,
    TestData,
)
from gradwire_engine.ops.control.bodies import dependent_outputs, needed_inputs, operand_groups, rearranged
from gradwire_engine.ops.control.cond import refused_evaluation
from gradwire_engine.ops.control.rows import (
    for_body,
    require_rows,
    row_shape,
    snapshot_types,
    with_new_axis,
    without_rows,
)
from gradwire_engine.ops.control.scan.pushed_body import PushedBody
from gradwire_engine.ops.rules import describe
from gradwire_engine.types import DType, TensorType
from gradwire_engine.value import Value
from gradwire_engine.vocabulary import zeros

Types = Sequence[TensorType]
LARGEST_MAX_STEPS = 2**31 - 1


def _groups(attributes: While, operands: int) -> list[range]:
    """Operands: constants of the condition, of the body, carries."""
    c, b = attributes.condition_constants, attributes.body_constants
    return operand_groups(c, b, operands - c - b)


def _types(attributes: While, operands: Types, condition: Graph, body: Graph) -> tuple[TensorType, ...]:
    a = attributes
    if min(a.condition_constants, a.body_constants) < 0 or a.condition_constants + a.body_constants > len(operands):
        raise GraphError(f"got {len(operands)} operands with {a}")
    if not 1 <= a.max_steps <= LARGEST_MAX_STEPS:
        raise GraphError(f"got max_steps {a.max_steps}, expected 1 to {LARGEST_MAX_STEPS}")
    of_condition, of_body, carries = _groups(a, len(operands))
    if any(i in a.shared for i in carries):
        raise GraphError("the carries of rows are not shared")
    if any(not 0 <= k < len(carries) for k in a.recorded):
        raise GraphError(f"got recorded carries {a.recorded}, there are {len(carries)}")
    rows = row_shape(a, operands, len(operands))
    given = [for_body(a, i, type) for i, type in enumerate(operands)]
    for name, graph, constants in (("condition", condition, of_condition), ("body", body, of_body)):
        expected = tuple(given[i] for i in (*constants, *carries))
        if graph.input_types != expected:
            raise GraphError(f"got ({describe(expected)}) for a {name} that takes ({describe(graph.input_types)})")
    predicate = condition.output_types
    if len(predicate) != 1 or predicate[0].dtype is not DType.BOOL or without_rows(a, predicate[0]).shape != ():
        raise GraphError(f"the condition returns ({describe(predicate)}), expected one bool scalar")
    kinds = tuple(given[i] for i in carries)
    if body.output_types != kinds:
        raise GraphError(
            f"carries begin a step as ({describe(kinds)}) and end it as ({describe(body.output_types)}); "
            "their types must not change"
        )
    for type in (*body.output_types, *predicate):
        require_rows(a, type)
    results = [type.with_shape((*rows, *without_rows(a, type).shape)) for type in kinds]
    if a.counted:
        results.append(TensorType(DType.INT64, rows))
    if a.snapshots:
        return (*results, *snapshot_types(a, rows, kinds))
    for k in a.recorded:
        results.append(kinds[k].with_shape((*rows, a.max_steps, *without_rows(a, kinds[k]).shape)))
    return tuple(results)


# tangents


def _push(
    builder: Any, node: Node, operands: Sequence[Value], tangents: Tangents, push_forward: PushForward
) -> tuple[Sequence[Value], Tangents]:
    a, (condition, body) = node.attributes, node.subgraphs
    assert isinstance(a, While)
    of_condition, of_body, carries = _groups(a, len(operands))
    inputs = operand_groups(len(of_body), len(carries), 0)
    start = of_body.start
    pushed = PushedBody(body, inputs, tangents[start:], push_forward)
    inner, values, moved = pushed.settle(builder)
    order, added = pushed.operands(operands[start:], tangents[start:])
    new_body = inner.finish([*values, *pushed.carried(inner, moved)])
    new_condition = _condition(builder, condition, len(of_condition), len(carries), new_body, pushed.counts[0])
    count = len(carries)
    tangent_at = {k: count + position for position, k in enumerate(pushed.active)}
    mask_at = {k: count + len(pushed.active) + position for position, k in enumerate(pushed.masked)}
    recorded_moving = [k for k in a.recorded if k in tangent_at]
    recorded_masked = [k for k in a.recorded if k in mask_at]
    attributes = replace(
        a,
        body_constants=pushed.counts[0],
        shared=tuple(
            [i for i in of_condition if i in a.shared]
            + [start + p for p, i in enumerate(order) if start + i in a.shared]
        ),
        recorded=(
            *a.recorded,
            *(tangent_at[k] for k in recorded_moving),
            *(mask_at[k] for k in recorded_masked),
        ),
    )
    found = builder.emit_all("while", [*operands[:start], *added], attributes, [new_condition, new_body])
    total = count + len(pushed.active) + len(pushed.masked)
    results: list[Value] = list(found[:count])
    directions: list[Masked | None] = [None] * count
    for k, place in tangent_at.items():
        directions[k] = Masked(found[place], found[mask_at[k]] if k in mask_at else None)
    if a.counted:
        results.append(found[total])
        directions.append(None)
        total += 1
    tapes = found[total:]
    results += tapes[: len(a.recorded)]
    moving = iter(tapes[len(a.recorded) : len(a.recorded) + len(recorded_moving)])
    masks = iter(tapes[len(a.recorded) + len(recorded_moving) :])
    by_moving = {k: next(moving) for k in recorded_moving}
    by_mask = {k: next(masks) for k in recorded_masked}
    directions += [Masked(by_moving[k], by_mask.get(k)) if k in by_moving else None for k in a.recorded]
    return results, directions


def _condition(builder: Any, condition: Graph, constants: int, carries: int, body: Graph, body_constants: int) -> Graph:
    """The condition for a loop with further carries, which it does not look at."""
    inner = builder.fresh()
    values = [inner.input(one.name, one.type) for one in condition.inputs[:constants]]
    values += [inner.input(one.name, one.type) for one in body.inputs[body_constants:]]
    graph: Graph = inner.finish(inner.inline(condition, values[: constants + carries]))
    return graph


# the two halves


def _linear_inputs(node: Node, linear: Sequence[bool]) -> list[bool]:
    """Which inputs of the body are linear, carries included that become so."""
    a, body = node.attributes, node.subgraphs[1]
    assert isinstance(a, While)
    flags = list(linear[a.condition_constants :])
    while True:
        before = list(flags)
        for k, moves in enumerate(dependent_outputs(body, flags)):
            flags[a.body_constants + k] = flags[a.body_constants + k] or moves
        if flags == before:
            return flags


def _linear_results(node: Node, linear: Sequence[bool]) -> Sequence[bool]:
    a = node.attributes
    assert isinstance(a, While)
    carries = _linear_inputs(node, linear)[a.body_constants :]
    return [*carries, *([False] if a.counted else []), *(carries[k] for k in a.recorded)]


def _divide(node: Node, linear: Sequence[bool], primal_part: PrimalPart) -> Halves:
    a, (condition, body) = node.attributes, node.subgraphs
    assert isinstance(a, While)
    flags = _linear_inputs(node, linear)
    of_condition, of_body, carries = _groups(a, len(linear))
    linear_carries = [k for k in range(len(carries)) if flags[a.body_constants + k]]
    primal_carries = [k for k in range(len(carries)) if not flags[a.body_constants + k]]
    needed = needed_inputs(body, linear_carries)
    taped = [k for k in primal_carries if a.body_constants + k in needed]
    known = [i for i in range(len(flags)) if not flags[i]]
    start = of_body.start

    def primal(builder: Any, operands: Sequence[Value | None]) -> tuple[list[Value | None], list[Value]]:
        part = primal_part(body, flags, primal_carries)
        test = rearranged(
            builder, condition, [*range(len(of_condition)), *(len(of_condition) + k for k in primal_carries)], [0]
        )
        recorded = [k for k in a.recorded if k in primal_carries]
        records = [*recorded, *(k for k in taped if k not in recorded)]
        places = [*of_condition, *(start + i for i in known)]
        attributes = replace(
            a,
            body_constants=sum(i < a.body_constants for i in known),
            counted=True,
            recorded=tuple(primal_carries.index(k) for k in records),
            shared=tuple(p for p, place in enumerate(places) if place in a.shared),
        )
        found = builder.emit_all("while", [operands[place] for place in places], attributes, [test, part])
        count = len(primal_carries)
        tapes = dict(zip(records, found[count + 1 :], strict=True))
        results: list[Value | None] = [None] * len(carries)
        for k, value in zip(primal_carries, found, strict=False):
            results[k] = value
        if a.counted:
            results.append(found[count])
        results += [tapes.get(k) for k in a.recorded]
        return results, [found[count], *(tapes[k] for k in taped)]

    def linear_half(builder: Any, operands: Sequence[Value | None], residuals: Sequence[Value]) -> list[Value]:
        constants = [i for i in range(a.body_constants) if flags[i] or i in needed]
        order = [*constants, *(a.body_constants + k for k in (*linear_carries, *taped))]
        inner = builder.fresh()
        values = {i: inner.input(body.inputs[i].name, body.inputs[i].type) for i in order}
        given = [values.get(i) or zeros(inner, body.inputs[i].type) for i in range(len(body.inputs))]
        outputs = inner.inline(body, given)
        recorded = [k for k in a.recorded if k in linear_carries]
        graph = inner.finish([*(outputs[k] for k in linear_carries), *(values[a.body_constants + k] for k in recorded)])
        passed = [residuals[0]]
        passed += [
            x
            for i in (*constants, *(a.body_constants + k for k in linear_carries))
            if (x := operands[start + i]) is not None
        ]
        passed += residuals[1:]
        attributes = Scan(
            constants=len(constants),
            carries=len(linear_carries),
            length=a.max_steps,
            counted=True,
            row_axes=a.row_axes,
            shared=tuple(1 + p for p, i in enumerate(constants) if start + i in a.shared),
            batched=a.batched,
        )
        found = list(builder.emit_all("scan", passed, attributes, [graph]))
        return found

    wanted = {start + i for i in range(a.body_constants) if i in needed and not flags[i]}
    wanted |= {carries[k] for k in linear_carries if not linear[carries[k]]}
    return Halves(primal, frozenset(wanted), linear_half)


def _transpose(
    builder: Any, node: Node, operands: Sequence[Value | None], cotangents: Tangents, types: Types, pull_back: PullBack
) -> Tangents:
    raise GraphError("while has no transpose: its linear half is a scan")


def _batch(
    attributes: While, operands: Sequence[Value], batched: Sequence[bool], size: int, condition: Graph, body: Graph
) -> tuple[Value, ...]:
    new, moved = with_new_axis(attributes, operands, batched, size, _groups(attributes, len(operands))[2])
    results: tuple[Value, ...] = moved[0].builder.emit_all("while", moved, new, [condition, body])
    return results


WHILE = Op(
    name="while",
    arity=None,
    types=_types,
    evaluate=refused_evaluation,
    derivative=Structured(_push, _linear_results, _divide, _transpose),
    batch=_batch,
    attributes=While,
    subgraphs=2,
    tests=TestData(cases=(Case(((),)),)),
)
