"""From graphs that can be differentiated to graphs that can be run.

A `checkpoint` becomes its body behind a barrier: what it needs is computed again from its operands, and nothing merges
that with what was computed before. The graphs of `cond`, `scan` and `while` get the rows as an axis of their own, so
that they are optimised, and run, for many rows at once. Runs once everything has been differentiated and batched.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gradwire_engine.attributes import Replay, Rowwise, Scan, While
from gradwire_engine.builder import GraphBuilder
from gradwire_engine.graph import Graph, Node
from gradwire_engine.ops.control import replay
from gradwire_engine.program import Layout
from gradwire_engine.transforms.vmap import batch
from gradwire_engine.value import Value


def lower(graph: Graph) -> Graph:
    """`graph`, ready to run; itself, where it is so already."""
    if not _has_work(graph):
        return graph
    builder = GraphBuilder()
    values: list[Value] = [builder.input(one.name, one.type) for one in graph.inputs]
    for node in graph.nodes:
        values.extend(_lowered(builder, node, [values[n] for n in node.operands]))
    return builder.finish([values[n] for n in graph.outputs], graph.output_names)


def _has_work(graph: Graph) -> bool:
    for node in graph.nodes:
        if node.op.name == "checkpoint" or any(_has_work(subgraph) for subgraph in node.subgraphs):
            return True
        if isinstance(node.attributes, Rowwise) and node.attributes.row_axes and not node.attributes.batched:
            return True
    return False


def _lowered(builder: GraphBuilder, node: Node, operands: Sequence[Value]) -> Sequence[Value]:
    attributes = node.attributes
    if node.op.name == "checkpoint":
        behind = builder.emit_all("barrier", operands) if operands else ()
        return builder.inline(lower(node.subgraphs[0]), behind)
    if not isinstance(attributes, Rowwise):
        return builder.copy(node, operands)
    if attributes.row_axes == 0 or attributes.batched:
        graphs = tuple([lower(subgraph) for subgraph in node.subgraphs])
        return builder.copy(node._replace(subgraphs=graphs), operands)
    layouts = _layouts(node)
    graphs = tuple(
        [
            lower(each if layout is None else batch(each, layout))
            for each, layout in zip(node.subgraphs, layouts, strict=True)
        ]
    )
    return builder.emit_all(node.op, operands, replace(attributes, batched=True), graphs)


def _layouts(node: Node) -> list[Layout | None]:
    """How the rows lie on the inputs and outputs of each graph of a node; None where all rows share it."""
    attributes = node.attributes
    assert isinstance(attributes, Rowwise)
    shared = attributes.shared
    found: list[Layout | None] = []
    for graph, operands in zip(node.subgraphs, _operands_of_graphs(node), strict=True):
        if operands is None:
            found.append(None)
            continue
        summed: tuple[int, ...] = ()
        if isinstance(attributes, Scan) or (isinstance(attributes, Replay) and graph is node.subgraphs[1]):
            first = len(graph.outputs) - attributes.sums
            summed = tuple(first + k for k in sorted(attributes.row_sums))
        found.append(Layout(tuple(i for i, operand in enumerate(operands) if operand in shared), summed))
    return found


def _operands_of_graphs(node: Node) -> list[list[int] | None]:
    """For each graph of a node, the operands that are its inputs; None for a graph that all rows share."""
    count = len(node.operands)
    match node.op.name:
        case "cond":
            return [[*range(1, count)]] * 2
        case "scan":
            assert isinstance(node.attributes, Scan)
            return [[*range(int(node.attributes.counted), count)]]
        case "while":
            assert isinstance(node.attributes, While)
            constants, body = node.attributes.condition_constants, node.attributes.body_constants
            carries = range(constants + body, count)
            return [[*range(constants), *carries], [*range(constants, constants + body), *carries]]
        case "replay":
            return _operands_of_replay(node)
        case _:
            return [[*range(count)]] * len(node.subgraphs)


def _operands_of_replay(node: Node) -> list[list[int] | None]:
    a, count = node.attributes, len(node.operands)
    assert isinstance(a, Replay)
    scan, places = replay.scan_attributes(a, count)
    snapshots = replay.groups(a, count)[2]
    taken = [*places[int(scan.counted) :], *(snapshots[k] for k in a.taped)]
    return [None if replay.is_shared(a, count) else replay.loop_operands(a, count), taken]
