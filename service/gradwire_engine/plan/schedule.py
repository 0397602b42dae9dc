"""In which order the nodes of a graph run, and how long their results live.

What is the same for all runs comes first and runs once. A value dies after its last use, so an executor that frees it
there keeps to the bound on bytes, which is found in this order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from gradwire_engine.graph import Graph


class Schedule(NamedTuple):
    """In which order the nodes of a graph run, and when their results are no longer needed. Nodes are positions."""

    once: tuple[int, ...]
    """First, the nodes whose results are the same for all runs."""
    each: tuple[int, ...]
    """Then the others, in every run: for every slice of rows, or every step of a loop."""
    varies: tuple[bool, ...]
    """For each value, whether it changes from one run to the next."""
    dying: tuple[tuple[int, ...], ...]
    """For each node, the values that nothing needs once it has run."""

    @property
    def order(self) -> tuple[int, ...]:
        """All nodes."""
        return self.once + self.each


def schedule_of(graph: Graph, varies: Sequence[bool]) -> Schedule:
    """The order of a graph's nodes, and the lives of its values. `varies` marks those that change between runs.

    Inputs and outputs belong to the caller and never die. Neither does what runs once and is read in every run.
    """
    moving = [varies[first] for first in graph.first_results]
    once = tuple([position for position, moves in enumerate(moving) if not moves])
    each = tuple([position for position, moves in enumerate(moving) if moves])
    kept = set(graph.outputs) | set(range(len(graph.inputs)))
    last: dict[int, int] = {}
    for position in once + each:
        node, first = graph.nodes[position], graph.first_results[position]
        for number in node.operands:
            last[number] = position
            if moving[position] and not varies[number]:
                kept.add(number)
        for number in range(first, first + len(node.results)):
            last[number] = position
    dying: list[list[int]] = [[] for _ in graph.nodes]
    for number, position in last.items():
        if number not in kept:
            dying[position].append(number)
    return Schedule(once, each, tuple(varies), tuple([tuple(numbers) for numbers in dying]))


def depends_on_rows(graph: Graph) -> list[bool]:
    """For each value, whether it depends on the batch: it has the row axis, or is computed from what has."""
    depends = [type.is_batched for type in graph.input_types]
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
