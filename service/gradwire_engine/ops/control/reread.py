"""A scan that read the tape of a loop, once the loop keeps snapshots instead.

Where it runs against the loop it becomes a `replay`; in the loop's own direction it runs the loop along, and needs no
snapshots.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from gradwire_engine.attributes import Replay, Scan
from gradwire_engine.graph import Graph, Node
from gradwire_engine.op import KeptLoop
from gradwire_engine.ops.control.bodies import needed_inputs, rearranged
from gradwire_engine.ops.control.operands import Group, Operand, by_group, emit, groups_of, in_order
from gradwire_engine.value import Builder, Value
from gradwire_engine.vocabulary import broadcast_to


def reread(
    builder: Builder, node: Node, operands: Sequence[Value], taped: Mapping[int, int], loop: KeptLoop
) -> Sequence[Value]:
    """The results of a scan of which some operands, `taped`, were carries of the loop as each step began."""
    assert isinstance(node.attributes, Scan)
    reads = _alongside if node.attributes.reverse == loop.reverse else _replayed
    return reads(builder, node, operands, taped, loop)


class _Advance(NamedTuple):
    """The loop's body for the carries of a snapshot: (constants, carries, slices) -> carries; and its operands."""

    body: Graph
    constants: list[Operand]
    stacked: list[Operand]


def _advance(builder: Builder, node: Node, loop: KeptLoop) -> _Advance:
    groups, body = groups_of(loop.node), loop.node.subgraphs[-1]
    inputs, outputs = groups.inputs[-1], [groups.outputs[-1]["carries"][k] for k in loop.carries]
    needed = needed_inputs(body, outputs)
    once = groups.row_axes != groups_of(node).row_axes  # the loop is the same for all rows of the scan

    def taken(name: Group) -> list[int]:
        return [k for k, i in enumerate(inputs.get(name, ())) if i in needed]

    def operands(name: Group) -> list[Operand]:
        positions = [groups.operands[name][k] for k in taken(name)]
        return [Operand(value, once or shared) for value, shared in groups.pick(loop.operands, positions)]

    taken_inputs = [inputs["constants"][k] for k in taken("constants")]
    taken_inputs += [inputs["carries"][k] for k in loop.carries]
    taken_inputs += [inputs["stacked"][k] for k in taken("stacked")]
    advanced = rearranged(builder, body, taken_inputs, outputs)
    return _Advance(advanced, operands("constants"), operands("stacked") if "stacked" in inputs else [])


def _replayed(
    builder: Builder, node: Node, operands: Sequence[Value], taped: Mapping[int, int], loop: KeptLoop
) -> Sequence[Value]:
    a, groups, body = node.attributes, groups_of(node), node.subgraphs[0]
    assert isinstance(a, Scan)
    advance = _advance(builder, node, loop)
    order = [*groups.operands["constants"], *groups.operands["carries"]]
    order += [i for i in groups.operands["stacked"] if i not in taped] + sorted(taped)
    first = len(groups.operands["count"])
    once = groups_of(loop.node).row_axes != a.row_axes
    arguments: dict[Group, list[Operand]] = {
        "count": groups.pick(operands, groups.operands["count"]),
        "positions": [Operand(loop.positions, once)],
        "snapshots": [Operand(state, once) for state in loop.states],
        "loop_constants": advance.constants,
        "loop_stacked": advance.stacked,
        "constants": groups.pick(operands, groups.operands["constants"]),
        "carries": groups.pick(operands, groups.operands["carries"]),
        "stacked": groups.pick(operands, [i for i in groups.operands["stacked"] if i not in taped]),
    }
    attributes = Replay(
        length=a.length,
        snapshots=loop.snapshots,
        forward_constants=0,
        forward_carries=0,
        forward_stacked=0,
        taped=tuple(loop.carries.index(taped[i]) for i in sorted(taped)),
        constants=0,
        carries=0,
        reverse=not a.reverse,
        row_axes=a.row_axes,
    )
    scan = rearranged(builder, body, [i - first for i in order], range(len(body.outputs)))
    return in_order(emit(builder, "replay", attributes, arguments, [advance.body, scan], groups.over_rows))


def _alongside(
    builder: Builder, node: Node, operands: Sequence[Value], taped: Mapping[int, int], loop: KeptLoop
) -> Sequence[Value]:
    """One scan for both: what it read from the tape are carries of its own, which begin as the loop's did."""
    groups, body = groups_of(node), node.subgraphs[0]
    advance, of_loop = _advance(builder, node, loop), groups_of(loop.node)
    starts = groups.operands["carries"]
    once = of_loop.row_axes != groups.row_axes
    rows = operands[starts[0]].shape[: groups.row_axes] if once else ()
    begin = groups.pick(loop.operands, [of_loop.operands["carries"][k] for k in loop.carries])
    stacked = [i for i in groups.operands["stacked"] if i not in taped]
    arguments = groups.all(operands)
    arguments["constants"] += advance.constants
    arguments["carries"] += [Operand(_for_rows(value, rows)) for value, _ in begin]
    arguments["stacked"] = groups.pick(operands, stacked) + advance.stacked

    inner = builder.fresh()
    first = len(groups.operands["count"])
    of_advance = iter(advance.body.inputs)
    values: dict[int, Value] = {}
    advanced: list[Value] = []
    state: list[Value] = []
    for name, own in (("constants", groups.operands["constants"]), ("carries", starts), ("stacked", stacked)):
        values |= {i: inner.input("", body.inputs[i - first].type) for i in own}
        count = {"constants": len(advance.constants), "carries": len(begin), "stacked": len(advance.stacked)}[name]
        added = [inner.input("", next(of_advance).type) for _ in range(count)]
        advanced += added
        if name == "carries":
            state = added
    values |= {i: state[loop.carries.index(k)] for i, k in taped.items()}
    outputs = by_group(groups.outputs[0], inner.inline(body, [values[first + i] for i in range(len(body.inputs))]))
    outputs["carries"] += inner.inline(advance.body, advanced)
    results = emit(builder, node.op, node.attributes, arguments, [inner.finish(in_order(outputs))], groups.over_rows)
    results["carries"] = results["carries"][: len(starts)]
    return in_order(results)


def _for_rows(x: Value, rows: tuple[int, ...]) -> Value:
    """A carry of a loop that all rows shared, for each of them."""
    return broadcast_to(x, (*rows, *x.shape)) if rows else x
