"""A plan: all that an executor needs to run a graph, as immutable plain data.

`plan_of` makes it, for every executor the same. What can be decided before a run is decided here: the graph is lowered
where that has not been done, the order and the lives of values are fixed, what runs once is told from what runs for
every slice of rows or every step of a loop, and so on inside of every branch and loop. Executors optimise nothing: they
run the nodes of a plan in its order and free values where it says so, and so keep to the bound on bytes.

A plan knows graphs and numbers, no arrays and no executor, and may be shared between threads. Making one takes time
linear in the graph, but for bodies of loops that carry masks: these are simplified once more.
"""

from __future__ import annotations

from dataclasses import dataclass

from gradwire_engine.graph import Graph, Node
from gradwire_engine.passes.loops.lower import lower
from gradwire_engine.passes.loops.steady import steady_body
from gradwire_engine.passes.pipeline import simplified
from gradwire_engine.plan.memory import bytes_bound
from gradwire_engine.plan.schedule import Schedule, depends_on_inputs, depends_on_rows, schedule_of
from gradwire_engine.plan.slices import Slices, slices_of
from gradwire_engine.plan.structured import GraphUse, graph_uses


@dataclass(frozen=True, slots=True, eq=False)
class GraphPlan:
    """A graph, and how it runs."""

    graph: Graph
    schedule: Schedule
    bodies: tuple[tuple[BodyPlan, ...], ...]
    """For each node, by position, the graphs that it refers to."""


@dataclass(frozen=True, slots=True, eq=False)
class BodyPlan:
    """A graph that a branch or loop runs, as often as it likes, with its first inputs the same in all runs."""

    graph: GraphPlan
    constants: int
    """How many inputs are the same in all runs; what depends on these alone is computed once."""
    steady: Steady | None = None
    """What may run in its place from some step on."""


@dataclass(frozen=True, slots=True, eq=False)
class Steady:
    """The same body for when nothing is known to be zero any more: without masks, and with the same bits.

    It may run as soon as the inputs listed here are true everywhere, and from then on: they stay true.
    """

    graph: GraphPlan
    constants: tuple[int, ...]
    """Inputs that are the same in all runs."""
    carries: tuple[int, ...]
    """Carries, counted from the first."""


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """A graph that runs for batches of any number of rows."""

    graph: GraphPlan
    slices: Slices


def plan_of(graph: Graph) -> Plan:
    """The plan of a graph that has been prepared, or of any other without calls: it is lowered first."""
    graph = lower(graph)
    schedule = schedule_of(graph, depends_on_rows(graph))
    slices = slices_of(graph, schedule, bytes_bound(graph, schedule))
    return Plan(GraphPlan(graph, schedule, _bodies(graph)), slices)


def _bodies(graph: Graph) -> tuple[tuple[BodyPlan, ...], ...]:
    return tuple([_bodies_of(node) if node.subgraphs else () for node in graph.nodes])


def _bodies_of(node: Node) -> tuple[BodyPlan, ...]:
    return tuple([_body(graph, use) for graph, use in zip(node.subgraphs, graph_uses(node), strict=True)])


def _body(graph: Graph, use: GraphUse) -> BodyPlan:
    return BodyPlan(_in_runs(graph, use.constants), use.constants, _steady(graph, use))


def _in_runs(graph: Graph, constants: int) -> GraphPlan:
    """A graph that runs with its first inputs the same."""
    return GraphPlan(graph, schedule_of(graph, depends_on_inputs(graph, constants)), _bodies(graph))


def _steady(graph: Graph, use: GraphUse) -> Steady | None:
    if use.carries is None:
        return None
    constants = use.constants
    body = steady_body(graph, constants, {constants + k: k for k in range(use.carries)}, simplified)
    if body is None:
        return None
    return Steady(
        _in_runs(body.graph, constants),
        tuple([i for i in sorted(body.masks) if i < constants]),
        tuple([i - constants for i in sorted(body.masks) if i >= constants]),
    )
