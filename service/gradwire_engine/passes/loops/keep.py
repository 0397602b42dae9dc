"""Under a budget of bytes, loops keep snapshots of their carries instead of those of every step.

Reverse mode stacks the carries with which each step of a loop begins (its tape), for a scan in the opposite direction.
Where all tapes together take more than the budget, the largest are given up: the loop keeps as many snapshots as its
share of the budget holds, and the scan becomes a `replay`. A scan in the same direction runs the loop along instead.

Runs after differentiation and before the request's batch: the budget is that of one example.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from gradwire_engine.attributes import Replay, Scan, While
from gradwire_engine.builder import GraphBuilder
from gradwire_engine.graph import Graph, Node
from gradwire_engine.ops.control.bodies import needed_inputs, operand_groups, rearranged
from gradwire_engine.ops.table import OPS
from gradwire_engine.types import TensorType
from gradwire_engine.value import Value
from gradwire_engine.vocabulary import broadcast_to

_MOST_SNAPSHOTS: Final = 4096
"""More are never used: with so many, no step of eight million is run more than three times."""


def keep_snapshots(graph: Graph, budget: int) -> Graph:
    """`graph` with at most about `budget` bytes of tapes, those in nested loops included."""
    tapes = _tapes(graph)
    if sum(tape.bytes for tape in tapes) <= budget:
        return graph
    limit = _largest_kept(sorted(tape.bytes for tape in tapes), budget)
    return _rewritten(graph, limit)


def _largest_kept(sizes: Sequence[int], budget: int) -> int:
    """What each tape may take, so that the small ones are kept whole and the others share what is left."""
    left = budget
    for position, size in enumerate(sizes):
        share = left // (len(sizes) - position)
        if size > share:
            return share
        left -= size
    return sizes[-1]


@dataclass(frozen=True)
class _Tape:
    """The stacked carries of one loop, and the scans that read them."""

    position: int
    """The loop."""
    results: dict[int, int]
    """Value number -> carry."""
    readers: tuple[int, ...]
    """Positions of the scans."""
    bytes: int
    state_bytes: int
    """What a snapshot takes: all carries that are needed to run on from it."""
    carries: tuple[int, ...]
    """These carries."""


def _tapes(graph: Graph) -> list[_Tape]:
    """All tapes of a graph and of the graphs inside it."""
    found = list(_own_tapes(graph))
    for node in graph.nodes:
        for subgraph in node.subgraphs:
            found.extend(_tapes(subgraph))
    return found


def _own_tapes(graph: Graph) -> list[_Tape]:
    uses: dict[int, list[int]] = {}
    for position, node in enumerate(graph.nodes):
        for n in set(node.operands):
            uses.setdefault(n, []).append(position)
    found = []
    taken: set[int] = set()  # scans that read a tape already: one loop each
    for position, (first, node) in enumerate(graph.numbered()):
        results = {
            n: k
            for n, k in _stacked_carries(node, first).items()
            if n not in graph.outputs and all(_reads(graph, node, first, n, reader) for reader in uses.get(n, ()))
        }
        readers = sorted({reader for n in results for reader in uses.get(n, ())})
        if not results or not readers or taken & set(readers):
            continue
        if isinstance(node.attributes, While) and len(results) < len(node.attributes.recorded):
            continue  # a while records every step of all its recorded carries, or of none
        taken.update(readers)
        carries = _closure(node, set(results.values()))
        start = _first_carry(node)
        state = sum(_size(graph.types[node.operands[start + k]]) for k in carries)
        total = sum(_size(graph.types[n]) for n in results)
        found.append(_Tape(position, results, tuple(readers), total, max(state, 1), carries))
    return found


def _size(type: TensorType) -> int:
    return type.elements * type.dtype.itemsize


def _stacked_carries(node: Node, first: int) -> dict[int, int]:
    """Results of a loop that are its carries as each step begins, and which carries."""
    a = node.attributes
    if isinstance(a, While) and a.counted and not a.snapshots:
        start = first + len(node.subgraphs[1].outputs) + 1
        return {start + i: k for i, k in enumerate(a.recorded)}
    if isinstance(a, Scan) and not a.snapshots:
        body = node.subgraphs[0]
        inputs = range(a.constants, a.constants + a.carries)
        stacked = range(a.carries, len(body.outputs) - a.sums)
        return {first + j: body.outputs[j] - a.constants for j in stacked if body.outputs[j] in inputs}
    return {}


def _first_carry(node: Node) -> int:
    a = node.attributes
    if isinstance(a, While):
        return a.condition_constants + a.body_constants
    assert isinstance(a, Scan)
    return int(a.counted) + a.constants


def _reads(graph: Graph, loop: Node, first: int, number: int, reader: int) -> bool:
    """Whether a node is a scan that reads a tape as a stacked input, step for step."""
    node = graph.nodes[reader]
    a, b = loop.attributes, node.attributes
    if not isinstance(b, Scan) or b.snapshots:
        return False
    assert isinstance(a, Scan | While)
    start = int(b.counted) + b.constants + b.carries
    if number in node.operands[:start]:
        return False
    if b.row_axes != a.row_axes and (a.row_axes or not b.carries):
        return False
    if any(n == number and (i in b.shared) != (b.row_axes != a.row_axes) for i, n in enumerate(node.operands)):
        return False
    if isinstance(a, While):
        return b.counted and node.operands[0] == first + len(loop.subgraphs[1].outputs)
    if a.counted != b.counted or (a.counted and (a.reverse or node.operands[0] != loop.operands[0])):
        return False
    return a.length == b.length


def _closure(node: Node, carries: set[int]) -> tuple[int, ...]:
    """The carries without which the given ones cannot be computed."""
    body = node.subgraphs[-1]
    start = _body_constants(node)
    while True:
        needed = needed_inputs(body, sorted(carries))
        wider = carries | {i - start for i in needed if start <= i < start + _carry_count(node)}
        if wider == carries:
            return tuple(sorted(carries))
        carries = wider


def _body_constants(node: Node) -> int:
    a = node.attributes
    if isinstance(a, While):
        return a.body_constants
    assert isinstance(a, Scan)
    return a.constants


def _carry_count(node: Node) -> int:
    a = node.attributes
    if isinstance(a, While):
        return len(node.subgraphs[1].outputs)
    assert isinstance(a, Scan)
    return a.carries


def _runs_backwards(node: Node) -> bool:
    return isinstance(node.attributes, Scan) and node.attributes.reverse


@dataclass(frozen=True)
class _Loop:
    """A loop that has been rewritten, as the scans that read its tape need it."""

    node: Node
    tape: _Tape
    operands: tuple[Value, ...]
    snapshots: int
    positions: Value
    states: tuple[Value, ...]


def _rewritten(graph: Graph, limit: int) -> Graph:
    """`graph` without tapes of more than `limit` bytes."""
    tapes = {tape.position: tape for tape in _own_tapes(graph) if tape.bytes > limit}
    loops: dict[int, _Loop] = {}
    readers = {reader: tape for tape in tapes.values() for reader in tape.readers}
    builder = GraphBuilder()
    values: list[Value | None] = [builder.input(one.name, one.type) for one in graph.inputs]
    for position, (first, node) in enumerate(graph.numbered()):
        node = node._replace(subgraphs=tuple([_rewritten(subgraph, limit) for subgraph in node.subgraphs]))
        tape = readers.get(position)
        if tape is not None:
            loop = loops[tape.position]
            taken = {i: tape.results[n] for i, n in enumerate(graph.nodes[position].operands) if n in tape.results}
            values.extend(_read_again(builder, node, [values[n] for n in node.operands], taken, loop))
            continue
        given = [_there(values[n]) for n in node.operands]
        if position in tapes:
            loops[position], results = _with_snapshots(builder, node, given, tapes[position], limit, first)
            values.extend(results)
        else:
            values.extend(builder.copy(node, given))
    return builder.finish([_there(values[n]) for n in graph.outputs], graph.output_names)


def _there(value: Value | None) -> Value:
    assert value is not None
    return value


def _with_snapshots(
    builder: GraphBuilder, node: Node, operands: Sequence[Value], tape: _Tape, limit: int, first: int
) -> tuple[_Loop, list[Value | None]]:
    """The loop with snapshots in place of its tape, and its former results, without the tape."""
    a = node.attributes
    assert isinstance(a, Scan | While)
    length = a.max_steps if isinstance(a, While) else a.length
    count = max(1, min(limit // tape.state_bytes, _MOST_SNAPSHOTS, length))
    if isinstance(a, While):
        new = node._replace(attributes=replace(a, snapshots=count, recorded=tape.carries))
    else:
        body = node.subgraphs[0]
        kept = [j for j in range(len(body.outputs)) if first + j not in tape.results]
        graph = rearranged(builder, body, range(len(body.inputs)), kept)
        new = node._replace(attributes=replace(a, snapshots=count, recorded=tape.carries), subgraphs=(graph,))
    made = builder.emit_all(new.op, operands, new.attributes, new.subgraphs)
    results: list[Value | None] = [None] * len(node.results)
    for i, value in zip([i for i in range(len(results)) if first + i not in tape.results], made, strict=False):
        results[i] = value
    at = len(made) - len(tape.carries) - 1
    return _Loop(new, tape, tuple(operands), count, made[at], made[at + 1 :]), results


def _read_again(
    builder: GraphBuilder, node: Node, operands: Sequence[Value | None], taken: dict[int, int], loop: _Loop
) -> Sequence[Value]:
    """A scan that read a tape: as a replay, or with the loop beside it where both go the same way."""
    assert isinstance(node.attributes, Scan)
    same_way = node.attributes.reverse == _runs_backwards(loop.node)
    return (_alongside if same_way else _replayed)(builder, node, operands, taken, loop)


@dataclass(frozen=True)
class _Parts:
    """What both ways need: the operands and inputs of either body."""

    rest: list[int]
    """Operands of the scan that are not read from the tape, the count left out."""
    taken: list[int]
    """Those that are, as operands."""
    advance: Graph
    """The loop's body for the carries of a snapshot: (constants, carries, slices) -> carries."""
    constants: list[int]
    """Operands of the loop that are constants of that."""
    stacked: list[int]
    """And those that are stacked."""


