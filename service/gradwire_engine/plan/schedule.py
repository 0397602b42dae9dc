"""In which order the nodes of a graph run, and how long their results live.

What is the same for all runs comes first and runs once. A value dies after its last use, so an executor that frees it
there keeps to the bound on bytes, which is found in this order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from gradwire_engine.graph import Graph


class Schedule(NamedTuple):
    """In which order the nodes of a graph run, and when their results are no longer needed."""

    order: tuple[int, ...]
    """Positions of nodes: first those that depend on no row, which run once, then the rest, which may run in slices."""
    by_rows: tuple[bool, ...]
    """For each value, whether it depends on the batch."""
    dying: tuple[tuple[int, ...], ...]
    """For each position, the values that nothing needs once that node has run."""


def schedule(graph: Graph, varying: Sequence[bool] | None = None) -> Schedule:
    """The order of a graph's nodes, and the lives of its values.

    Inputs and outputs belong to the caller and never die. Neither does what runs once and is read for every slice.
    `varying` marks the values that change from one run to the next, by default those that depend on the batch.
    """
    by_rows = depends_on_rows(graph) if varying is None else varying
    moving = [by_rows[first] for first in graph.first_results]
    order = tuple(sorted(range(len(graph.nodes)), key=moving.__getitem__))
    kept = set(graph.outputs) | set(range(len(graph.inputs)))
    last: dict[int, int] = {}
    for position in order:
        node, first = graph.nodes[position], graph.first_results[position]
        for number in node.operands:
            last[number] = position
            if moving[position] and not by_rows[number]:
                kept.add(number)
        for number in range(first, first + len(node.results)):
            last[number] = position
    dying: list[list[int]] = [[] for _ in graph.nodes]
    for number, position in last.items():
        if number not in kept:
            dying[position].append(number)
    return Schedule(order, tuple(by_rows), tuple([tuple(numbers) for numbers in dying]))


def depends_on_rows(graph: Graph) -> list[bool]:
    """For each value, whether it depends on the batch: it has the row axis, or is computed from what has."""
    depends = [one.type.is_batched for one in graph.inputs]
    for node in graph.nodes:
        moves = (
            any([depends[n] for n in node.operands])
            or node.attributes.mentions_rows
            or any([type.is_batched for type in node.results])
        )
        depends.extend([moves] * len(node.results))
    return depends


def depends_on_inputs(graph: Graph, first: int) -> list[bool]:
    """For each value, whether it depends on an input from `first` on."""
    depends = [number >= first for number in range(len(graph.inputs))]
    for node in graph.nodes:
        depends.extend([any([depends[n] for n in node.operands])] * len(node.results))
    return depends
