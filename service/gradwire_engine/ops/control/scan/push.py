"""scan: a graph applied step by step, with values that go from step to step.

The body takes (constants, carries, one slice of each stacked input) to (carries, one slice of each stacked output, a
term of each sum). The groups are each other's transposes: what a step reads from a constant, its cotangent adds to a
sum; a stacked input has a stacked cotangent; a carry a carry, the other way round. So the transpose of a scan is a scan
in the opposite direction, whose body is the body's backward pass.

The linear half of a scan needs intermediate values of every step. It computes them again, from the carries that the
primal half began each step with, which that half stacks as one more output.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from gradwire_engine.attributes import Scan
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
from gradwire_engine.ops.control.bodies import (
    dependent_outputs,
    mask_count,
    needed_inputs,
    rearranged,
)
from gradwire_engine.ops.control.cond import refused_evaluation
from gradwire_engine.ops.control.rows import (
    for_body,
    require_rows,
    row_shape,
    snapshot_types,
    with_new_axis,
    without_rows,
)
from gradwire_engine.ops.control.scan.backward import BackwardScan
from gradwire_engine.ops.control.scan.layout import Layout, layout_of
from gradwire_engine.ops.control.scan.pushed_body import PushedBody
from gradwire_engine.tangents import sum_tangent
from gradwire_engine.types import DType, TensorType
from gradwire_engine.value import Value
from gradwire_engine.vocabulary import sum_over

Types = Sequence[TensorType]


# types


def _types(attributes: Scan, operands: Types, body: Graph) -> tuple[TensorType, ...]:
    return scan_types(attributes, operands, body)


def scan_types(attributes: Scan, operands: Types, body: Graph, further: int = 0) -> tuple[TensorType, ...]:
    """The type rule; the body takes `further` inputs after those that are operands."""
    a = attributes
    first = int(a.counted)
    if min(a.constants, a.carries, a.sums, a.length) < 0 or first + a.constants + a.carries > len(operands):
        raise GraphError(f"got {len(operands)} operands with {a}")
    if a.carries + a.sums > len(body.outputs):
        raise GraphError(f"the body returns {len(body.outputs)} values, expected {a.carries} carries and {a.sums} sums")
    layout = Layout(a, len(operands), len(body.outputs))
    _, carries, stacked = layout.inputs
    if any(first + i in a.shared for i in carries):
        raise GraphError("the carries of rows are not shared")
    rows = row_shape(a, operands, len(operands))
    if a.counted:
        _require_count(a, operands[0])
    for i, one in enumerate(body.inputs[: len(operands) - first]):
        operand = operands[first + i]
        given = _slice_type(a, first + i, operand) if i in stacked else for_body(a, first + i, operand)
        if one.type != given:
            raise GraphError(f"input {i} of the body is {one.type}, its operand {operand} gives {given}")
    if len(body.inputs) - further != len(operands) - first:
        raise GraphError(f"the body takes {len(body.inputs) - further} values, got {len(operands) - first} operands")
    outputs, (out_carries, out_stacked, sums) = body.output_types, layout.results
    for i, j in zip(carries, out_carries, strict=True):
        if body.inputs[i].type != outputs[j]:
            raise GraphError(
                f"carry {j} begins a step as {body.inputs[i].type} and ends it as {outputs[j]}; "
                "its type must not change"
            )
    return (
        *(outputs[j].with_shape(rows + without_rows(a, outputs[j]).shape) for j in out_carries),
        *(_stacked_type(a, rows, outputs[j]) for j in out_stacked),
        *(_sum_type(a, rows, outputs[j], k in a.row_sums) for k, j in enumerate(sums)),
        *snapshot_types(a, rows, [outputs[j] for j in out_carries]),
    )


def _require_count(a: Scan, count: TensorType) -> None:
    rank = 0 if 0 in a.shared else a.row_axes
    if count.dtype is not DType.INT64 or count.rank != rank:
        raise GraphError(f"got {count} as the count of a scan, expected an int64 scalar")


def _slice_type(a: Scan, index: int, operand: TensorType) -> TensorType:
    """What a step sees of a stacked input."""
    axis = 0 if index in a.shared else a.row_axes
    if operand.rank <= axis or operand.shape[axis] != a.length:
        raise GraphError(f"got stacked input {operand} for {a.length} steps")
    return for_body(a, index, operand.with_shape(operand.shape[:axis] + operand.shape[axis + 1 :]))


def _stacked_type(a: Scan, rows: tuple[int, ...], output: TensorType) -> TensorType:
    require_rows(a, output)
    return output.with_shape((*rows, a.length, *without_rows(a, output).shape))


def _sum_type(a: Scan, rows: tuple[int, ...], output: TensorType, over_rows: bool) -> TensorType:
    if output.dtype is DType.BOOL:
        raise GraphError(f"got {output} as a term of a sum, expected a numeric type")
    if over_rows and a.row_axes:
        return without_rows(a, output)
    require_rows(a, output)
    return output.with_shape((*rows, *without_rows(a, output).shape))


# tangents


def _push(
    builder: Any, node: Node, operands: Sequence[Value], tangents: Tangents, push_forward: PushForward
) -> tuple[Sequence[Value], Tangents]:
    layout, body = layout_of(node), node.subgraphs[0]
    moved = PushedBody(body, layout.inputs, tangents[layout.first :], push_forward)
    inner, values, directions = moved.settle(builder)
    out_carries, out_stacked, sums = layout.results
    floating = [j for j, type in enumerate(body.output_types) if type.dtype.is_floating]
    active = [j for j in (*out_stacked, *sums) if j in floating and directions[j] is not None]
    masked = [j for j in active if (each := directions[j]) is not None and each.mask is not None]
    stacked_active = [j for j in active if j in out_stacked]
    stacked_masked = [j for j in masked if j in out_stacked]
    sums_active, sums_masked = [j for j in active if j in sums], [j for j in masked if j in sums]

    def value(j: int) -> Value:
        each = directions[j]
        assert each is not None
        return each.value

    def mask(j: int) -> Value:
        each = directions[j]
        assert each is not None
        assert each.mask is not None
        return each.mask

    outputs = [
        *(values[j] for j in out_carries),
        *moved.carried(inner, directions),
        *(values[j] for j in out_stacked),
        *map(value, stacked_active),
        *map(mask, stacked_masked),
        *(values[j] for j in sums),
        *map(value, sums_active),
        *(mask_count(mask(j)) for j in sums_masked),
    ]
    a = layout.attributes
    order, added = moved.operands(operands[layout.first :], tangents[layout.first :])
    first = layout.first
    shared = tuple(
        [*([0] if a.counted and 0 in a.shared else [])]
        + [first + p for p, i in enumerate(order) if first + i in a.shared]
    )
    over_rows = [sums[k] for k in a.row_sums]
    new_sums = [*sums, *sums_active, *sums_masked]
    attributes = replace(
        a,
        constants=moved.counts[0],
        carries=moved.counts[1],
        sums=len(new_sums),
        shared=shared,
        row_sums=tuple(k for k, j in enumerate(new_sums) if j in over_rows),
    )
    found = builder.emit_all("scan", [*operands[:first], *added], attributes, [inner.finish(outputs)])
    position = iter(found)
    results: list[Value | None] = [None] * len(node.results)
    new: dict[int, Value] = {}
    masks: dict[int, Value] = {}

    def take(targets: Sequence[int], into: Any) -> None:
        for j in targets:
            into[j] = next(position)

    take(out_carries, results)
    take(moved.active, new)
    take(moved.masked, masks)
    take(out_stacked, results)
    take(stacked_active, new)
    take(stacked_masked, masks)
    take(sums, results)
    take(sums_active, new)
    for j in sums_masked:
        masks[j] = next(position) > 0
    whole = [each for each in results if each is not None]
    return whole, [Masked(new[j], masks.get(j)) if j in new else None for j in range(len(whole))]


# the two halves


def _linear_inputs(layout: Layout, body: Graph, linear: Sequence[bool]) -> tuple[list[bool], list[bool]]:
    """Which inputs of the body are linear, carries included that become so; and which outputs."""
    flags = list(linear[layout.first :])
    carries = layout.inputs[1]
    while True:
        moved = dependent_outputs(body, flags)
        before = list(flags)
        for k, i in enumerate(carries):
            flags[i] = flags[i] or moved[k]
        if flags == before:
            return flags, [moved[j] or (j < len(carries) and flags[carries[j]]) for j in range(len(moved))]


def _linear_results(node: Node, linear: Sequence[bool]) -> Sequence[bool]:
    return _linear_inputs(layout_of(node), node.subgraphs[0], linear)[1]


def _divide(node: Node, linear: Sequence[bool], primal_part: PrimalPart) -> Halves:
    layout, body = layout_of(node), node.subgraphs[0]
    flags, moves = _linear_inputs(layout, body, linear)
    constants, carries, stacked = layout.inputs
    first = layout.first
    linear_outputs = [j for j, each in enumerate(moves) if each]
    needed = needed_inputs(body, linear_outputs)
    taped = [i for i in carries if i in needed and not flags[i]]
    kept = LinearInputs(
        constants=[i for i in constants if flags[i] or i in needed],
        carries=[i for i in carries if flags[i]],
        stacked=[i for i in stacked if flags[i] or i in needed],
        taped=taped,
    )
    witness = _row_witness(layout, kept)
    if witness is not None:
        (kept.stacked if witness in stacked else kept.constants).append(witness)

    def primal(builder: Any, operands: Sequence[Value | None]) -> tuple[list[Value | None], list[Value]]:
        return _primal_half(builder, node, operands, flags, moves, taped, primal_part)

    def linear_half(builder: Any, operands: Sequence[Value | None], residuals: Sequence[Value]) -> list[Value]:
        if not linear_outputs:
            return []
        tapes = dict(zip(taped, residuals, strict=True))
        order = kept.order
        given = [tapes[i] if i in tapes else operands[first + i] for i in order]
        count = [*operands[:first]]
        a = layout.attributes
        shared = [0] if a.counted and 0 in a.shared else []
        shared += [first + p for p, i in enumerate(order) if first + i in a.shared]
        attributes = kept.attributes(a, linear_outputs, layout.results, tuple(shared))
        graph = rearranged(builder, body, order, linear_outputs)
        return list(builder.emit_all("scan", [*count, *given], attributes, [graph]))

    wanted = {first + i for i in (*constants, *stacked) if i in needed and not flags[i]} | set(range(first))
    wanted |= {first + i for i in carries if flags[i] and not linear[first + i]}
    wanted |= set() if witness is None else {first + witness}
    return Halves(primal, frozenset(wanted), linear_half)


def _row_witness(layout: Layout, kept: LinearInputs) -> int | None:
    """An input of the body with rows, where the linear half needs none that has them: it tells how many there are."""
    a, first = layout.attributes, layout.first
    tells = bool(kept.taped) or (a.counted and 0 not in a.shared)
    if not a.row_axes or tells or any(first + i not in a.shared for i in kept.order):
        return None
    return next(i for i in range(layout.operands - first) if first + i not in a.shared)


@dataclass(frozen=True)
class LinearInputs:
    """Inputs of a body that its linear half takes, by group; `taped` carries come as stacked inputs."""

    constants: list[int]
    carries: list[int]
    stacked: list[int]
    taped: list[int]

    @property
    def order(self) -> list[int]:
        """All of them, as the linear half takes them."""
        return [*self.constants, *self.carries, *self.stacked, *self.taped]

    def attributes(self, a: Scan, outputs: Sequence[int], results: Sequence[range], shared: tuple[int, ...]) -> Scan:
        """The attributes of the linear half, which returns some of the results."""
        sums = [j for j in outputs if j in results[2]]
        return replace(
            a,
            constants=len(self.constants),
            carries=len(self.carries),
            sums=len(sums),
            shared=shared,
            row_sums=tuple(k for k, j in enumerate(sums) if j - results[2].start in a.row_sums),
        )


def _primal_half(
    builder: Any,
    node: Node,
    operands: Sequence[Value | None],
    flags: Sequence[bool],
    moves: Sequence[bool],
    taped: Sequence[int],
    primal_part: PrimalPart,
) -> tuple[list[Value | None], list[Value]]:
    """A scan of what is not linear, with the carries in `taped` stacked as each step begins."""
    layout, body = layout_of(node), node.subgraphs[0]
    results: list[Value | None] = [None] * len(moves)
    kept = [j for j, each in enumerate(moves) if not each]
    if not kept and not taped:
        return results, []
    a, first = layout.attributes, layout.first
    constants = layout.inputs[0]
    part = primal_part(body, flags, kept)
    inner = builder.fresh()
    values = [inner.input(one.name, one.type) for one in part.inputs]
    found = dict(zip(kept, inner.inline(part, values), strict=True))
    known = [i for i in range(len(flags)) if not flags[i]]
    by_input = dict(zip(known, values, strict=True))
    out_carries, out_stacked, sums = layout.results
    stacked_kept, sums_kept = [j for j in kept if j in out_stacked], [j for j in kept if j in sums]
    carried = [j for j in kept if j in out_carries]
    graph = inner.finish(
        [
            *(found[j] for j in carried),
            *(found[j] for j in stacked_kept),
            *(by_input[i] for i in taped),
            *(found[j] for j in sums_kept),
        ]
    )
    places = [*range(first), *(first + i for i in known)]
    attributes = replace(
        a,
        constants=sum(not flags[i] for i in constants),
        carries=len(carried),
        sums=len(sums_kept),
        shared=tuple(p for p, place in enumerate(places) if place in a.shared),
        row_sums=tuple(k for k, j in enumerate(sums_kept) if j - sums.start in a.row_sums),
    )
    made = builder.emit_all("scan", [operands[place] for place in places], attributes, [graph])
    for j, value in zip((*carried, *stacked_kept), made, strict=False):
        results[j] = value
    tapes = made[len(carried) + len(stacked_kept) :][: len(taped)]
    for j, value in zip(sums_kept, made[len(made) - len(sums_kept) :], strict=True):
        results[j] = value
    return results, list(tapes)


# the backward pass


def _transpose(
    builder: Any, node: Node, operands: Sequence[Value | None], cotangents: Tangents, types: Types, pull_back: PullBack
) -> Tangents:
    layout = layout_of(node)
    found: list[Masked | None] = [None] * len(operands)
    backward = BackwardScan(node, operands, cotangents, types, pull_back)
    inner, pulled = backward.settle(builder)
    linear = backward.linear
    position = {i: p for p, i in enumerate(linear)}
    constants, carries, stacked = layout.inputs
    a, first = layout.attributes, layout.first

    def arriving(group: Sequence[int]) -> list[int]:
        return [i for i in group if i in position and pulled[position[i]] is not None]

    summed, streamed = arriving(constants), arriving(stacked)

    def part(i: int) -> Masked:
        each = pulled[position[i]]
        assert each is not None
        return each

    summed_masked = [i for i in summed if part(i).mask is not None]
    streamed_masked = [i for i in streamed if part(i).mask is not None]
    if not backward.active and not summed and not streamed:
        return found
    outputs = [
        *backward.carried(inner, pulled),
        *(part(i).value for i in streamed),
        *(mask for i in streamed_masked if (mask := part(i).mask) is not None),
        *(part(i).value for i in summed),
        *(mask_count(mask) for i in summed_masked if (mask := part(i).mask) is not None),
    ]
    given, shared = backward.given(builder)
    sums = [*summed, *summed_masked]
    attributes = replace(
        a,
        constants=backward.counts[0],
        carries=backward.counts[1],
        sums=len(sums),
        reverse=not a.reverse,
        shared=shared,
        row_sums=tuple(k for k, i in enumerate(sums) if first + i in a.shared),
    )
    results = iter(builder.emit_all("scan", given, attributes, [inner.finish(outputs)]))
    values: dict[int, Value] = {}
    masks: dict[int, Value] = {}
    for group, into in (
        ([carries[k] for k in backward.active], values),
        ([carries[k] for k in backward.masked], masks),
        (streamed, values),
        (streamed_masked, masks),
        (summed, values),
        (summed_masked, masks),
    ):
        for i in group:
            into[i] = next(results)
    for i in summed_masked:
        masks[i] = masks[i] > 0
    for i, value in values.items():
        each = Masked(value, masks.get(i))
        if first + i in a.shared and i in streamed:
            each = sum_tangent(each, range(a.row_axes))
        found[first + i] = each
    return found


# batches


def _batch(
    attributes: Scan, operands: Sequence[Value], batched: Sequence[bool], size: int, body: Graph
) -> tuple[Value, ...]:
    layout = Layout(attributes, len(operands), len(body.outputs))
    always = [layout.first + i for i in layout.inputs[1]]
    apart = replace(attributes, row_sums=())
    new, moved = with_new_axis(apart, operands, batched, size, always)
    results: list[Value] = list(moved[0].builder.emit_all("scan", moved, new, [body]))
    for k in attributes.row_sums if attributes.row_axes else ():
        j = layout.results[2][k]
        results[j] = sum_over(results[j], range(1, 1 + attributes.row_axes))
    return tuple(results)


SCAN = Op(
    name="scan",
    arity=None,
    types=_types,
    evaluate=refused_evaluation,
    derivative=Structured(_push, _linear_results, _divide, _transpose),
    batch=_batch,
    attributes=Scan,
    subgraphs=1,
    tests=TestData(cases=(Case(((),)),)),
)
