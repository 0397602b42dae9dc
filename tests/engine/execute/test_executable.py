"""The reference executor: slices, buffers, shared work, and what it does with what it is given."""

from __future__ import annotations

import threading
import tracemalloc
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.kit.engine.building import F64, f64, graph_of
from tests.kit.engine.graphs import graphs, points
from tests.kit.engine.network import NETWORK, small_network

from gradwire_engine.attributes import DotGeneral, Shape
from gradwire_engine.builder import GraphBuilder
from gradwire_engine.errors import GraphError
from gradwire_engine.execute.numpy.executable import Executable, compile
from gradwire_engine.graph import Graph, Node
from gradwire_engine.passes.inline import inline_calls
from gradwire_engine.plan.memory import bytes_bound
from gradwire_engine.plan.plan import plan_of
from gradwire_engine.plan.slices import CACHE_BYTES
from gradwire_engine.prepare import prepare
from gradwire_engine.program import Grad, Jvp, Layout, Program, Vjp
from gradwire_engine.transforms.vmap import batch
from gradwire_engine.types import DType, TensorType
from gradwire_engine.value import Value
from gradwire_engine.vocabulary import astype, broadcast_to, dot_general, exp, log, max_over, sin, slice_of, sum_over


class Watching:
    """Runs a graph and notes the shape of every result, and how many results are alive at each evaluation."""

    def __init__(self, graph: Graph) -> None:
        self.alive: list[int] = []
        self.calls: list[tuple[str, tuple[int, ...]]] = []
        self.now = 0
        nodes = [node._replace(op=self._watched(node)) for node in graph.nodes]
        self.executable = compile(Graph(graph.inputs, tuple(nodes), graph.outputs, graph.output_names))

    def _watched(self, node: Node) -> Any:
        def evaluate(attributes: Any, *arrays: np.ndarray) -> np.ndarray:
            self.alive.append(self.now)
            found = np.array(node.op.evaluate(attributes, *arrays))
            self.calls.append((node.op.name, found.shape))
            self.now += 1
            weakref.finalize(found, self._freed)
            return found

        return type(node.op)(**{**vars(node.op), "evaluate": evaluate})

    def _freed(self) -> None:
        self.now -= 1

    def run(self, inputs: Sequence[np.ndarray], rows: int, **options: Any) -> list[np.ndarray]:
        return self.executable.run(inputs, rows, **options)


def chain(x: Value) -> Value:
    for _ in range(30):
        x = sin(x)
    return x


def training() -> tuple[Graph, list[np.ndarray], int]:
    """Summed gradients and a stacked output of the small network, with shared weights."""
    program = Program(graph_of(small_network, *NETWORK), (Grad((0, 1), keep_value=True),))
    prepared = prepare(program, Layout(shared_inputs=(0,), summed_outputs=(1,)))
    rows = 1000
    rng = np.random.default_rng(0)
    inputs = [rng.standard_normal((3, 4)), rng.standard_normal((rows, 4)), rng.standard_normal((rows, 3))]
    return prepared.graph, inputs, rows


# Buffers


def test_a_buffer_is_freed_after_its_last_use() -> None:
    watching = Watching(graph_of(chain, f64(10)))
    watching.run([np.ones(10)], 1)
    assert len(watching.alive) == 30
    assert max(watching.alive) == 1


def test_a_buffer_lives_until_its_last_use() -> None:
    def function(x: Value) -> Value:
        early = exp(x)
        return chain(early) + early

    watching = Watching(graph_of(function, f64(10)))
    (found,) = watching.run([np.zeros(10)], 1)
    assert max(watching.alive) == 2
    expected = 1.0
    for _ in range(30):
        expected = np.sin(expected)
    np.testing.assert_allclose(found, np.full(10, expected + 1.0))


def test_outputs_are_kept_and_nothing_else_outlives_the_run() -> None:
    watching = Watching(graph_of(lambda x: [sin(x), chain(exp(x))], f64(10)))
    outputs = watching.run([np.ones(10)], 1)
    assert watching.now == 2
    del outputs
    assert watching.now == 0


def test_inputs_are_never_written_to() -> None:
    graph = graph_of(lambda x: [x, sin(x), x.emit("reshape", attributes=Shape((10, 1)))], f64(10))
    array = np.linspace(0.0, 1.0, 10)
    array.flags.writeable = False
    copy = array.copy()
    compile(graph).run([array], 1)
    np.testing.assert_array_equal(array, copy)


