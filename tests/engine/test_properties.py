"""What holds for every graph, on random ones over all ops.

Two hundred examples of each property usually, ten thousand with the long tests; always the same ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.kit.engine.building import run
from tests.kit.engine.graphs import graphs, points
from tests.kit.engine.recipes import RECIPES

from gradwire.wire.programs import decode_graph, decode_program, encode_graph, encode_program
from gradwire_engine.errors import EngineError
from gradwire_engine.execute.numpy.executable import compile
from gradwire_engine.graph import Graph
from gradwire_engine.ops.table import OPS
from gradwire_engine.passes.contract import contract
from gradwire_engine.passes.fold import fold
from gradwire_engine.passes.inline import inline_calls
from gradwire_engine.passes.loops.hoist import hoist
from gradwire_engine.passes.loops.lower import lower
from gradwire_engine.passes.loops.prune import prune
from gradwire_engine.passes.pipeline import after_differentiation, before_differentiation, optimise
from gradwire_engine.passes.simplify import simplify
from gradwire_engine.prepare import prepare
from gradwire_engine.program import Grad, Jacobian, JacobianMode, Jvp, Layout, Program, Transform, Vjp, Vmap
from gradwire_engine.transform import apply
from gradwire_engine.transforms.jacobian import jacobian_forward, jacobian_reverse
from gradwire_engine.transforms.jvp import jvp
from gradwire_engine.transforms.reverse import vjp
from gradwire_engine.transforms.vmap import batch, vmap
from gradwire_engine.types import DType, TensorType
from gradwire_engine.verify import verify

LIMIT = 100_000
EXACT = (DType.FLOAT64, DType.INT64, DType.BOOL)
"""Element types in which two roads to one number are compared: float32 would need tolerances that hide mistakes."""

MANY = pytest.param(10_000, marks=[pytest.mark.long, pytest.mark.timeout(3600)])

often = pytest.mark.parametrize("examples", [200, MANY])


def holds(examples: int, *strategies: st.SearchStrategy[Any]) -> Callable[[Callable[..., None]], None]:
    """Run a property on so many examples."""

    def check(body: Callable[..., None]) -> None:
        settings(
            max_examples=examples,
            derandomize=True,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )(given(*strategies)(body))()

    return check


def close(found: list[np.ndarray], expected: list[np.ndarray], what: object, tolerance: float = 1e-9) -> None:
    """Equal to rounding, relative to the largest element; nan and infinities at the same places."""
    for got, wanted in zip(found, expected, strict=True):
        assert got.shape == wanted.shape
        assert got.dtype == wanted.dtype
        scale = np.max(np.abs(wanted), initial=1.0, where=np.isfinite(wanted)) if wanted.dtype.kind == "f" else 0.0
        np.testing.assert_allclose(got, wanted, rtol=tolerance, atol=tolerance * scale, err_msg=str(what))


def seeds_of(graph: Graph, count: int, seed: int = 0) -> list[np.ndarray]:
    """Random arrays for the last inputs of a graph."""
    rng = np.random.default_rng(seed)
    types = graph.input_types[len(graph.inputs) - count :]
    return [np.asarray(rng.standard_normal(type.shape)).astype(type.dtype.numpy) for type in types]


def require_same(found: Graph, expected: Graph) -> None:
    """Equal in structure and names; but names inside of subgraphs, which travel once for all of one structure."""
    assert found.hash == expected.hash
    assert found.types == expected.types
    assert (found.inputs, found.output_names) == (expected.inputs, expected.output_names)


def floating_inputs(graph: Graph) -> list[int]:
    return [i for i, type in enumerate(graph.input_types) if type.dtype.is_floating]


def test_the_strategy_knows_every_op() -> None:
    assert RECIPES.keys() == OPS.keys() - {"barrier", "replay"}


def test_the_strategy_uses_every_op() -> None:
    used = set()

    @holds(2_000, graphs())
    def _(graph: Graph) -> None:
        used.update(node.op.name for node in graph.nodes)

    assert used == RECIPES.keys()


@often
def test_graphs_are_sound_and_so_is_what_transforms_make_of_them(examples: int) -> None:
    @holds(examples, graphs(differentiable=True))
    def _(graph: Graph) -> None:
        verify(graph)
        flat = inline_calls(graph, LIMIT)
        verify(flat)
        varied = floating_inputs(flat)
        for transformed in (jvp(flat, varied), vjp(flat, varied), vmap(flat, 2, [0] * len(flat.inputs))):
            verify(transformed)
            verify(before_differentiation(transformed))
            batched = batch(transformed, Layout())
            verify(batched)
            verify(optimise(batched))


@often
def test_encoding_and_decoding_is_the_identity(examples: int) -> None:
    @holds(examples, graphs(), st.sampled_from([(), (Jvp(()),), (Vmap(2, (0,), (0,)), Grad((0,), True))]))
    def _(graph: Graph, transforms: tuple[Transform, ...]) -> None:
        program = Program(graph, transforms)
        data = encode_program(program)
        decoded = decode_program(data)
        require_same(decoded.graph, graph)
        assert decoded.transforms == transforms
        assert encode_program(decoded) == data


@often
def test_prepared_graphs_travel_between_processes(examples: int) -> None:
    @holds(examples, graphs(differentiable=True))
    def _(graph: Graph) -> None:
        prepared = prepare(Program(graph, (Jvp((0,)),)), Layout()).graph
        decoded = decode_graph(encode_graph(prepared))
        require_same(decoded, prepared)


PASSES = (simplify, fold, contract, hoist, prune, lower, before_differentiation, optimise)
EARLY = (simplify, fold, hoist, before_differentiation)
"""Those that run, or may, on a graph that will be differentiated."""
SNAPSHOT_BYTES = 32
"""Of the carries of a loop: so few that most are computed again."""


@often
def test_passes_preserve_values(examples: int) -> None:
    @holds(examples, st.data())
    def _(data: st.DataObject) -> None:
        graph = data.draw(graphs(tame=True, dtypes=EXACT))
        point = data.draw(points(graph))
        flat = inline_calls(graph, LIMIT)
        expected = run(flat, *point)
        for improve in PASSES:
            better = improve(flat)
            verify(better)
            close(run(better, *point), expected, f"{improve.__name__} of\n{graph}")


@often
def test_passes_around_differentiation_preserve_derivatives(examples: int) -> None:
    @holds(examples, st.data())
    def _(data: st.DataObject) -> None:
        graph = inline_calls(data.draw(graphs(tame=True, dtypes=EXACT, differentiable=True)), LIMIT)
        point = data.draw(points(graph))
        varied = floating_inputs(graph)
        derivative = vjp(graph, varied)
        seeds = seeds_of(derivative, len(graph.outputs))
        expected = run(derivative, *point, *seeds)
        for improve in EARLY:
            found = vjp(improve(graph), varied)
            close(run(found, *point, *seeds), expected, f"{improve.__name__} of\n{graph}")
        frugal = after_differentiation(derivative, SNAPSHOT_BYTES)
        close(run(frugal, *point, *seeds), expected, f"few snapshots of\n{graph}")


@often
def test_forward_mode_and_reverse_mode_agree(examples: int) -> None:
    @holds(examples, st.data())
    def _(data: st.DataObject) -> None:
        graph = inline_calls(data.draw(graphs(tame=True, dtypes=EXACT, differentiable=True, max_nodes=6)), LIMIT)
        point = data.draw(points(graph))
        varied = floating_inputs(graph)
        forward = run(jacobian_forward(graph, varied), *point)
        reverse = run(jacobian_reverse(graph, varied), *point)
        for each, other in zip(forward, reverse, strict=True):
            finite = np.isfinite(each) & np.isfinite(other)
            close([np.where(finite, other, 0.0)], [np.where(finite, each, 0.0)], graph)


@often
def test_rows_at_once_are_rows_one_by_one(examples: int) -> None:
    rows = 3

    @holds(examples, st.data())
    def _(data: st.DataObject) -> None:
        graph = data.draw(graphs(tame=True, dtypes=EXACT))
        inputs = range(len(graph.inputs))
        shared = tuple(i for i in inputs if data.draw(st.booleans()))
        summed = tuple(
            i for i, type in enumerate(graph.output_types) if type.dtype is not DType.BOOL and data.draw(st.booleans())
        )
        stacks = data.draw(points(graph, rows=rows))
        arrays = [stack[0] if i in shared else stack for i, stack in enumerate(stacks)]
        flat = inline_calls(graph, LIMIT)
        each = [run(flat, *[x if i in shared else x[row] for i, x in enumerate(arrays)]) for row in range(rows)]
        expected = [np.stack(outputs) for outputs in zip(*each, strict=True)]
        with np.errstate(all="ignore"):
            wanted = [
                np.sum(stack, axis=0, dtype=stack.dtype) if i in summed else stack for i, stack in enumerate(expected)
            ]
        prepared = prepare(Program(graph), Layout(shared_inputs=shared, summed_outputs=summed)).graph
        close(run(prepared, *arrays, rows=rows), wanted, graph)


@often
def test_a_static_axis_and_the_batch_give_the_same(examples: int) -> None:
    size = 2

    @holds(examples, st.data())
    def _(data: st.DataObject) -> None:
        graph = inline_calls(data.draw(graphs(tame=True, dtypes=EXACT, differentiable=True)), LIMIT)
        point = data.draw(points(graph, rows=size))
        pushed = jvp(graph, floating_inputs(graph))
        moves = seeds_of(vmap(pushed, size, [0] * len(pushed.inputs)), len(pushed.inputs) - len(graph.inputs))
        static = run(vmap(pushed, size, [0] * len(pushed.inputs)), *point, *moves)
        symbolic = run(batch(pushed, Layout()), *point, *moves, rows=size)
        close(symbolic, static, graph)


@often
def test_derivatives_on_an_axis_within_the_batch_are_those_of_single_points(examples: int) -> None:
    size, rows = 2, 2

    @holds(max(examples // 2, 1), st.data())
    def _(data: st.DataObject) -> None:
        graph = inline_calls(data.draw(graphs(tame=True, dtypes=EXACT, differentiable=True, max_nodes=6)), LIMIT)
        pulled = vjp(graph, floating_inputs(graph))
        inputs = range(len(pulled.inputs))
        mapped = [data.draw(st.booleans()) for _ in inputs]
        shared = tuple(i for i in inputs if data.draw(st.booleans()))
        point = data.draw(points(graph, rows=rows * size))
        point += seeds_of(vmap(pulled, rows * size, [0] * len(pulled.inputs)), len(pulled.inputs) - len(point))
        grid = [np.asarray(stack.reshape(rows, size, *stack.shape[1:])) for stack in point]
        arrays = [x if mapped[i] else x[:, 0] for i, x in enumerate(grid)]
        arrays = [x[0] if i in shared else x for i, x in enumerate(arrays)]

        def single(row: int, column: int) -> list[np.ndarray]:
            by_row = [x if i in shared else x[row] for i, x in enumerate(arrays)]
            return run(pulled, *[x[column] if mapped[i] else x for i, x in enumerate(by_row)])

        each = [[single(row, column) for column in range(size)] for row in range(rows)]
        expected = [
            np.stack([np.stack([found[output] for found in columns]) for columns in each])
            for output in range(len(pulled.outputs))
        ]
        program = Program(pulled, (Vmap(size, tuple(0 if has else -1 for has in mapped)),))
        prepared = prepare(program, Layout(shared_inputs=shared)).graph
        close(run(prepared, *arrays, rows=rows), expected, graph)


@often
def test_every_graph_has_a_result_for_every_input(examples: int) -> None:
    """Infinities, nan, extreme integers, indices out of range: no exception, no warning, and the types as announced."""
    rows = 2

    @holds(examples, st.data())
    def _(data: st.DataObject) -> None:
        graph = inline_calls(data.draw(graphs(differentiable=True)), LIMIT)
        point = data.draw(points(graph, special=True, rows=rows))
        varied = floating_inputs(graph)
        for transformed in (graph, jvp(graph, varied), vjp(graph, varied)):
            batched = batch(transformed, Layout())
            everything = [0] * len(transformed.inputs)
            seeds = seeds_of(vmap(transformed, rows, everything), len(everything) - len(point))
            for each in (batched, optimise(batched)):
                found = compile(each).run([*point, *seeds], rows)
                assert [TensorType.of(array) for array in found] == [type.with_rows(rows) for type in each.output_types]


@often
def test_second_derivatives_agree_in_all_modes(examples: int) -> None:
    @holds(max(examples // 4, 1), st.data())
    def _(data: st.DataObject) -> None:
        dtypes = (DType.FLOAT64, DType.BOOL)
        graph = data.draw(graphs(tame=True, dtypes=dtypes, differentiable=True, max_nodes=4, max_outputs=1))
        point = data.draw(points(graph))
        modes = (JacobianMode.FORWARD, JacobianMode.REVERSE)
        found = [
            run(apply(graph, [Jacobian((0,), inner), Jacobian((0,), outer)]), *point)[0]
            for inner in modes
            for outer in modes
        ]
        finite = np.logical_and.reduce([np.isfinite(each) for each in found])
        for each in found[1:]:
            close([np.where(finite, each, 0.0)], [np.where(finite, found[0], 0.0)], graph, 1e-8)


@often
def test_programs_with_any_transforms_are_prepared_or_refused(examples: int) -> None:
    indices = st.lists(st.integers(0, 3), max_size=3).map(tuple)
    transforms = st.one_of(
        st.builds(Jvp, indices),
        st.builds(Vjp, indices),
        st.builds(Grad, indices, st.booleans()),
        st.builds(Jacobian, indices, st.sampled_from(JacobianMode)),
        st.builds(Vmap, st.integers(0, 3), st.lists(st.integers(-1, 2), max_size=4).map(tuple)),
    )

    reasons = set()

    @holds(examples, graphs(max_nodes=4, max_outputs=2), st.lists(transforms, max_size=2).map(tuple))
    def _(graph: Graph, asked: tuple[Transform, ...]) -> None:
        try:
            prepared = prepare(Program(graph, asked), Layout())
        except EngineError as refused:
            reasons.add(refused.reason)
        else:
            verify(prepared.graph)
            assert len(prepared.outputs) == len(prepared.graph.outputs)
            reasons.add("none")

    assert reasons - {"PROGRAM_TOO_EXPENSIVE"} == {"INVALID_GRAPH", "none"}