def _parts(builder: GraphBuilder, node: Node, taken: dict[int, int], loop: _Loop) -> _Parts:
    a = node.attributes
    assert isinstance(a, Scan)
    body = loop.node.subgraphs[-1]
    first = _first_carry(loop.node)
    constants, carries = _body_constants(loop.node), _carry_count(loop.node)
    outputs = list(loop.tape.carries)
    needed = needed_inputs(body, outputs)
    own = [i for i in range(constants) if i in needed]
    slices = [i for i in range(constants + carries, len(body.inputs)) if i in needed]
    inputs = [*own, *(constants + k for k in outputs), *slices]
    return _Parts(
        rest=[i for i in range(int(a.counted), len(node.operands)) if i not in taken],
        taken=sorted(taken),
        advance=rearranged(builder, body, inputs, outputs),
        constants=[first - constants + i for i in own],
        stacked=[first - constants + i for i in slices],
    )


def _replayed(
    builder: GraphBuilder, node: Node, operands: Sequence[Value | None], taken: dict[int, int], loop: _Loop
) -> Sequence[Value]:
    a, b = node.attributes, loop.node.attributes
    assert isinstance(a, Scan)
    assert isinstance(b, Scan | While)
    parts = _parts(builder, node, taken, loop)
    first = int(a.counted)
    body = rearranged(
        builder,
        node.subgraphs[0],
        [i - first for i in (*parts.rest, *parts.taken)],
        range(len(node.subgraphs[0].outputs)),
    )
    all_shared = a.row_axes != b.row_axes
    given: list[tuple[Value, bool]] = [(_there(operands[0]), 0 in a.shared)] if a.counted else []
    given += [(loop.positions, all_shared), *((state, all_shared) for state in loop.states)]
    given += [(loop.operands[i], all_shared or i in b.shared) for i in (*parts.constants, *parts.stacked)]
    given += [(_there(operands[i]), i in a.shared) for i in parts.rest]
    attributes = Replay(
        length=a.length,
        snapshots=loop.snapshots,
        forward_constants=len(parts.constants),
        forward_carries=len(loop.tape.carries),
        forward_stacked=len(parts.stacked),
        taped=tuple(loop.tape.carries.index(taken[i]) for i in parts.taken),
        constants=a.constants,
        carries=a.carries,
        reverse=not a.reverse,
        counted=a.counted,
        sums=a.sums,
        row_sums=a.row_sums,
        row_axes=a.row_axes,
        shared=tuple(i for i, (_, shared) in enumerate(given) if shared and a.row_axes),
    )
    return builder.emit_all(OPS["replay"], [value for value, _ in given], attributes, [parts.advance, body])