# Slices


@pytest.mark.parametrize("memory_bytes", [1, 10_000, 100_000, 10**9])
def test_sliced_execution_gives_what_one_run_gives(memory_bytes: int) -> None:
    graph, inputs, rows = training()
    executable = compile(graph)
    whole = executable.run(inputs, rows)
    sliced = executable.run(inputs, rows, memory_bytes=memory_bytes)
    for found, expected in zip(sliced, whole, strict=True):
        assert found.shape == expected.shape
        assert found.dtype == expected.dtype
        np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_a_memory_budget_decides_how_many_rows_run_at_a_time() -> None:
    graph, inputs, rows = training()
    bound = bytes_bound(graph)
    slices = plan_of(graph).slices
    for at_a_time in (1, 7, 100):
        watching = Watching(graph)
        watching.run(inputs, rows, memory_bytes=bound.at(at_a_time))
        widest = max(shape[0] for name, shape in watching.calls if name == "exp")
        assert widest == at_a_time
        assert slices.rows_at_a_time(rows, bound.at(at_a_time)) == at_a_time
    assert slices.rows_at_a_time(rows, 0) == 1
    assert slices.rows_at_a_time(rows, bound.at(rows)) == slices.rows_at_a_time(rows, None)


def test_memory_keeps_to_the_budget() -> None:
    """Beside the whole batch's outputs, a run allocates no more than it was given."""
    rows = 3_000
    graph = batch(graph_of(lambda x: sum_over(chain(x), [0]), f64(50)), Layout())
    executable, x = compile(graph), np.ones((rows, 50))
    peaks = []
    for budget in (60_000, 400_000, 10_000_000):
        tracemalloc.start()
        try:
            (found,) = executable.run([x], rows, memory_bytes=budget)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
        assert peaks[-1] <= budget + found.nbytes + 50_000
    assert peaks[0] < peaks[1]


def test_large_batches_are_cut_for_the_cache() -> None:
    graph = batch(graph_of(chain, f64(100)), Layout())
    executable = compile(graph)
    assert executable.plan.slices.rows_at_a_time(10, None) == 10
    rows = 4_000
    size = executable.plan.slices.rows_at_a_time(rows, None)
    assert size < rows
    assert bytes_bound(graph).at(size) <= CACHE_BYTES
    x = np.random.default_rng(1).standard_normal((rows, 100))
    (found,) = executable.run([x], rows)
    expected = x
    for _ in range(30):
        expected = np.sin(expected)
    np.testing.assert_allclose(found, expected)


def test_what_depends_on_no_row_runs_once() -> None:
    rows = 1000

    def function(w: Value, x: Value) -> Value:
        return sin(exp(w)) * x

    graph = batch(graph_of(function, f64(4), f64(4)), Layout(shared_inputs=(0,)))
    watching = Watching(graph)
    watching.run([np.ones(4), np.ones((rows, 4))], rows, memory_bytes=bytes_bound(graph).at(10))
    names = [name for name, _ in watching.calls]
    assert names.count("exp") == names.count("sin") == 1
    assert names.count("multiply") == rows // 10


def test_shared_values_survive_all_slices_whatever_their_place_in_the_graph() -> None:
    """A shared value is last used, in the order of the graph, by a shared node; rows use it before."""

    def function(w: Value, x: Value) -> list[Value]:
        shared = sin(w)
        by_row = shared * x
        return [by_row, exp(shared)]

    graph = batch(graph_of(function, f64(4), f64(4)), Layout(shared_inputs=(0,), outputs=(0, 1)))
    w, x = np.arange(4.0), np.ones((5, 4))
    by_row, shared = compile(graph).run([w, x], 5)
    np.testing.assert_array_equal(by_row, np.tile(np.sin(w), (5, 1)))
    np.testing.assert_array_equal(shared, np.tile(np.exp(np.sin(w)), (5, 1)))


SUMMED: dict[str, tuple[Callable[..., Value], bool]] = {
    "a sum": (lambda w, x: sum_over(x * w, [0]), True),
    "a matrix product over the rows": (lambda w, x: dot_general(x, sin(x), DotGeneral((), ())), True),
    "an integer": (lambda w, x: astype(sum_over(x, [0]), DType.INT64), True),
    "a constant": (lambda w, x: x.like(2.0), True),
}


