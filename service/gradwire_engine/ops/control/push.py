"""Forward mode of ops that refer to graphs: a node of the same kind on dual numbers, `(x, ẋ)` in place of each x.

Every group is followed by its tangents, and these by their masks (`moving`): the one rule of branches and of loops. In
a loop a carry moves if its tangent does at the beginning or after a step, which is found by going round.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from gradwire_engine.graph import Graph, Input, Node
from gradwire_engine.op import Masked, PushForward, Tangents
from gradwire_engine.ops.control.moving import Moving
from gradwire_engine.ops.control.operands import Group, Groups, Operand, by_group, emit, groups_of, with_recorded
from gradwire_engine.value import Builder, Value

_AT_REST = Moving()


class _Pushed(NamedTuple):
    """A graph on dual numbers, in a builder of its own."""

    builder: Builder
    outputs: dict[Group, list[Value]]
    tangents: dict[Group, list[Masked | None]]

    def finished(self, leaving: Mapping[Group, Moving]) -> Graph:
        """With the tangents that all graphs of the node return."""
        dual: list[Value] = []
        for name, members in self.outputs.items():
            types = [value.type for value in members]
            tangents = leaving[name].arrays(self.builder, self.tangents[name], types, summed=name == "sums")
            dual += [*members, *tangents]
        return self.builder.finish(dual)


def push(
    builder: Builder, node: Node, operands: Sequence[Value], tangents: Tangents, push_forward: PushForward
) -> tuple[Sequence[Value], Tangents]:
    """The results of a node and their tangents."""
    groups = groups_of(node)
    entering = by_group(groups.operands, tangents)
    moving, pushed = _settled(builder, node, groups, entering, push_forward)
    leaving = {name: Moving.of(*(graph.tangents[name] for graph in pushed)) for name in pushed[0].outputs}
    carried = moving.get("carries", _AT_REST)
    if "carries" in leaving:
        leaving["carries"] = carried
    finished = dict(zip(groups.steps, [graph.finished(leaving) for graph in pushed], strict=True))
    graphs = [
        finished.get(g) or _widened(builder.fresh(), graph, groups.inputs[g], moving)
        for g, graph in enumerate(node.subgraphs)
    ]
    dual = groups.all(operands)
    for name, members in dual.items():
        there = moving.get(name, _AT_REST)
        arrays = there.arrays(builder, entering[name], [operand.value.type for operand in members])
        pairs = zip(arrays, there.members, strict=True)
        dual[name] = [*members, *(Operand(array, members[k].shared) for array, k in pairs)]
    sums = leaving.get("sums", _AT_REST)
    over_rows = groups.over_rows
    recorded, leaving["recorded"] = _recorded(groups, carried)
    by_name = emit(
        builder,
        node.op,
        with_recorded(node.attributes, recorded),
        dual,
        graphs,
        [*over_rows, *(over_rows[k] for k in sums.members)],
    )
    results: list[Value] = []
    directions: list[Masked | None] = []
    for name, positions in groups.results.items():
        size = len(positions)
        results += by_name[name][:size]
        directions += leaving.get(name, _AT_REST).read(by_name[name][size:], size, summed=name == "sums")
    return results, directions


def _settled(
    builder: Builder,
    node: Node,
    groups: Groups,
    entering: Mapping[Group, Sequence[Masked | None]],
    push_forward: PushForward,
) -> tuple[dict[Group, Moving], list[_Pushed]]:
    """What moves in the groups of operands, and each graph on dual numbers that are these."""
    moving = {name: Moving.of(entering[name]) for name in groups.inputs[groups.steps[-1]]}
    while True:
        pushed = [
            _pushed(builder.fresh(), node.subgraphs[g], groups.inputs[g], groups.outputs[g], moving, push_forward)
            for g in groups.steps
        ]
        if "carries" not in moving:
            return moving, pushed
        after = moving["carries"].after_step(pushed[-1].tangents["carries"])
        if after == moving["carries"]:
            return moving, pushed
        moving["carries"] = after


def _pushed(
    inner: Builder,
    graph: Graph,
    inputs: Mapping[Group, range],
    outputs: Mapping[Group, range],
    moving: Mapping[Group, Moving],
    push_forward: PushForward,
) -> _Pushed:
    values: list[Value] = []
    tangents: list[Masked | None] = []
    for name, group in by_group(inputs, graph.inputs).items():
        values += [inner.input(parameter.name, parameter.type) for parameter in group]
        tangents += moving[name].declared(inner, [Input(f"d_{parameter.name}", parameter.type) for parameter in group])
    results, pushed = push_forward(inner, graph, values, tangents)
    directions = [tangent if value.dtype.is_floating else None for value, tangent in zip(results, pushed, strict=True)]
    return _Pushed(inner, by_group(outputs, results), by_group(outputs, directions))


def _widened(inner: Builder, graph: Graph, inputs: Mapping[Group, range], moving: Mapping[Group, Moving]) -> Graph:
    """A condition for a loop that has tangents among its carries, which it does not look at."""
    values: list[Value] = []
    for name, group in by_group(inputs, graph.inputs).items():
        values += [inner.input(parameter.name, parameter.type) for parameter in group]
        moving.get(name, _AT_REST).declared(inner, group)
    return inner.finish(inner.inline(graph, values))


def _recorded(groups: Groups, carried: Moving) -> tuple[list[int], Moving]:
    """Which carries of the new node are recorded, and what moves among the recorded ones of the old."""
    old, first = groups.recorded, len(groups.operands.get("carries", ()))
    tangents = {k: first + place for place, k in enumerate(carried.active)}
    masks = {k: first + len(tangents) + place for place, k in enumerate(carried.masked)}
    moving = Moving(
        tuple(r for r, k in enumerate(old) if k in tangents), tuple(r for r, k in enumerate(old) if k in masks)
    )
    return [*old, *(tangents[old[r]] for r in moving.active), *(masks[old[r]] for r in moving.masked)], moving
