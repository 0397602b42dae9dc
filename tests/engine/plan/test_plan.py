"""Plans: immutable data that says all an executor needs, for graphs and for the graphs inside of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import FrozenInstanceError, fields, is_dataclass
from typing import Any

import pytest
from tests.kit.engine.building import F64, f64, graph_of
from tests.kit.engine.loops import EXAMPLES, Example, checkpoint, cond, scan, while_loop
from tests.kit.engine.network import NETWORK, small_network

from gradwire_engine.attributes import Attributes
from gradwire_engine.graph import Graph
from gradwire_engine.passes.loops.lower import lower
from gradwire_engine.plan.memory import bytes_bound
from gradwire_engine.plan.plan import BodyPlan, GraphPlan, Plan, plan_of
from gradwire_engine.prepare import prepare
from gradwire_engine.program import Grad, Jvp, Layout, Program
from gradwire_engine.value import Value
from gradwire_engine.vocabulary import exp, sin, sum_over


def every_plan(plan: GraphPlan) -> Iterator[tuple[GraphPlan, BodyPlan | None]]:
    """The plan of a graph and of all graphs inside of it, steady ones included, with the bodies that they belong to."""
    todo: list[tuple[GraphPlan, BodyPlan | None]] = [(plan, None)]
    while todo:
        graph, body = todo.pop()
        yield graph, body
        for inner in (body for bodies in graph.bodies for body in bodies):
            todo.append((inner.graph, inner))
            if inner.steady is not None:
                todo.append((inner.steady.graph, inner))


def prepared(example: Example) -> Graph:
    """A gradient's forward-mode derivative, with snapshots."""
    operands = tuple(range(len(example.types)))
    program = Program(example.graph, (Grad(operands), Jvp(operands)), snapshot_bytes=24)
    return prepare(program, Layout()).graph


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_every_node_runs_once_or_each_time_after_what_it_needs(example: Example) -> None:
    for plan, body in every_plan(plan_of(prepared(example)).graph):
        once, each, varies, _ = plan.schedule
        assert sorted(once + each) == list(range(len(plan.graph.nodes)))
        known = set(range(len(plan.graph.inputs)))
        for position in plan.schedule.order:
            node, first = plan.graph.nodes[position], plan.graph.first_results[position]
            assert known.issuperset(node.operands)
            known.update(range(first, first + len(node.results)))
            assert varies[first] == (position in each)
        if body is not None:
            assert not any(varies[: body.constants])
            assert all(varies[body.constants : len(plan.graph.inputs)])


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_nothing_is_read_after_it_has_died(example: Example) -> None:
    for plan, _ in every_plan(plan_of(prepared(example)).graph):
        dead: set[int] = set()
        for position in plan.schedule.order:
            assert dead.isdisjoint(plan.graph.nodes[position].operands)
            assert dead.isdisjoint(plan.schedule.dying[position])
            dead.update(plan.schedule.dying[position])
        assert dead.isdisjoint(plan.graph.outputs)
        assert dead.isdisjoint(range(len(plan.graph.inputs)))
        # Nor does a run take away what the next one reads.
        gone = [n for position in plan.schedule.each for n in plan.schedule.dying[position]]
        assert all(plan.schedule.varies[n] for n in gone)


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_each_graph_of_a_node_has_a_plan(example: Example) -> None:
    for plan, _ in every_plan(plan_of(prepared(example)).graph):
        for node, bodies in zip(plan.graph.nodes, plan.bodies, strict=True):
            assert [body.graph.graph for body in bodies] == list(node.subgraphs)


def test_what_is_prepared_is_planned_as_it_stands_and_what_is_not_is_lowered_first() -> None:
    graph = prepared(EXAMPLES[0])
    assert plan_of(graph).graph.graph is graph
    raw = graph_of(lambda x: checkpoint(lambda x: sin(x) * exp(x), x)[0], F64)
    plan = plan_of(raw)
    assert plan.graph.graph.hash == lower(raw).hash
    assert [node.op.name for node in plan.graph.graph.nodes if node.op.name == "checkpoint"] == []


def test_only_steps_that_depend_on_what_changes_run_each_time() -> None:
    """The exponential of a constant, of a carry, and of a value that all branches share."""

    def function(w: Value, x: Value) -> Value:
        (last,) = scan(lambda w, c: sin(c) * exp(w), [w], [x], [], 3)
        (end,) = while_loop(lambda w, c: c < exp(w), lambda w, c: c + exp(w), [w], [last], 9)
        return cond(end > 0.0, lambda a: sin(a), lambda a: exp(a), end)[0]

    plan = plan_of(graph_of(function, F64, F64)).graph
    names = {
        node.op.name: [[body.graph.graph.nodes[n].op.name for n in body.graph.schedule.once] for body in bodies]
        for node, bodies in zip(plan.graph.nodes, plan.bodies, strict=True)
        if bodies
    }
    assert names == {"scan": [["exp"]], "while": [["exp"], ["exp"]], "cond": [[], []]}


def test_a_steady_body_has_the_inputs_and_outputs_of_the_body_and_is_smaller() -> None:
    found = [body for _, body in every_plan(plan_of(prepared(EXAMPLES[0])).graph) if body and body.steady]
    assert found
    for body in found:
        assert body.steady is not None
        graph, steady = body.graph.graph, body.steady.graph.graph
        assert steady.input_types == graph.input_types
        assert steady.output_types == graph.output_types
        assert steady.size < graph.size
        masks = [*body.steady.constants, *(body.constants + k for k in body.steady.carries)]
        assert {graph.inputs[i].type.dtype.value for i in masks} == {"bool"}


def test_slices_know_the_bound_and_what_is_summed() -> None:
    program = Program(graph_of(small_network, *NETWORK), (Grad((0, 1), keep_value=True),))
    graph = prepare(program, Layout(shared_inputs=(0,), summed_outputs=(1,))).graph
    slices = plan_of(graph).slices
    assert slices.apart
    assert slices.bytes == bytes_bound(graph)
    assert slices.summed == {1}
    assert slices.rows_at_a_time(0, None) == slices.rows_at_a_time(1, 0) == 1
    alone = plan_of(graph_of(lambda x: sum_over(sin(x), [0]), f64(4))).slices
    assert not alone.apart
    assert alone.rows_at_a_time(100, 1) == 100


def frozen_parts(value: Any) -> Iterator[Any]:
    """A plan's parts, down to graphs, which are known to be immutable."""
    todo = [value]
    while todo:
        part = todo.pop()
        if isinstance(part, Graph | Attributes | str | int | None):
            continue
        yield part
        todo += [getattr(part, field.name) for field in fields(part)] if is_dataclass(part) else list(part)


def test_a_plan_is_immutable_and_plain() -> None:
    plan: Plan = plan_of(prepared(EXAMPLES[5]))
    for part in frozen_parts(plan):
        if is_dataclass(part):
            with pytest.raises(FrozenInstanceError):
                setattr(part, fields(part)[0].name, None)
        else:
            assert isinstance(part, tuple | frozenset)