@pytest.mark.parametrize("case", SUMMED)
def test_sums_over_rows_are_added_over_slices(case: str) -> None:
    function, _ = SUMMED[case]
    rows = 100
    graph = prepare(Program(graph_of(function, f64(4), f64(4))), Layout(shared_inputs=(0,), summed_outputs=(0,))).graph
    rng = np.random.default_rng(2)
    inputs = [rng.standard_normal(4), 10.0 * rng.standard_normal((rows, 4))]
    executable = compile(graph)
    (whole,) = executable.run(inputs, rows)
    (sliced,) = executable.run(inputs, rows, memory_bytes=bytes_bound(graph).at(7))
    np.testing.assert_allclose(sliced, whole, rtol=1e-13)
    assert sliced.dtype == whole.dtype


@pytest.mark.parametrize(
    "function",
    [
        lambda total: total * total,
        lambda total: total + 1.0,
        lambda total: exp(total),
        lambda total: max_over(total, [0]),
        lambda total: broadcast_to(total, (-1, 4)),
    ],
    ids=["product", "shift", "exp", "max", "back to rows"],
)
def test_what_is_not_linear_in_the_sum_is_not_sliced(function: Callable[[Value], Value]) -> None:
    """Graphs of this kind are not made by `batch`; the executor still must not get them wrong."""
    builder = GraphBuilder()
    x = builder.input("x", TensorType(DType.FLOAT64, (-1, 4)))
    graph = builder.finish([function(sum_over(x, [0]))])
    executable = compile(graph)
    assert executable.plan.slices.rows_at_a_time(1000, 1) == 1000
    array = np.random.default_rng(3).standard_normal((1000, 4))
    np.testing.assert_array_equal(executable.run([array], 1000, memory_bytes=1)[0], executable.run([array], 1000)[0])


def test_what_is_linear_in_the_sum_is_sliced() -> None:
    builder = GraphBuilder()
    x, w = builder.input("x", TensorType(DType.FLOAT64, (-1, 4))), builder.input("w", f64(2, 2))
    total = sum_over(sin(x), [0])
    matrix = total.emit("reshape", attributes=Shape((2, 2)))
    graph = builder.finish([-(matrix * sin(w)) - matrix, slice_of(total, [1], [3])])
    executable = compile(graph)
    assert executable.plan.slices.rows_at_a_time(1000, 1) == 1
    inputs = [np.random.default_rng(4).standard_normal((1000, 4)), np.ones((2, 2))]
    for found, expected in zip(executable.run(inputs, 1000, memory_bytes=1), executable.run(inputs, 1000), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("examples", [200, pytest.param(10_000, marks=[pytest.mark.long, pytest.mark.timeout(3600)])])
def test_random_graphs_run_the_same_in_slices(examples: int) -> None:
    rows = 7

    @settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def holds(data: st.DataObject) -> None:
        graph = inline_calls(data.draw(graphs(tame=True, dtypes=(DType.FLOAT64, DType.INT64, DType.BOOL))), 10_000)
        shared = tuple(i for i in range(len(graph.inputs)) if data.draw(st.booleans()))
        summed = tuple(i for i, type in enumerate(graph.output_types) if type.dtype is not DType.BOOL)
        stacks = data.draw(points(graph, rows=rows))
        inputs = [stack[0] if i in shared else stack for i, stack in enumerate(stacks)]
        for layout in (Layout(shared_inputs=shared), Layout(shared_inputs=shared, summed_outputs=summed)):
            executable = compile(prepare(Program(graph), layout).graph)
            for found, expected in zip(
                executable.run(inputs, rows, memory_bytes=1), executable.run(inputs, rows), strict=True
            ):
                finite = np.isfinite(expected)
                scale = np.max(np.abs(expected), initial=1.0, where=finite) if expected.dtype.kind == "f" else 0.0
                np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10 * scale)

    holds()


# Few rows, and none


