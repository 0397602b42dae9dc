"""Loops under a budget: the same derivatives from snapshots, few steps run again, and the bytes that were foreseen."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import pytest
from tests.kit.engine.building import F64, f64, graph_of, run
from tests.kit.engine.loops import EXAMPLES, Example, scan, while_loop

from gradwire.wire.programs import decode_graph, encode_graph
from gradwire_engine.attributes import While
from gradwire_engine.execute.numpy import body
from gradwire_engine.execute.numpy.executable import compile
from gradwire_engine.graph import Graph
from gradwire_engine.ops.control.binomial import least_steps, repetitions
from gradwire_engine.passes.loops.keep import keep_snapshots
from gradwire_engine.passes.pipeline import optimise, prune_all
from gradwire_engine.plan.checkpointing import DoublingStrides, placement, split
from gradwire_engine.prepare import Prepared, prepare
from gradwire_engine.program import Grad, Jacobian, JacobianMode, Layout, Program, Transform, Vmap
from gradwire_engine.transform import apply
from gradwire_engine.transforms.vmap import batch
from gradwire_engine.value import Value
from gradwire_engine.verify import verify
from gradwire_engine.vocabulary import sin, sum_over

# the plan


@cache
def fewest(steps: int, snapshots: int) -> int:
    """By trying all places of the next snapshot."""
    if steps <= 1:
        return 0
    if snapshots == 1:
        return steps * (steps - 1) // 2
    return min(m + fewest(steps - m, snapshots - 1) + fewest(m, snapshots) for m in range(1, steps))


@cache
def planned(steps: int, snapshots: int) -> int:
    """With the places that `split` chooses."""
    if steps <= 1:
        return 0
    if snapshots == 1:
        return steps * (steps - 1) // 2
    m = split(steps, snapshots)
    return m + planned(steps - m, snapshots - 1) + planned(m, snapshots)


def test_the_formula_and_the_plan_are_the_optimum_of_all_plans() -> None:
    for snapshots in range(1, 8):
        for steps in range(1, 90):
            assert fewest(steps, snapshots) == least_steps(steps, snapshots) == planned(steps, snapshots)


def test_no_step_runs_more_often_than_the_binomial_coefficient_asks() -> None:
    """1,000 steps with 20 snapshots: 2.75 runs of each; with 100: 1.9 (published figures)."""
    assert round(least_steps(1000, 20) / 1000, 2) == 2.75
    assert round(least_steps(1000, 100) / 1000, 1) == 1.9
    assert repetitions(33_153, 256) == 2
    assert repetitions(33_154, 256) == 3


@pytest.mark.parametrize(("steps", "snapshots"), [(1, 1), (5, 8), (100, 7), (33_200, 256), (100_000, 256)])
def test_the_first_run_takes_its_snapshots_where_they_are_needed(steps: int, snapshots: int) -> None:
    places = placement(steps, snapshots)
    assert places[0] == 0
    assert len(places) <= min(snapshots, steps)
    assert sorted(set(places)) == places
    assert total_steps(places, steps, snapshots) == least_steps(steps, snapshots)


def total_steps(places: list[int], steps: int, snapshots: int) -> int:
    """Steps in all with the first run's snapshots at these places: to the last of them, then of each stretch."""
    stretches = np.diff([*places, steps])
    return places[-1] + sum(least_steps(int(each), snapshots - i) for i, each in enumerate(stretches))


