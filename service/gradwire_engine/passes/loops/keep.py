"""Under a budget of bytes, loops keep snapshots of their carries instead of those of every step.

Reverse mode stacks the carries with which each step of a loop begins (its tape), for a scan in the opposite direction.
Where all tapes together take more than the budget, the largest are given up: the loop keeps as many snapshots as its
share of the budget holds, and the scan becomes a `replay`. A scan in the same direction runs the loop along instead.

Runs after differentiation and before the request's batch: the budget is that of one example.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from gradwire_engine.builder import GraphBuilder
from gradwire_engine.graph import Graph, Node
from gradwire_engine.op import KeptLoop, Steps, Tape, op_of
from gradwire_engine.ops.control.bodies import needed_inputs, rearranged
from gradwire_engine.ops.control.operands import Groups, emit, groups_of, with_snapshots
from gradwire_engine.passes.rewrite import absent, rewrite
from gradwire_engine.types import TensorType
from gradwire_engine.value import Value

_MOST_SNAPSHOTS: Final = 4096
"""More are never used: with so many, no step of eight million is run more than three times."""


def keep_snapshots(graph: Graph, budget: int) -> Graph:
    """`graph` with at most about `budget` bytes of tapes, those in nested loops included."""
    sizes = _tape_bytes(graph)
    if sum(sizes) <= budget:
        return graph
    return _without_tapes(graph, _largest_kept(sorted(sizes), budget))


def _largest_kept(sizes: Sequence[int], budget: int) -> int:
    """What each tape may take, so that the small ones are kept whole and the others share what is left."""
    left = budget
    for position, size in enumerate(sizes):
        share = left // (len(sizes) - position)
        if size > share:
            return share
        left -= size
    return sizes[-1]


def _tape_bytes(graph: Graph) -> list[int]:
    """Of all tapes of a graph and of the graphs inside it."""
    sizes = [used.bytes for used in _used_tapes(graph)]
    for node in graph.nodes:
        for subgraph in node.subgraphs:
            sizes += _tape_bytes(subgraph)
    return sizes


@dataclass(frozen=True)
class _UsedTape:
    """The tape of one loop, and the scans that read it."""

    loop: int
    """The number of the loop's first result."""
    tape: Tape
    carries: Mapping[int, int]
    """Value number -> carry."""
    readers: frozenset[int]
    """For each scan, the number of its first result."""
    bytes: int
    state: tuple[int, ...]
    """The carries that are needed to run on from a snapshot."""
    state_bytes: int


def _used_tapes(graph: Graph) -> list[_UsedTape]:
    """The tapes that may be given up: whose carries only scans read, step for step; each scan those of one loop."""
    if not any([node.subgraphs for node in graph.nodes]):
        return []
    nodes = {first: node for first, node in graph.numbered() if node.results}
    uses: dict[int, list[int]] = {}
    for first, node in nodes.items():
        for n in set(node.operands):
            uses.setdefault(n, []).append(first)
    tapes: list[_UsedTape] = []
    taken: set[int] = set()
    for first, node in nodes.items():
        tape = op_of(node).control.tape if node.subgraphs else None
        if tape is None:
            continue
        kept = {first + j: k for j, k in tape.carries(node).items()}
        if not kept:
            continue
        groups, steps = groups_of(node), tape.steps(first, node)
        carries = {
            n: k
            for n, k in kept.items()
            if n not in graph.outputs
            and all(_reads(groups, steps, n, reader, nodes[reader]) for reader in uses.get(n, ()))
        }
        readers = frozenset(reader for n in carries for reader in uses.get(n, ()))
        if not readers or taken & readers or (tape.whole and len(carries) < len(kept)):
            continue
        taken |= readers
        state = _closure(node, set(carries.values()))
        starts = groups.operands["carries"]
        state_bytes = sum(_size(graph.types[node.operands[starts[k]]]) for k in state)
        size = sum(_size(graph.types[n]) for n in carries)
        tapes.append(_UsedTape(first, tape, carries, readers, size, state, max(state_bytes, 1)))
    return tapes


