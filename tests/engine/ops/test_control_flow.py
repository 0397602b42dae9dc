"""cond, scan, while and checkpoint: against the same functions in Python, in all modes, orders and batches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.kit.engine.building import F64, f64, graph_of, operations, run
from tests.kit.engine.loops import EXAMPLES, Example, checkpoint, cond, scan, while_loop

from gradwire_engine.attributes import Axes, DotGeneral
from gradwire_engine.errors import RowFailed
from gradwire_engine.execute.numpy import body
from gradwire_engine.execute.numpy.executable import compile
from gradwire_engine.graph import Graph
from gradwire_engine.passes.loops.hoist import hoist
from gradwire_engine.passes.loops.prune import prune
from gradwire_engine.passes.pipeline import before_differentiation, optimise
from gradwire_engine.plan import plan
from gradwire_engine.plan.flops import flops_bound
from gradwire_engine.plan.memory import bytes_bound
from gradwire_engine.prepare import prepare
from gradwire_engine.program import Grad, Jacobian, JacobianMode, Jvp, Layout, Program, Transform, Vmap
from gradwire_engine.transform import apply
from gradwire_engine.transforms.jacobian import jacobian_forward, jacobian_reverse
from gradwire_engine.transforms.jvp import jvp
from gradwire_engine.transforms.reverse import grad
from gradwire_engine.transforms.vmap import batch, vmap
from gradwire_engine.types import DType, TensorType
from gradwire_engine.value import Value
from gradwire_engine.verify import verify
from gradwire_engine.vocabulary import broadcast_to, dot_general, exp, log, sin, slice_of, sqrt, square, sum_over, where

every_example = pytest.mark.parametrize("example", EXAMPLES, ids=str)


def arrays(point: tuple[object, ...]) -> list[np.ndarray]:
    return [np.asarray(x, dtype=np.float64) for x in point]


def all_inputs(example: Example) -> list[int]:
    return list(range(len(example.graph.inputs)))


def differences(example: Example, point: list[np.ndarray]) -> list[np.ndarray]:
    """The gradient by central differences of fourth order."""
    found = []
    for i, x in enumerate(point):
        slope = np.zeros(x.shape)
        for index in np.ndindex(x.shape):

            def at(step: float, i: int = i, x: np.ndarray = x, index: tuple[int, ...] = index) -> float:
                moved = x.copy()
                moved[index] += step
                return example.function(*(moved if j == i else other for j, other in enumerate(point)))

            h = 1e-3 * max(1.0, abs(float(x[index]))) * 0.1
            slope[index] = (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h)
        found.append(slope)
    return found


@every_example
def test_values_are_those_of_the_same_function_in_python(example: Example) -> None:
    verify(example.graph)
    for point in example.points:
        np.testing.assert_allclose(run(example.graph, *point)[0], example.function(*arrays(point)), rtol=1e-13)


@every_example
def test_the_gradient_is_that_of_differences_and_of_forward_mode(example: Example) -> None:
    reverse, forward = grad(example.graph, all_inputs(example)), jacobian_forward(example.graph, all_inputs(example))
    verify(reverse)
    verify(forward)
    for point in example.points:
        expected = differences(example, arrays(point))
        for by_reverse, by_forward, slope in zip(run(reverse, *point), run(forward, *point), expected, strict=True):
            np.testing.assert_allclose(by_reverse, slope, rtol=1e-7, atol=1e-8)
            np.testing.assert_allclose(by_reverse, by_forward, rtol=1e-12, atol=1e-13)


@every_example
def test_the_hessian_is_the_same_in_all_four_combinations_of_modes(example: Example) -> None:
    inputs = all_inputs(example)
    by_differences = grad(example.graph, inputs)
    makers = [
        jacobian_forward(grad(example.graph, inputs), inputs),
        jacobian_reverse(grad(example.graph, inputs), inputs),
        jacobian_forward(jacobian_forward(example.graph, inputs), inputs),
        jacobian_reverse(jacobian_forward(example.graph, inputs), inputs),
    ]
    for maker in makers:
        verify(maker)
    for point in example.points:
        hessians = [run(maker, *point) for maker in makers]
        for other in hessians[1:]:
            for first, second in zip(hessians[0], other, strict=True):
                np.testing.assert_allclose(first, second, rtol=1e-11, atol=1e-11)
        h = 1e-5
        up, down = ([float(np.asarray(point[0])) + sign * h, *point[1:]] for sign in (1.0, -1.0))
        for row, (plus, minus) in enumerate(zip(run(by_differences, *up), run(by_differences, *down), strict=True)):
            by_first = hessians[0][row * len(inputs)]
            np.testing.assert_allclose(by_first, (plus - minus) / (2 * h), rtol=1e-4, atol=1e-5)


@every_example
def test_in_float32_derivatives_are_those_of_float64_to_its_precision(example: Example) -> None:
    inputs = all_inputs(example)
    for wide, narrow in (
        (grad(example.graph, inputs), grad(example.narrow, inputs)),
        (jacobian_forward(example.graph, inputs), jacobian_forward(example.narrow, inputs)),
        (jacobian_forward(grad(example.graph, inputs), [0]), jacobian_forward(grad(example.narrow, inputs), [0])),
    ):
        verify(narrow)
        for point in example.points:
            for got, expected in zip(run(narrow, *point), run(wide, *point), strict=True):
                assert got.dtype == np.float32
                scale = max(1.0, float(np.max(np.abs(expected))))
                np.testing.assert_allclose(got / scale, expected / scale, atol=1e-4)


@every_example
def test_third_derivatives_agree_between_modes(example: Example) -> None:
    """Reverse over reverse over reverse, against forward over forward over forward, by the first input."""
    reverse = grad(grad(grad(example.graph, [0]), [0]), [0])
    forward = jacobian_forward(jacobian_forward(jacobian_forward(example.graph, [0]), [0]), [0])
    verify(reverse)
    for point in example.points:
        np.testing.assert_allclose(run(reverse, *point)[0], run(forward, *point)[0], rtol=1e-9, atol=1e-9)


TRANSFORMS: dict[str, tuple[Transform, ...]] = {
    "value": (),
    "grad": (Grad((0, 1), keep_value=True),),
    "jvp": (Jvp((0,)),),
    "hessian": (Grad((0, 1)), Jacobian((0,), JacobianMode.FORWARD)),
}


@every_example
@pytest.mark.parametrize("transforms", TRANSFORMS.values(), ids=TRANSFORMS.keys())
@pytest.mark.parametrize("shared", [(), (1,)], ids=["rows", "one input shared"])
def test_rows_at_once_are_the_rows_one_by_one(
    example: Example, transforms: tuple[Transform, ...], shared: tuple[int, ...]
) -> None:
    """Through the whole road of a program: transformed, batched, optimised."""
    program = Program(example.graph, transforms)
    prepared = prepare(program, Layout(shared_inputs=shared))
    verify(prepared.graph)
    single = compile(apply(example.graph, transforms))
    rng = np.random.default_rng(3)
    points = [arrays(point) for point in (*example.points, *example.points)]
    for point in points:
        for x in point:
            x += rng.uniform(0.0, 0.05, x.shape)
    tangents = [[np.asarray(rng.standard_normal())] for _ in points] if transforms == TRANSFORMS["jvp"] else None
    for i in shared:
        for point in points:
            point[i] = points[0][i]
    rows = [[*point, *(tangents[k] if tangents else [])] for k, point in enumerate(points)]
    inputs = [rows[0][i] if i in shared else np.stack([row[i] for row in rows]) for i in range(len(rows[0]))]
    found = compile(prepared.graph).run(inputs, len(rows))
    for k, row in enumerate(rows):
        for got, expected in zip(found, single.run(row, 1), strict=True):
            np.testing.assert_allclose(got[k], expected, rtol=1e-10, atol=1e-12)


@every_example
def test_a_mapped_function_is_differentiated_like_its_rows(example: Example) -> None:
    """The gradient of a sum over rows that are mapped inside the graph; one input is shared by them."""
    count = len(example.points)
    axes = [-1, *[0] * (len(example.graph.inputs) - 1)]
    mapped = vmap(example.graph, count, axes)
    total = graph_of(lambda *xs: sum_over(xs[0].builder.inline(mapped, xs)[0], [0]), *mapped.input_types)
    inputs = all_inputs(example)
    points = [arrays(point) for point in example.points]
    for point in points:
        point[0] = points[0][0]
    stacked = [points[0][0], *(np.stack([point[i] for point in points]) for i in inputs[1:])]
    rows = [run(grad(example.graph, inputs), *point) for point in points]
    for graph in (grad(total, inputs), optimise(grad(total, inputs))):
        verify(graph)
        found = run(graph, *stacked)
        np.testing.assert_allclose(found[0], sum(row[0] for row in rows), rtol=1e-11, atol=1e-12)
        for i in inputs[1:]:
            np.testing.assert_allclose(found[i], [row[i] for row in rows], rtol=1e-11, atol=1e-12)


@every_example
def test_two_mapped_axes_and_a_batch(example: Example) -> None:
    program = Program(example.graph, (Grad((0, 1)), Vmap(2, (0, *[-1] * (len(example.graph.inputs) - 1)))))
    prepared = prepare(program, Layout(shared_inputs=(1,)))
    verify(prepared.graph)
    single = compile(grad(example.graph, [0, 1]))
    points = [arrays(point) for point in example.points]
    firsts = np.array([[p[0] + 0.01 * k for k in range(2)] for p in points])
    inputs = [firsts, points[0][1], *(np.stack([p[i] for p in points]) for i in range(2, len(points[0])))]
    found = compile(prepared.graph).run(inputs, len(points))
    for k, point in enumerate(points):
        for j in range(2):
            row = [firsts[k, j], points[0][1], *point[2:]]
            for got, expected in zip(found, single.run([np.asarray(x) for x in row], 1), strict=True):
                np.testing.assert_allclose(got[k, j], expected, rtol=1e-10, atol=1e-12)


@every_example
def test_passes_before_differentiation_change_no_derivative(example: Example) -> None:
    inputs = all_inputs(example)
    plain, passed = grad(example.graph, inputs), grad(before_differentiation(example.graph), inputs)
    for point in example.points:
        for first, second in zip(run(plain, *point), run(passed, *point), strict=True):
            np.testing.assert_array_equal(first, second)


@every_example
def test_pruned_loops_return_the_same(example: Example) -> None:
    inputs = all_inputs(example)
    graph = jacobian_forward(grad(example.graph, inputs), [0])
    pruned = prune(graph)
    verify(pruned)
    for point in example.points:
        for first, second in zip(run(graph, *point), run(pruned, *point), strict=True):
            np.testing.assert_array_equal(first, second)


# what rows do not need does not hurt them


def test_a_count_of_its_own_for_each_row_tells_a_pruned_loop_how_many_rows_there_are() -> None:
    """The sum needs a shared constant alone; the carry, which has rows, is not asked for."""

    def function(n: Value, w: Value, c: Value) -> list[Value]:
        return [scan(lambda w, c: [c * w, w], [w], [c], [], 4, sums=1, count=n)[1]]

    graph = batch(graph_of(function, TensorType(DType.INT64), F64, F64), Layout(shared_inputs=(1,)))
    (loop,) = [node for node in prune(graph).nodes if node.op.name == "scan"]
    assert len(loop.operands) == 2
    counts, carries = np.array([0, 3, 7]), np.ones(3)
    assert run(prune(graph), counts, 0.5, carries, rows=3)[0].tolist() == [0.0, 1.5, 2.0]


def test_a_branch_that_a_row_does_not_take_is_not_run_for_it() -> None:
    """An endless loop in one branch, a logarithm of what is not positive: rows that take the other are as they were."""

    def endless(x: Value) -> Value:
        return while_loop(lambda x: x.equals(x), lambda x: x + 1.0, [], [x], max_steps=10)[0]

    graph = graph_of(lambda x: cond(x > 0.0, endless, lambda x: x * x, x)[0], F64)
    outputs, failures = compile(batch(grad(graph, [0], True), Layout())).run_rows([np.array([1.0, -1.0, 3.0])], 3)
    assert [failure.row for failure in failures] == [1]
    np.testing.assert_array_equal(outputs[0], [1.0, np.nan, 9.0])
    assert outputs[1][0] == 2.0
    assert outputs[1][2] == 6.0
    safe = graph_of(lambda x: cond(x > 0.0, lambda x: log(x), lambda x: x * x, x)[0], F64)
    found = run(batch(grad(safe, [0]), Layout()), np.array([1.0, 0.0, 3.0]), rows=3)[0]
    np.testing.assert_array_equal(found, [2.0, np.inf, 6.0])


def test_only_rows_over_max_steps_fail_and_by_name() -> None:
    graph = graph_of(lambda x: while_loop(lambda x: x > 1.0, lambda x: x * 0.5, [], [x], max_steps=5)[0] * 3.0, F64)
    rows = np.array([0.5, 1e9, 30.0, np.nan, 33.0])
    for program in (Program(graph), Program(graph, (Grad((0,), True),)), Program(graph, (Jvp((0,)),))):
        prepared = prepare(program, Layout())
        inputs = [rows, np.ones(5)] if program.transforms == (Jvp((0,)),) else [rows]
        outputs, failures = compile(prepared.graph).run_rows(inputs, 5)
        assert [(failure.row, failure.reason) for failure in failures] == [
            (1, "MAX_STEPS_EXCEEDED"),
            (4, "MAX_STEPS_EXCEEDED"),
        ]
        assert "max_steps = 5" in failures[0].message
        assert outputs[0][0] == 1.5
        assert outputs[0][2] == 30.0 / 32.0 * 3.0
    with pytest.raises(RowFailed, match="max_steps = 5"):
        run(graph, 1e9)


def test_in_slices_of_rows_the_right_rows_fail() -> None:
    graph = graph_of(lambda x: while_loop(lambda x: x > 1.0, lambda x: x * 0.5, [], [x], max_steps=5)[0], F64)
    rows = np.where(np.arange(100) % 7 == 3, 1e9, 2.0)
    outputs, failures = compile(batch(graph, Layout())).run_rows([rows], 100, memory_bytes=600)
    assert [failure.row for failure in failures] == list(range(3, 100, 7))
    np.testing.assert_array_equal(outputs[0], np.where(rows == 2.0, 1.0, np.nan))


def test_a_loop_that_no_row_changes_fails_for_all_rows() -> None:
    def both(x: Value, y: Value) -> Value:
        return x + while_loop(lambda y: y > 1.0, lambda y: y * 1.0, [], [y], max_steps=3)[0]

    graph = batch(graph_of(both, F64, F64), Layout(shared_inputs=(1,)))
    _, failures = compile(graph).run_rows([np.zeros(3), np.asarray(2.0)], 3)
    assert [failure.row for failure in failures] == [0, 1, 2]
    _, failures = compile(graph).run_rows([np.zeros(3), np.asarray(0.5)], 3)
    assert failures == []


# structural zeros


def test_masks_pass_into_loops_and_out_of_them() -> None:
    """sqrt at [0, 4]: its Jacobian has zeros beside the infinity, through a scan, a branch and a checkpoint too."""

    def through_scan(xs: Value) -> Value:
        return scan(lambda x: [sqrt(x)], [], [], [xs], 2)[0]

    def through_branch(xs: Value) -> Value:
        return cond(xs.builder.constant(np.asarray(True)), lambda x: x, lambda x: sqrt(x), xs)[0]

    def through_checkpoint(xs: Value) -> Value:
        return checkpoint(lambda x: sqrt(x), xs)[0]

    def carried(xs: Value) -> Value:
        return scan(lambda c: [sqrt(c)], [], [xs], [], 1)[0]

    for function in (through_scan, through_branch, through_checkpoint, carried):
        graph = graph_of(function, f64(2))
        for jacobian in (jacobian_forward(graph, [0]), jacobian_reverse(graph, [0])):
            np.testing.assert_array_equal(run(jacobian, [0.0, 4.0])[0], [[np.inf, 0.0], [0.0, 0.25]])


def test_what_where_leaves_out_of_a_loop_does_not_leak() -> None:
    graph = graph_of(
        lambda xs: sum_over(scan(lambda x: [where(x > 0.0, log(x), 0.0)], [], [], [xs], 3)[0], [0]), f64(3)
    )
    point = [0.0, 2.0, -1.0]
    np.testing.assert_array_equal(run(grad(graph, [0]), point)[0], [0.0, 0.5, 0.0])
    np.testing.assert_array_equal(run(jvp(graph, [0]), point, [1.0, 1.0, 1.0])[1], 0.5)


# memory


def stored_bytes(graph: Graph) -> int:
    """The bound for one run."""
    return bytes_bound(optimise(graph)).constant


def test_checkpoint_stores_less_and_computes_more() -> None:
    """After all passes: the bytes of the gradient fall, its operations rise, its value stays."""

    def chain(x: Value) -> Value:
        for _ in range(12):
            x = sin(exp(sin(x)) * x)
        return x

    def plain(x: Value) -> Value:
        for _ in range(6):
            x = chain(x)
        return sum_over(x, [0])

    def marked(x: Value) -> Value:
        for _ in range(6):
            (x,) = checkpoint(chain, x)
        return sum_over(x, [0])

    stored, recomputed = (grad(graph_of(one, f64(1000)), [0]) for one in (plain, marked))
    assert stored_bytes(recomputed) < 0.4 * stored_bytes(stored)
    flops = [flops_bound(optimise(graph)).constant for graph in (stored, recomputed)]
    assert 1.1 * flops[0] < flops[1] < 2.0 * flops[0]
    x = np.linspace(-1.0, 1.0, 1000)
    np.testing.assert_array_equal(*(run(optimise(graph), x)[0] for graph in (stored, recomputed)))
    assert "barrier" in operations(optimise(recomputed))


def test_what_does_not_change_in_a_loop_is_not_stacked() -> None:
    """The backward pass of a loop takes a constant as a constant, and stores the carries of each step only."""

    def function(w: Value, c: Value) -> Value:
        return sum_over(scan(lambda w, c: [sin(c * exp(w))], [w], [c], [], 50)[0], [0])

    graph = optimise(grad(graph_of(function, f64(100), f64(100)), [0, 1]))
    widths = [type.elements for node in graph.nodes if node.op.name == "scan" for type in node.results]
    assert sorted(widths)[-1] == 50 * 100
    assert sum(width == 50 * 100 for width in widths) == 1


def test_gradients_by_what_a_loop_is_given_add_up() -> None:
    """A value that is a constant, a carry and a stacked input of one loop gets a cotangent from each."""

    def function(x: Value) -> Value:
        last, outputs = scan(lambda w, c, e: [c * w, c * e], [x], [x], [broadcast_to(x, (3,))], 3)
        return last + sum_over(outputs, [0])

    def in_python(x: Any) -> Any:
        return x**4 + x**2 + x**3 + x**4

    np.testing.assert_allclose(run(graph_of(function, F64), 1.3)[0], in_python(1.3))
    slope = (in_python(1.3 + 1e-6) - in_python(1.3 - 1e-6)) / 2e-6
    np.testing.assert_allclose(run(grad(graph_of(function, F64), [0]), 1.3)[0], slope, rtol=1e-8)


def test_the_training_gradient_of_a_loop_is_a_sum_in_the_loop() -> None:
    """Weights shared by all rows, the gradient summed over them: no array has both rows and weights."""

    def loss(w: Value, xs: Value) -> Value:
        def step(w: Value, h: Value, x: Value) -> Value:
            return sin(dot_general(w, h, DotGeneral((1,), (0,))) + x)

        (last,) = scan(step, [w], [xs.like(0.0).emit("sum", attributes=Axes((0,)))], [xs], xs.shape[0])
        return sum_over(last * last, [0])

    graph = graph_of(loss, f64(7, 7), f64(5, 7))
    rng = np.random.default_rng(0)
    w, xs = rng.standard_normal((7, 7)), rng.standard_normal((11, 5, 7))
    for budget in (0, 100):
        program = Program(graph, (Grad((0,), keep_value=True),), snapshot_bytes=budget)
        summed = prepare(program, Layout(shared_inputs=(0,), summed_outputs=(0, 1)))
        apart = compile(prepare(program, Layout(shared_inputs=(0,))).graph).run([w, xs], 11)
        for got, rows in zip(compile(summed.graph).run([w, xs], 11), apart, strict=True):
            np.testing.assert_allclose(got, np.sum(rows, axis=0), rtol=1e-12)
        sliced = compile(summed.graph)
        assert sliced.plan.slices.rows_at_a_time(11, 3000) < 11
        for got, rows in zip(sliced.run([w, xs], 11, memory_bytes=3000), apart, strict=True):
            np.testing.assert_allclose(got, np.sum(rows, axis=0), rtol=1e-12)
        largest = max(type.elements for graph in every_graph(summed.graph) for type in graph.types if type.is_batched)
        assert largest < 7 * 7


def every_graph(graph: Graph) -> list[Graph]:
    return [graph, *(inner for node in graph.nodes for sub in node.subgraphs for inner in every_graph(sub))]


# what does not change in a loop


def test_what_a_loop_computes_from_its_constants_is_computed_once() -> None:
    """Slices and products of a constant; what only repeats it stays inside. Values and derivatives are the same."""

    def function(w: Value, x: Value) -> Value:
        def step(w: Value, c: Value) -> Value:
            left, right = slice_of(w, [0], [3]), slice_of(w, [3], [6])
            return sin(c * exp(left * right)) + broadcast_to(sum_over(square(w), [0]), c.shape)

        return sum_over(scan(step, [w], [x], [], 5)[0], [0])

    graph = graph_of(function, f64(6), f64(3))
    hoisted = hoist(graph)
    verify(hoisted)
    (loop,) = [node for node in hoisted.nodes if node.op.name == "scan"]
    assert operations(loop.subgraphs[0]) == ["multiply", "sin", "broadcast_to", "add"]
    w, x = np.linspace(-0.5, 0.7, 6), np.linspace(0.1, 0.5, 3)
    np.testing.assert_array_equal(run(hoisted, w, x)[0], run(graph, w, x)[0])
    for inside, before in zip(run(grad(graph, [0, 1]), w, x), run(grad(hoisted, [0, 1]), w, x), strict=True):
        np.testing.assert_allclose(before, inside, rtol=1e-12)
    assert hoist(hoisted) is hoisted
    again = jacobian_forward(grad(hoisted, [0]), [0]), jacobian_forward(grad(graph, [0]), [0])
    np.testing.assert_allclose(run(again[0], w, x)[0], run(again[1], w, x)[0], rtol=1e-11)


def test_one_of_several_results_may_be_used_outside_a_hoisted_node() -> None:
    """Eigenvalues and vectors of a constant matrix, both used at every step; and in a while."""

    def function(m: Value, x: Value) -> Value:
        def step(m: Value, c: Value) -> Value:
            values, vectors = m.builder.emit_all("eigh", [m])
            return sin(c * values) + sum_over(vectors * vectors, [1])

        return sum_over(
            while_loop(lambda m, c: sum_over(c, [0]) < 8.0, lambda m, c: step(m, c) + c, [m], [x], 9)[0], [0]
        )

    graph = graph_of(function, f64(2, 2), f64(2))
    hoisted = hoist(graph)
    verify(hoisted)
    (loop,) = [node for node in hoisted.nodes if node.op.name == "while"]
    assert "eigh" not in operations(loop.subgraphs[1])
    point = [[2.0, 0.3], [0.3, 1.0]], [0.1, 0.2]
    np.testing.assert_array_equal(run(hoisted, *point)[0], run(graph, *point)[0])
    for inside, before in zip(run(grad(graph, [0, 1]), *point), run(grad(hoisted, [0, 1]), *point), strict=True):
        np.testing.assert_allclose(before, inside, rtol=1e-11)


# masks that have become true


def test_a_loop_whose_masks_have_become_true_goes_on_without_them_and_changes_no_bit() -> None:
    """A body takes its masks only as long as they hold a zero; the steps after that give the same bits."""
    example = EXAMPLES[0]
    graph = prepare(Program(example.graph, (Grad((0, 1, 2)), Jvp((0, 1, 2)))), Layout()).graph
    rows, rng = 4, np.random.default_rng(0)
    inputs = [rng.standard_normal((rows, *type.shape[1:])) for type in graph.input_types]
    sizes: dict[bool, int] = {}
    outputs = {}
    for with_masks in (False, True):
        with pytest.MonkeyPatch.context() as patch:
            if with_masks:
                patch.setattr(plan, "steady_body", lambda *arguments: None)
            counted = 0
            original = body.run_steps

            def counting(steps: Any, values: Any, context: Any, original: Any = original) -> None:
                nonlocal counted
                counted += len(steps)
                original(steps, values, context)

            patch.setattr(body, "run_steps", counting)
            outputs[with_masks] = compile(graph).run(inputs, rows)
            sizes[with_masks] = counted
    assert sizes[False] < 0.9 * sizes[True]
    for got, expected in zip(outputs[False], outputs[True], strict=True):
        np.testing.assert_array_equal(got, expected)


def test_masks_with_zeros_are_looked_at_to_the_end() -> None:
    """A direction of one variable only: what does not move stays known to be zero, in every step."""

    def function(xs: Value) -> Value:
        return scan(lambda c: sqrt(c) * c, [], [xs], [], 3)[0]

    graph = graph_of(function, f64(2))
    np.testing.assert_array_equal(run(jvp(graph, [0]), [0.0, 1.0], [0.0, 1.0])[1][0], 0.0)
    assert run(jvp(graph, [0]), [0.0, 1.0], [0.0, 1.0])[1][1] == 1.5**3


def test_rows_that_leave_a_loop_do_not_have_its_constants_computed_again() -> None:
    """A program that is not differentiated, too: the factor that all rows share is computed before the loop."""

    def function(m: Value, x: Value) -> Value:
        def step(m: Value, c: Value) -> Value:
            return c + sum_over(m.emit("cholesky"), [0, 1])

        return while_loop(lambda m, c: c < 20.0, step, [m], [x], 90)[0]

    graph = prepare(Program(graph_of(function, f64(2, 2), F64)), Layout(shared_inputs=(0,))).graph
    (loop,) = [node for node in graph.nodes if node.op.name == "while"]
    assert operations(loop.subgraphs[1]) == ["broadcast_to", "add"]
    found = run(graph, np.eye(2), np.array([0.0, 19.5, 7.0]), rows=3)[0]
    np.testing.assert_array_equal(found, [20.0, 21.5, 21.0])
