"""Bounds of work and memory hold, and grow as they should."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.kit.engine.building import F64, f64, graph_of, operations
from tests.kit.engine.graphs import graphs, points

from gradwire_engine.attributes import Cast, DotGeneral, Gather, Order, Shape
from gradwire_engine.bounds import SATURATED, Bound
from gradwire_engine.builder import GraphBuilder
from gradwire_engine.execute.numpy.executable import compile
from gradwire_engine.graph import Graph
from gradwire_engine.passes.inline import inline_calls
from gradwire_engine.plan.cost import cost
from gradwire_engine.plan.flops import flops_bound
from gradwire_engine.plan.memory import bytes_bound
from gradwire_engine.plan.plan import plan_of
from gradwire_engine.prepare import prepare
from gradwire_engine.program import Grad, Jvp, Layout, Program
from gradwire_engine.transforms.vmap import batch, vmap
from gradwire_engine.types import DType
from gradwire_engine.value import Value
from gradwire_engine.vocabulary import broadcast_to, dot_general, exp, gather, permute_dims, sin, slice_of, sum_over

SLACK_BYTES = 150_000
"""What numpy and Python need besides arrays: iterators, buffers, the list of values."""


def measured(graph: Graph, inputs: list[np.ndarray], rows: int) -> int:
    """The most memory that a run needs besides its inputs."""
    executable = compile(graph)
    executable.run(inputs, rows)  # imports, caches
    tracemalloc.start()
    try:
        executable.run(inputs, rows)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def require_bound(graph: Graph, inputs: list[np.ndarray], rows: int) -> None:
    bound = bytes_bound(graph).at(rows) - sum(array.nbytes for array in inputs)
    assert measured(graph, inputs, rows) <= bound + SLACK_BYTES, str(graph)


# Bounds as numbers


@pytest.mark.parametrize("name", ["polygamma", "erfcx", "sinc", "exprel", "iv", "ive"])
def test_a_higher_order_of_a_family_costs_more(name: str) -> None:
    graphs_of_order = [graph_of(lambda x, n=n: x.emit(name, attributes=Order(n)), f64(10)) for n in (0, 2, 9)]
    found = [flops_bound(graph).constant for graph in graphs_of_order]
    assert found == sorted(set(found))
    assert [flops_bound(batch(graph, Layout())).per_row for graph in graphs_of_order] == found


def test_a_bound_is_a_line_that_saturates() -> None:
    assert Bound(3, 4).at(5) == 23
    assert Bound(3, 4).at(0) == 3
    assert Bound(1, 2**63).at(4) == SATURATED
    assert Bound(SATURATED, 1) + Bound(5, 6) == Bound(SATURATED, 7)


def test_work_on_rows_grows_with_them_and_shared_work_does_not() -> None:
    graph = graph_of(lambda w, x: sum_over(x * sin(w), [0]), f64(100), f64(100))
    bound = flops_bound(batch(graph, Layout(shared_inputs=(0,))))
    assert bound == Bound(20 * 100, 100 + 100)
    assert flops_bound(graph) == Bound(20 * 100 + 100 + 100, 0)


def test_a_contraction_counts_two_for_each_product() -> None:
    graph = graph_of(lambda x, y: dot_general(x, y, DotGeneral((1,), (0,))), f64(3, 4), f64(4, 5))
    assert flops_bound(graph) == Bound(2 * 3 * 4 * 5, 0)
    assert flops_bound(batch(graph, Layout())) == Bound(0, 2 * 3 * 4 * 5)
    shared = flops_bound(batch(graph, Layout(shared_inputs=(0,))))
    assert shared == Bound(0, 2 * 3 * 4 * 5)
    summed = batch(graph_of(lambda x, y: dot_general(x, y, DotGeneral((), ())), f64(3), f64(5)), Layout())
    assert flops_bound(summed) == Bound(0, 2 * 15)


def test_a_contraction_over_the_rows_counts_each_row() -> None:
    def loss(w: Value, x: Value) -> Value:
        return sum_over(sin(dot_general(w, x, DotGeneral((1,), (0,)))), [0])

    program = Program(graph_of(loss, f64(7, 9), f64(9)), (Grad((0,)),))
    prepared = prepare(program, Layout(shared_inputs=(0,), summed_outputs=(0,)))
    assert operations(prepared.graph).count("dot_general") == 2
    assert prepared.cost.flops.per_row >= 2 * (2 * 7 * 9)
    assert prepared.cost.nodes == len(prepared.graph.nodes)


def test_work_that_no_machine_could_do_saturates() -> None:
    huge = (2**29, 2**30)
    graph = graph_of(lambda x: sum_over(exp(broadcast_to(x, huge)), [0, 1]), F64)
    assert flops_bound(graph).at(1) > 2**59
    assert bytes_bound(graph).at(1) > 2**60
    for _ in range(40):
        builder = GraphBuilder()
        x = builder.input("x", F64)
        graph = builder.finish(builder.inline(graph, [builder.inline(graph, [x])[0] + 1.0]))
        if len(graph.nodes) > 500:
            break
    assert cost(graph).flops.at(2**40) == SATURATED


# Lives of values


def test_what_depends_on_no_row_comes_first_and_lives_until_the_last_slice() -> None:
    def function(w: Value, x: Value) -> Value:
        first = x * sin(w)
        return first * exp(exp(w))

    graph = batch(graph_of(function, f64(5), f64(5)), Layout(shared_inputs=(0,)))
    schedule = plan_of(graph).graph.schedule
    ordered = [graph.nodes[position].op.name for position in schedule.order]
    alone = ordered.index("broadcast_to")
    assert set(ordered[:alone]) == {"sin", "exp"}
    number = {graph.nodes[position].op.name: graph.first_results[position] for position in schedule.order}
    dead = [n for dying in schedule.dying for n in dying]
    assert number["sin"] not in dead
    assert len(dead) == len(set(dead))


def test_every_value_dies_once_after_its_last_use_unless_it_is_an_output() -> None:
    graph = graph_of(lambda x: [sin(x) * exp(x), sin(x)], f64(3))
    schedule = plan_of(graph).graph.schedule
    names = {n: node.op.name for n, node in graph.numbered()}
    assert [[names[n] for n in dying] for dying in schedule.dying] == [[], [], ["exp"]]


# Bounds against measurement

N = 50_000


def chain(x: Value) -> Value:
    for _ in range(20):
        x = sin(x) * 0.5
    return x


def kept_slices(x: Value) -> list[Value]:
    """Of every large value one element is kept: a view would keep all of it."""
    found = []
    for _ in range(20):
        x = exp(x * 0.1)
        found.append(slice_of(x, [0], [1]))
    return found


def kept_halves(x: Value) -> list[Value]:
    """Slices that are views of large values, kept until the end; and views of them."""
    found = []
    for _ in range(10):
        x = exp(x * 0.1)
        found.append(slice_of(slice_of(x, [0], [N - 5]), [0], [N - 5], [2]))
    return found


def repeated_reading(x: Value) -> Value:
    """The first value is needed again at the end."""
    y = sin(x)
    z = y
    for _ in range(10):
        z = exp(z * 0.1)
    return y * z


def turned(x: Value) -> Value:
    matrix = x.emit("reshape", attributes=Shape((N // 50, 50)))
    return dot_general(permute_dims(sin(matrix), (1, 0)), exp(matrix), DotGeneral((1,), (0,)))


@pytest.mark.parametrize("function", [chain, kept_slices, kept_halves, repeated_reading, turned])
def test_memory_keeps_to_its_bound(function: Callable[..., Value]) -> None:
    graph = graph_of(function, f64(N))
    require_bound(graph, [np.linspace(0.0, 1.0, N)], 1)


def test_a_chain_needs_two_buffers_however_long_it_is() -> None:
    assert bytes_bound(graph_of(chain, f64(N))).at(1) <= 4 * 8 * N
    assert measured(graph_of(chain, f64(N)), [np.ones(N)], 1) <= 3 * 8 * N


def test_shared_work_that_rows_need_late_is_counted_as_alive() -> None:
    """Ten large arrays are made from shared inputs, each used by the rows at once: the executor makes all ten first."""

    def function(w: Value, x: Value) -> Value:
        for i in range(10):
            w = sin(w * (1.0 + i))
            x = x + sum_over(w, [0])
        return x

    graph = batch(graph_of(lambda w, x: function(w, x), f64(N), F64), Layout(shared_inputs=(0,)))
    require_bound(graph, [np.ones(N), np.ones(4)], 4)

    def wide(w: Value, x: Value) -> Value:
        for i in range(10):
            w = sin(w * (1.0 + i))
            x = x * w
        return x

    graph = batch(graph_of(wide, f64(N), f64(N)), Layout(shared_inputs=(0,)))
    assert bytes_bound(graph).constant >= 10 * 8 * N
    require_bound(graph, [np.ones(N), np.ones((2, N))], 2)


@pytest.mark.parametrize("transforms", [(Grad((0,)),), (Jvp((0,)),)])
def test_derivatives_keep_to_their_bound(transforms: tuple[Grad | Jvp, ...]) -> None:
    graph = graph_of(lambda x: sum_over(chain(x), [0]), f64(1000))
    prepared = prepare(Program(graph, transforms), Layout())
    rows = 60
    inputs = [np.full((rows, *one.type.shape[1:]), 0.5) for one in prepared.graph.inputs]
    require_bound(prepared.graph, inputs, rows)


@pytest.mark.parametrize("examples", [100, pytest.param(2_000, marks=[pytest.mark.long, pytest.mark.timeout(3600)])])
def test_random_graphs_keep_to_their_bounds(examples: int) -> None:
    rows = 1_500

    @settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def holds(data: st.DataObject) -> None:
        graph = inline_calls(data.draw(graphs(tame=True)), 10_000)
        # A static axis, so that all rows run at once; the executor would cut a batch into slices.
        wide = vmap(graph, rows, [0] * len(graph.inputs))
        require_bound(wide, data.draw(points(graph, rows=rows)), 1)

    holds()


def test_a_few_elements_of_a_large_table_do_not_cost_the_table_again() -> None:
    table = np.linspace(0.0, 1.0, 20 * N)
    places = np.arange(10)[:, None]
    graph = graph_of(lambda x: gather(x, x.builder.constant(places), Gather(0, 0)), f64(20 * N))
    assert bytes_bound(graph).at(1) <= table.nbytes + 10_000
    require_bound(graph, [table], 1)


def test_a_batch_keeps_to_its_bound_in_one_piece_or_in_slices() -> None:
    graph = batch(graph_of(lambda x: sum_over(chain(x), [0]), f64(100)), Layout())
    for rows in (1, 10, 1_000, 20_000):
        require_bound(graph, [np.ones((rows, 100))], rows)


def test_bounds_count_bools_as_bytes_and_floats_as_they_are() -> None:
    graph = graph_of(lambda x: x > 0.0, f64(1000))
    assert bytes_bound(graph).at(1) == 8000 + 1000 + 8000  # the operand, the result, and zeros to compare with
    single = graph_of(lambda x: x.emit("astype", attributes=Cast(DType.FLOAT32)), f64(1000))
    assert bytes_bound(single).at(1) >= 8000 + 4000
