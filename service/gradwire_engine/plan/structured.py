"""What the plan asks about ops that refer to graphs: how often these run, and what is held meanwhile."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from gradwire_engine.attributes import Replay, Rowwise, Scan, While
from gradwire_engine.bounds import Bound
from gradwire_engine.graph import Node
from gradwire_engine.plan.checkpointing import least_steps
from gradwire_engine.types import ROWS, TensorType

_PLACED_BYTES = 176
"""For each snapshot of a loop whose end nobody knows: which step it is of, in Python objects."""

_HELD_BYTES = 48
"""For each snapshot of a loop that is run again: where it stands, in Python objects."""


class GraphUse(NamedTuple):
    """How a node runs one of its graphs, again and again."""

    constants: int = 0
    """So many of the graph's first inputs are the same in all runs."""
    carries: int | None = None
    """The inputs after these are the first outputs of the run before: so many. None where a run is no step of a loop
    that is looked at for masks which have become true."""


def graph_uses(node: Node) -> tuple[GraphUse, ...]:
    """One for each graph of a node."""
    match node.attributes:
        case Scan() as a:
            return (GraphUse(a.constants, a.carries),)
        case While() as a:
            carries = len(node.subgraphs[1].outputs)
            return GraphUse(a.condition_constants), GraphUse(a.body_constants, carries)
        case Replay() as a:
            return GraphUse(a.forward_constants), GraphUse(a.constants, a.carries)
        case _:
            return (GraphUse(),) * len(node.subgraphs)


def structured_flops(node: Node, operands: Sequence[TensorType], bounds: Sequence[Bound]) -> Bound:
    """Of all steps of a loop that runs to its bound; of the more expensive branch. `bounds` are those of the graphs."""
    match node.attributes:
        case Replay():
            return _replay_flops(node, operands, bounds)
        case Scan(length=steps):
            steps = max(steps, 1)
        case While(max_steps=steps):
            bounds = [bounds[0] + bounds[1]]
        case _:
            steps = 1
    each = over_rows(node, operands, largest(bounds))
    size = sum(graph.size for graph in node.subgraphs) + 1  # a step costs something even where it computes nothing
    return Bound((each.constant + size) * steps, each.per_row * steps)


def _replay_flops(node: Node, operands: Sequence[TensorType], bounds: Sequence[Bound]) -> Bound:
    """Of the scan, and of the loop as often as its steps are run again; a loop that all rows share runs once."""
    a = node.attributes
    assert isinstance(a, Replay)
    again = max(least_steps(a.length, a.snapshots), 1)
    steps = max(a.length, 1)
    loop, scan = bounds[0], over_rows(node, operands, bounds[1])
    if int(a.counted) not in a.shared:
        loop = over_rows(node, operands, loop)
        return Bound(scan.constant * steps + loop.constant * again, scan.per_row * steps + loop.per_row * again)
    return Bound(scan.constant * steps + loop.constant * again, scan.per_row * steps)


def structured_bytes(node: Node, operands: Sequence[TensorType], bounds: Sequence[Bound]) -> Bound:
    """What a node needs besides operands and results: one step of a loop, or the larger of the branches, and what it
    takes to know which snapshots there are. `bounds` are those of the graphs."""
    together = isinstance(node.attributes, While | Replay)  # what is the same for all steps lives all the time
    worst = sum(bounds, start=Bound()) if together else largest(bounds)
    return over_rows(node, operands, worst) + Bound(_bookkeeping_bytes(node))


def _bookkeeping_bytes(node: Node) -> int:
    match node.attributes:
        case While(snapshots=count):
            return _PLACED_BYTES * count
        case Replay(snapshots=count):
            return _HELD_BYTES * count
        case _:
            return 0


def overwritten(node: Node) -> tuple[int, ...]:
    """The values that a node writes to, if nothing else needs them; otherwise to a copy: the snapshots of a replay."""
    a = node.attributes
    if not isinstance(a, Replay):
        return ()
    first = int(a.counted) + 1
    return node.operands[first : first + a.forward_carries]


def is_open_ended(node: Node) -> bool:
    """Whether a node runs as many steps as it likes."""
    return isinstance(node.attributes, While)


def largest(bounds: Sequence[Bound]) -> Bound:
    """What suffices for each of them."""
    return Bound(max(bound.constant for bound in bounds), max(bound.per_row for bound in bounds))


def over_rows(node: Node, operands: Sequence[TensorType], bound: Bound) -> Bound:
    """The bound of a graph that a node applies to its rows, as constant and per row of the batch."""
    attributes = node.attributes
    if not isinstance(attributes, Rowwise) or attributes.row_axes == 0:
        return bound
    lead = next(type for i, type in enumerate(operands) if i not in attributes.shared)
    rows = lead.shape[: attributes.row_axes]
    count = math.prod([length for length in rows if length != ROWS])
    constant, per_row = (bound.constant, bound.per_row) if attributes.batched else (0, bound.constant)
    if lead.is_batched:
        return Bound(constant, per_row * count)
    return Bound(constant + per_row * count)
