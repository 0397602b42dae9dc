"""What the plan asks about ops that refer to graphs: how often these run, and what is held meanwhile."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from gradwire_engine.attributes import Rowwise
from gradwire_engine.bounds import Bound, largest
from gradwire_engine.graph import Node
from gradwire_engine.op import op_of
from gradwire_engine.ops.control.operands import groups_of
from gradwire_engine.types import ROWS, TensorType


class GraphUse(NamedTuple):
    """How a node runs one of its graphs, again and again."""

    constants: int = 0
    """So many of the graph's first inputs are the same in all runs."""
    carries: int | None = None
    """The inputs after these are the first outputs of the run before: so many. None where a run is no step of a loop
    that is looked at for masks which have become true."""


def graph_uses(node: Node) -> tuple[GraphUse, ...]:
    """One for each graph of a node."""
    if not op_of(node).control.repeats:
        return (GraphUse(),) * len(node.subgraphs)
    groups = groups_of(node)
    return tuple(
        GraphUse(
            groups.constants_of(g), len(inputs["carries"]) if {"carries"} <= inputs.keys() & outputs.keys() else None
        )
        for g, (inputs, outputs) in enumerate(zip(groups.inputs, groups.outputs, strict=True))
    )


def structured_flops(node: Node, operands: Sequence[TensorType], bounds: Sequence[Bound]) -> Bound:
    """Of a node whose graphs have these bounds."""
    rule = op_of(node).control.flops
    assert rule is not None
    return rule(node, bounds, lambda bound: over_rows(node, operands, bound))


def structured_bytes(node: Node, operands: Sequence[TensorType], bounds: Sequence[Bound]) -> Bound:
    """What a node needs besides operands and results: one step of a loop, or the larger of the branches, and what it
    takes to know which snapshots there are. `bounds` are those of the graphs."""
    control = op_of(node).control
    # What is the same for all steps of a loop lives all the time.
    worst = sum(bounds, start=Bound()) if control.repeats else largest(bounds)
    return over_rows(node, operands, worst) + Bound(control.snapshot_bytes(node.attributes))


def overwritten(node: Node) -> list[int]:
    """The values that a node writes to, if nothing else needs them; otherwise to a copy: the snapshots of a replay."""
    return [node.operands[i] for i in groups_of(node).operands.get("snapshots", ())]


def is_open_ended(node: Node) -> bool:
    """Whether only the run knows how many steps a node takes."""
    return op_of(node).control.open_ended


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