@pytest.mark.parametrize("transforms", [(), (Grad((0, 1), True),), (Jvp((1,)),), (Vjp((0,)),)])
def test_no_rows_at_all(transforms: tuple[Any, ...]) -> None:
    program = Program(graph_of(small_network, *NETWORK), transforms)
    for layout in (Layout(), Layout(shared_inputs=(0,))):
        graph = prepare(program, layout).graph
        inputs = [np.zeros(one.type.with_rows(0).shape) for one in graph.inputs]
        for memory_bytes in (None, 1):
            for found, type in zip(
                compile(graph).run(inputs, 0, memory_bytes=memory_bytes), graph.output_types, strict=True
            ):
                assert found.shape == type.with_rows(0).shape


def test_the_sum_over_no_rows_is_zero() -> None:
    program = Program(graph_of(small_network, *NETWORK), (Grad((0,)),))
    graph = prepare(program, Layout(shared_inputs=(0,), summed_outputs=(0,))).graph
    (found,) = compile(graph).run([np.ones((3, 4)), np.zeros((0, 4)), np.zeros((0, 3))], 0)
    np.testing.assert_array_equal(found, np.zeros((3, 4)))


# What it is given


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([], "got 0 inputs, expected 1"),
        ([np.zeros(3)], r"input 0: got float64\[3\], expected float64\[2,3\]"),
        ([np.zeros((2, 3), np.float32)], "got float32"),
        ([np.zeros((3, 3))], r"expected float64\[2,3\]"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(inputs: list[np.ndarray], message: str) -> None:
    executable = compile(batch(graph_of(sin, f64(3)), Layout()))
    with pytest.raises(GraphError, match=message):
        executable.run(inputs, 2)


def test_strided_reversed_and_repeated_arrays_are_read_right() -> None:
    graph, inputs, rows = training()
    expected = compile(graph).run(inputs, rows)
    strided = [np.asarray(np.repeat(x, 2, axis=0)[::2]) for x in inputs]
    turned = [np.asfortranarray(x) for x in inputs]
    backwards = [np.ascontiguousarray(x[::-1])[::-1] for x in inputs]
    for variant in (strided, turned, backwards):
        for found, wanted in zip(compile(graph).run(variant, rows), expected, strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-13)
    (repeated,) = compile(batch(graph_of(sin, F64), Layout())).run([np.broadcast_to(0.5, (4,))], 4)
    np.testing.assert_array_equal(repeated, np.full(4, np.sin(0.5)))


def test_nan_and_infinity_are_values_and_no_warnings() -> None:
    graph = graph_of(lambda x: [log(x), x / x, exp(x), astype(x, DType.INT32)], f64(4))
    x = np.array([-1.0, 0.0, np.inf, np.nan])
    logs, ones, powers, integers = compile(graph).run([x], 1)
    np.testing.assert_array_equal(logs, [np.nan, -np.inf, np.inf, np.nan])
    np.testing.assert_array_equal(ones, [1.0, np.nan, np.nan, np.nan])
    np.testing.assert_array_equal(powers, [np.exp(-1.0), 1.0, np.inf, np.nan])
    np.testing.assert_array_equal(integers, [-1, 0, 2**31 - 1, 0])
    with np.errstate(all="raise"):
        compile(graph).run([x], 1)


def test_a_graph_may_return_its_inputs_and_one_value_twice() -> None:
    graph = batch(graph_of(lambda x, y: [x, y, sin(x), sin(x)], F64, F64), Layout(shared_inputs=(1,)))
    x = np.arange(3.0)
    first, second, third, fourth = compile(graph).run([x, np.array(2.0)], 3)
    np.testing.assert_array_equal(first, x)
    np.testing.assert_array_equal(second, [2.0] * 3)
    np.testing.assert_array_equal(third, np.sin(x))
    np.testing.assert_array_equal(fourth, np.sin(x))


def test_scalars_come_back_as_arrays() -> None:
    for found in compile(graph_of(lambda x: [sum_over(x, [0]), x > 0.0], f64(2))).run([np.ones(2)], 1):
        assert type(found) is np.ndarray


def test_an_executable_is_shared_between_threads() -> None:
    graph, inputs, rows = training()
    executable = Executable(plan_of(graph))
    expected = executable.run(inputs, rows)
    wrong: list[int] = []

    def work(which: int) -> None:
        for memory_bytes in (None, 50_000, None):
            found = executable.run(inputs, rows, memory_bytes=memory_bytes)
            if not all(np.allclose(a, b, rtol=1e-10) for a, b in zip(found, expected, strict=True)):
                wrong.append(which)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