def _alongside(
    builder: GraphBuilder, node: Node, operands: Sequence[Value | None], taken: dict[int, int], loop: _Loop
) -> Sequence[Value]:
    """One scan for both: what it read from the tape are carries of its own, which begin as the loop's did."""
    a, b = node.attributes, loop.node.attributes
    assert isinstance(a, Scan)
    assert isinstance(b, Scan | While)
    parts = _parts(builder, node, taken, loop)
    old, first = node.subgraphs[0], int(a.counted)
    constants, carries, _ = operand_groups(a.constants, a.carries, len(old.inputs) - a.constants - a.carries)
    stacked = [i - first for i in parts.rest if i - first >= carries.stop]
    states = loop.tape.carries
    inner = builder.fresh()
    advance = parts.advance
    own_constants, own_slices = len(parts.constants), len(parts.stacked)
    by_input: dict[int, Value] = {i: inner.input("", old.inputs[i].type) for i in constants}
    moving = [inner.input("", one.type) for one in advance.inputs[:own_constants]]
    by_input |= {i: inner.input("", old.inputs[i].type) for i in carries}
    state = [inner.input("", one.type) for one in advance.inputs[own_constants : own_constants + len(states)]]
    by_input |= {i: inner.input("", old.inputs[i].type) for i in stacked}
    slices = [inner.input("", one.type) for one in advance.inputs[own_constants + len(states) :]]
    by_input |= {i - first: state[states.index(k)] for i, k in taken.items()}
    outputs = inner.inline(old, [by_input[i] for i in range(len(old.inputs))])
    advanced = inner.inline(advance, [*moving, *state, *slices])
    body = inner.finish([*outputs[: a.carries], *advanced, *outputs[a.carries :]])
    start = _first_carry(loop.node)
    whole = a.row_axes != b.row_axes
    rows = _there(operands[first + carries.start]).shape[: a.row_axes] if whole else ()
    given: list[tuple[Value, bool]] = [(_there(operands[0]), 0 in a.shared)] if a.counted else []
    given += [(_there(operands[first + i]), first + i in a.shared) for i in constants]
    given += [(loop.operands[i], whole or i in b.shared) for i in parts.constants]
    given += [(_there(operands[first + i]), False) for i in carries]
    given += [(_for_rows(loop.operands[start + k], rows), False) for k in states]
    given += [(_there(operands[first + i]), first + i in a.shared) for i in stacked]
    given += [(loop.operands[i], whole or i in b.shared) for i in parts.stacked]
    assert own_slices == len(slices)
    attributes = replace(
        a,
        constants=a.constants + own_constants,
        carries=a.carries + len(states),
        shared=tuple(i for i, (_, shared) in enumerate(given) if shared and a.row_axes),
    )
    made = builder.emit_all(OPS["scan"], [value for value, _ in given], attributes, [body])
    return [*made[: a.carries], *made[a.carries + len(states) :]]


def _for_rows(x: Value, rows: tuple[int, ...]) -> Value:
    """A carry of a loop that all rows shared, for each of them."""
    return broadcast_to(x, (*rows, *x.shape)) if rows else x
