"""Reverse mode of ops that refer to graphs: a node of the same kind whose graphs are the backward passes of the old.

The groups are each other's transposes (`Signature.cotangents`): what a step reads from a constant, its cotangent adds
to a sum; a carry's cotangent is a carry, the other way round; that of a stacked operand is stacked. What is not linear
stays, and the cotangents that arrive come after it. Which carries have a cotangent is found by going round.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gradwire_engine.graph import Graph, Input, Node
from gradwire_engine.op import Masked, PullBack, Tangents
from gradwire_engine.ops.control.moving import Moving
from gradwire_engine.ops.control.operands import Group, Groups, Operand, by_group, emit, groups_of
from gradwire_engine.tangents import sum_tangent
from gradwire_engine.types import TensorType
from gradwire_engine.value import Builder, Value

Cotangents = dict[Group, list[Masked | None]]


def transpose(
    builder: Builder,
    node: Node,
    operands: Sequence[Value | None],
    cotangents: Tangents,
    types: Sequence[TensorType],
    pull_back: PullBack,
) -> Tangents:
    """A cotangent for each operand in which the node is linear; these are None in `operands`, as are the carries."""
    groups = groups_of(node)
    arriving = by_group(groups.results, cotangents)
    known = {name: _known(groups, name, operands) for name in groups.operands}
    moving, pulled = _settled(builder, node, groups, known, arriving, pull_back)
    leaving = {name: Moving.of(*(of_graph[name] for _, of_graph in pulled)) for name in groups.cotangents}
    if "carries" in leaving:
        leaving["carries"] = moving["carries"]
    passed: list[Masked | None] = [None] * len(operands)
    if not any(each.active for each in leaving.values()):
        return passed
    graphs = [_finished(groups, graph, leaving, *passes) for graph, passes in zip(node.subgraphs, pulled, strict=True)]
    arguments = _arguments(builder, node, groups, operands, known, moving, arriving)
    summed = leaving["constants"].members if groups.cotangents["constants"] == "sums" else ()
    over_rows = [groups.operands["constants"][k] in groups.shared for k in summed]
    results = emit(builder, node.op, node.attributes, arguments, graphs, over_rows)
    received = {
        name: leaving[name].read(results[result], len(groups.operands[name]), summed=result == "sums")
        for result, name in _sources(groups).items()
    }
    for name, group in received.items():
        for position, cotangent in zip(groups.operands[name], group, strict=True):
            if cotangent is not None and position in groups.shared and groups.cotangents[name] != "sums":
                cotangent = sum_tangent(cotangent, range(groups.row_axes))
            passed[position] = cotangent
    return passed


def _sources(groups: Groups) -> dict[Group, Group]:
    """For each group of outputs of the new graphs, the group whose cotangents it is."""
    sources = {result: name for name, result in groups.cotangents.items()}
    return {result: sources[result] for result in groups.outputs[-1]}


def _known(groups: Groups, name: Group, operands: Sequence[Value | None]) -> list[int]:
    """The members of a group in which the node is not linear."""
    return [] if name == "carries" else [k for k, i in enumerate(groups.operands[name]) if operands[i] is not None]


def _settled(
    builder: Builder,
    node: Node,
    groups: Groups,
    known: Mapping[Group, Sequence[int]],
    arriving: Cotangents,
    pull_back: PullBack,
) -> tuple[dict[Group, Moving], list[tuple[Builder, Cotangents]]]:
    """Which results have a cotangent, and the backward pass of each graph from these: cotangents of its inputs."""
    moving = {name: Moving.of(arriving[name]) for name in groups.cotangents.values()}
    while True:
        pulled = [_pulled(builder.fresh(), node, groups, g, known, moving, pull_back) for g in groups.steps]
        if "carries" not in moving:
            return moving, pulled
        after = moving["carries"].after_step(pulled[-1][1]["carries"])
        if after == moving["carries"]:
            return moving, pulled
        moving["carries"] = after


def _pulled(
    inner: Builder,
    node: Node,
    groups: Groups,
    g: int,
    known: Mapping[Group, Sequence[int]],
    moving: Mapping[Group, Moving],
    pull_back: PullBack,
) -> tuple[Builder, Cotangents]:
    graph, inputs = node.subgraphs[g], groups.inputs[g]
    values: list[Value | None] = [None] * len(graph.inputs)
    seeds: Cotangents = {}
    for name, positions in inputs.items():
        for k in known[name]:
            values[positions[k]] = inner.input(*graph.inputs[positions[k]])
        result = groups.cotangents[name]
        outputs = [Input(f"ct{j}", graph.output_types[j]) for j in groups.outputs[g][result]]
        seeds[result] = moving[result].declared(inner, outputs)
    cotangents = iter(pull_back(inner, graph, values, [seed for name in groups.outputs[g] for seed in seeds[name]]))
    return inner, by_group(inputs, [next(cotangents) if value is None else None for value in values])


def _finished(
    groups: Groups, graph: Graph, leaving: Mapping[Group, Moving], inner: Builder, pulled: Cotangents
) -> Graph:
    """The backward pass with the cotangents that all graphs of the node return."""
    outputs: list[Value] = []
    types = by_group(groups.inputs[-1], graph.input_types)
    for result, name in _sources(groups).items():
        outputs += leaving[name].arrays(inner, pulled[name], types[name], summed=result == "sums")
    return inner.finish(outputs)


def _arguments(
    builder: Builder,
    node: Node,
    groups: Groups,
    operands: Sequence[Value | None],
    known: Mapping[Group, Sequence[int]],
    moving: Mapping[Group, Moving],
    arriving: Cotangents,
) -> dict[Group, list[Operand]]:
    """What is known, then the cotangents; those of a sum over rows are the same for all of them."""
    types = by_group(groups.results, node.results)
    arguments: dict[Group, list[Operand]] = {}
    for name, positions in groups.operands.items():
        arguments[name] = groups.pick(operands, [positions[k] for k in known[name]])
        result = groups.cotangents.get(name)
        if result is not None:
            arrays = moving[result].arrays(builder, arriving[result], types[result])
            shared = [result == "sums" and groups.over_rows[k] for k in moving[result].members]
            arguments[name] += [Operand(*pair) for pair in zip(arrays, shared, strict=True)]
    return arguments