def ends_of(snapshots: int) -> Iterator[tuple[int, list[int]]]:
    """Of a loop that may end anywhere: some numbers of steps, and where the snapshots then are."""
    strides = DoublingStrides(snapshots)
    most = min(snapshots * snapshots, 40_000)
    for step in range(most):
        strides.slot(step)
        if step > 4 * snapshots and step % (most // 40) == 0:
            yield step + 1, sorted(each for each in strides.positions if each >= 0)


@pytest.mark.parametrize("snapshots", [1, 2, 16, 64, 256])
def test_without_knowing_the_end_snapshots_stand_at_one_stride_that_fills_half_of_the_slots(snapshots: int) -> None:
    strides = DoublingStrides(snapshots)
    for step in range(10 * snapshots):
        slot = strides.slot(step)
        positions = strides.positions
        assert len(positions) == snapshots
        assert slot is None or positions[slot] == step
        held = sorted(each for each in positions if each >= 0)
        assert held[0] == 0
        assert len(held) > min(step, snapshots // 2 - 1)
        stride = held[1] if len(held) > 1 else held[0]
        assert held == [k * stride for k in range(len(held))]
        assert step - held[-1] < max(stride, 1) or len(held) == 1


@pytest.mark.parametrize("snapshots", [16, 64, 256])
def test_without_knowing_the_end_it_is_never_more_than_one_run_from_the_optimum(snapshots: int) -> None:
    """At every end, not only at the last; and within 8 % on average. A replay may begin again from the first one."""
    ratios = []
    for steps, positions in ends_of(snapshots):
        to_the_end = steps - positions[-1]
        from_the_first = steps + least_steps(steps, snapshots)
        total = min(total_steps(positions, steps, snapshots) + to_the_end, from_the_first)
        ratios.append(total / least_steps(steps, snapshots))
        assert total <= least_steps(steps, snapshots) + steps
    assert np.mean(ratios) <= 1.08


# the pass

PROGRAMS: dict[str, tuple[Transform, ...]] = {
    "gradient": (Grad((0, 1)),),
    "forward over reverse": (Grad((0, 1)), Jacobian((0,), JacobianMode.FORWARD)),
    "reverse over reverse": (Grad((0, 1)), Jacobian((0,), JacobianMode.REVERSE)),
}


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
@pytest.mark.parametrize("transforms", PROGRAMS.values(), ids=PROGRAMS.keys())
def test_under_any_budget_derivatives_are_the_same(example: Example, transforms: tuple[Transform, ...]) -> None:
    whole = prune_all(apply(example.graph, transforms))
    points = [[np.asarray(x, dtype=np.float64) for x in point] for point in example.points]
    stacks = [np.stack([point[i] for point in points]) for i in range(len(points[0]))]
    expected = [run(whole, *point) for point in points]
    for budget in (0, 16, 40, 100):
        graph = keep_snapshots(whole, budget)
        verify(graph)
        for point, results in zip(points, expected, strict=True):
            same(run(graph, *point), results)
        batched = optimise(batch(graph, Layout()))
        verify(batched)
        decoded = decode_graph(encode_graph(batched))
        assert decoded.hash == batched.hash
        found = compile(decoded).run(stacks, len(points))
        for row, results in enumerate(expected):
            same([each[row] for each in found], results)


def same(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
    for got, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-10, atol=1e-12)


def test_rows_of_different_lengths_are_replayed_each_to_its_own_end() -> None:
    def function(w: Value, x: Value) -> Value:
        (last,) = while_loop(lambda w, c: c < 100.0, lambda w, c: c * w + sin(c), [w], [x], max_steps=400)
        return last * w

    graph = graph_of(function, F64, F64)
    rows = np.random.default_rng(1).uniform(1.02, 2.5, 30), np.random.default_rng(2).uniform(0.5, 120.0, 30)
    for transforms in (*PROGRAMS.values(), (Grad((0, 1)), Vmap(2, (-1, -1)))):
        plain = prepare(Program(graph, transforms), Layout())
        for budget in (1, 24, 200):
            kept = prepare(Program(graph, transforms, snapshot_bytes=budget), Layout())
            same(compile(kept.graph).run(rows, 30), compile(plain.graph).run(rows, 30))
            assert "replay" in all_operations(kept.graph)


def all_operations(graph: Graph) -> set[str]:
    found = {node.op.name for node in graph.nodes}
    return found.union(*(all_operations(sub) for node in graph.nodes for sub in node.subgraphs))


def test_the_budget_is_shared_and_small_loops_keep_their_tapes() -> None:
    """A loop of 10 steps and one of 1,000: under a budget for the former and a little, only the latter is replayed."""

    def function(x: Value) -> Value:
        (a,) = scan(lambda c: sin(c), [], [x], [], 10)
        (b,) = scan(lambda c: sin(c) * c, [], [a], [], 1000)
        return b

    graph = prune_all(apply(graph_of(function, F64), (Grad((0,)),)))
    names = [node.op.name for node in keep_snapshots(graph, 400).nodes]
    assert names.count("replay") == 1
    assert names.count("scan") == 3
    assert keep_snapshots(graph, 10_000) is graph


def test_a_record_that_is_also_asked_for_is_kept_whole() -> None:
    """A while that records one carry for the caller and, differentiated, another for reverse mode."""

    def function(x: Value) -> list[Value]:
        attributes = While(condition_constants=0, body_constants=0, max_steps=5, counted=True, recorded=(0,))
        condition = graph_of(lambda c, d: c < 3.0, F64, F64)
        body = graph_of(lambda c, d: [c + 1.0, sin(d) * d], F64, F64)
        start = x.builder.constant(np.asarray(0.5))
        _, last, _, record = x.builder.emit_all("while", [start, x], attributes, [condition, body])
        return [last, record]

    whole = prune_all(apply(graph_of(function, F64), (Grad((0,), keep_value=True),)))
    expected = run(whole, 1.3)
    assert expected[2].tolist() == [0.5, 1.5, 2.5, 0.0, 0.0]
    for budget in (0, 8, 100):
        graph = keep_snapshots(whole, budget)
        verify(graph)
        same(run(graph, 1.3), expected)


# the promise: a long loop in little memory

STATE, STEPS, BUDGET = 64, 100_000, 128 << 10


def long_scan(steps: int) -> Graph:
    def function(w: Value, x: Value) -> Value:
        return sum_over(scan(lambda w, c: sin(c * w) + c * 0.5, [w], [x], [], steps)[0], [0])

    return graph_of(function, f64(STATE), f64(STATE))


def long_while(steps: int) -> Graph:
    """Ends by itself after `steps` steps, of which only the run knows."""

    def function(w: Value, x: Value) -> Value:
        def body(w: Value, c: Value, i: Value) -> list[Value]:
            return [sin(c * w) + c * 0.5, i + 1.0]

        start = x.builder.constant(np.asarray(0.0))
        return sum_over(while_loop(lambda w, c, i: i < float(steps), body, [w], [x, start], 4 * steps)[0], [0])

    return graph_of(function, f64(STATE), f64(STATE))


@contextmanager
def counting_steps() -> Iterator[Counter[int]]:
    """How often each body has run."""
    counts: Counter[int] = Counter()
    original = body._BodySteps.run

    def counted(self: Any, *arguments: Any) -> Any:
        counts[id(self)] += 1
        return original(self, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(body._BodySteps, "run", counted)
        yield counts


def prepared(graph: Graph, budget: int) -> Prepared:
    return prepare(Program(graph, (Grad((0, 1), True),), snapshot_bytes=budget), Layout(shared_inputs=(0, 1)))


W, X = np.linspace(0.5, 1.5, STATE), np.linspace(-1.0, 1.0, STATE)


def check_long_loop(
    graph: Graph, steps: int, budget: int, forward_runs: Callable[[list[int]], int], most: float
) -> None:
    """The gradient is that without a budget; steps are at most so many times the optimum; bytes within 20 % of the
    bound."""
    program = prepared(graph, budget)
    executable = compile(program.graph)
    with counting_steps() as counts:
        found = executable.run([W, X], 1)
    state = STATE * 8 + (8 if "while" in all_operations(program.graph) else 0)
    optimum = least_steps(steps, budget // state)
    assert optimum > 1.5 * steps
    assert forward_runs(sorted(counts.values())) <= most * optimum
    expected = compile(prepared(graph, 1 << 40).graph).run([W, X], 1)
    same(found, expected)
    tracemalloc.start()
    try:
        executable.run([W, X], 1)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    bound = program.cost.bytes.at(1)
    assert peak <= 1.2 * bound
    assert peak >= 0.8 * bound


def of_scan(runs: list[int]) -> int:
    """The loop's own run and the steps that are run again; besides them there is the scan backwards."""
    once, backwards, again = runs
    assert once == backwards
    return once + again


def of_while(runs: list[int]) -> int:
    """As for a scan; besides them the condition has run."""
    once, backwards, conditions, again = runs
    assert once == backwards == conditions - 1
    return once + again


def test_a_scan_is_differentiated_within_its_budget() -> None:
    check_long_loop(long_scan(4_000), 4_000, 40 * STATE * 8, of_scan, 1.05)


def test_a_while_is_differentiated_within_its_budget() -> None:
    check_long_loop(long_while(4_000), 4_000, 40 * (STATE * 8 + 8), of_while, 1.15)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_scan_of_a_hundred_thousand_steps_needs_128_kilobytes() -> None:
    check_long_loop(long_scan(STEPS), STEPS, BUDGET, of_scan, 1.05)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_while_of_a_hundred_thousand_steps_needs_128_kilobytes() -> None:
    check_long_loop(long_while(STEPS), STEPS, BUDGET, of_while, 1.15)