def _size(type: TensorType) -> int:
    return type.elements * type.dtype.itemsize


def _reads(loop: Groups, made: Steps, number: int, first: int, node: Node) -> bool:
    """Whether a node takes a value of the tape as a stacked operand, at the steps at which the loop made it."""
    control = op_of(node).control
    if control.reread is None or control.tape is None:
        return False
    groups = groups_of(node)
    taken = [i for i, n in enumerate(node.operands) if n == number]
    if groups.results["positions"] or any(i not in groups.operands["stacked"] for i in taken):
        return False
    once = groups.row_axes != loop.row_axes  # for all rows of the reader
    if once and (loop.row_axes or not groups.operands["carries"]):
        return False
    if any((i in groups.shared) != once for i in taken):
        return False
    read = control.tape.steps(first, node)
    if made.count is not None and made.reverse:
        return False
    return (made.length, made.count) == (read.length, read.count)


def _closure(node: Node, carries: set[int]) -> tuple[int, ...]:
    """The carries without which the given ones cannot be computed."""
    groups, body = groups_of(node), node.subgraphs[-1]
    inputs, outputs = groups.inputs[-1]["carries"], groups.outputs[-1]["carries"]
    while True:
        needed = needed_inputs(body, [outputs[k] for k in sorted(carries)])
        wider = carries | {k for k, i in enumerate(inputs) if i in needed}
        if wider == carries:
            return tuple(sorted(carries))
        carries = wider


def _without_tapes(graph: Graph, limit: int) -> Graph:
    """`graph` without tapes of more than `limit` bytes."""
    tapes = {used.loop: used for used in _used_tapes(graph) if used.bytes > limit}
    readers = {reader: used for used in tapes.values() for reader in used.readers}
    loops: dict[int, KeptLoop] = {}

    def rule(builder: GraphBuilder, first: int, node: Node, operands: list[Value]) -> Sequence[Value] | None:
        if not node.subgraphs:
            return None
        node = node._replace(subgraphs=tuple([_without_tapes(subgraph, limit) for subgraph in node.subgraphs]))
        if first in tapes:
            loops[first], results = _with_snapshots(builder, node, operands, tapes[first], limit)
            return results
        if first not in readers:
            return builder.copy(node, operands)
        used, reread = readers[first], op_of(node).control.reread
        assert reread is not None
        taped = {i: used.carries[n] for i, n in enumerate(node.operands) if n in used.carries}
        return reread(builder, node, operands, taped, loops[used.loop])

    return rewrite(graph, rule)


def _with_snapshots(
    builder: GraphBuilder, node: Node, operands: Sequence[Value], used: _UsedTape, limit: int
) -> tuple[KeptLoop, list[Value]]:
    """The loop with snapshots in place of its tape, and its former results, without the tape."""
    groups = groups_of(node)
    tape = {n - used.loop for n in used.carries}
    steps = used.tape.steps(used.loop, node)
    count = max(1, min(limit // used.state_bytes, _MOST_SNAPSHOTS, steps.length))
    *conditions, body = node.subgraphs
    outputs = [j for j in range(len(body.outputs)) if j not in tape]  # they are the first results
    if len(outputs) < len(body.outputs):
        body = rearranged(builder, body, range(len(body.inputs)), outputs)
    kept = node._replace(attributes=with_snapshots(node.attributes, used.state, count), subgraphs=(*conditions, body))
    by_name = emit(builder, kept.op, kept.attributes, groups.all(operands), kept.subgraphs, groups.over_rows)
    (positions,), states = by_name.pop("positions"), by_name.pop("recorded")
    results = [absent(builder, type) for type in node.results]
    for name, values in by_name.items():
        for j, value in zip([j for j in groups.results[name] if j not in tape], values, strict=True):
            results[j] = value
    return KeptLoop(kept, operands, steps.reverse, used.state, count, positions, states), results
