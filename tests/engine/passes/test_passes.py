"""Passes: what they make simpler, what they leave alone on purpose, and that nobody can tell."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from tests.kit.engine.building import F64, f64, graph_of, operations, run
from tests.kit.engine.corners import CORNERS, Corner, at_point
from tests.kit.engine.network import NETWORK, network_point, small_network

from gradwire_engine.attributes import Axes, DotGeneral, Iota
from gradwire_engine.builder import GraphBuilder
from gradwire_engine.execute.numpy.executable import compile
from gradwire_engine.graph import Graph
from gradwire_engine.passes.contract import contract
from gradwire_engine.passes.fold import BUDGET, SMALL, fold
from gradwire_engine.passes.inline import inline_calls
from gradwire_engine.passes.pipeline import before_differentiation, optimise
from gradwire_engine.passes.simplify import simplify
from gradwire_engine.prepare import prepare
from gradwire_engine.program import Grad, Jvp, Layout, Program
from gradwire_engine.transforms.jacobian import jacobian_forward, jacobian_reverse
from gradwire_engine.transforms.vmap import batch
from gradwire_engine.types import ROWS, DType, TensorType
from gradwire_engine.value import Value
from gradwire_engine.verify import verify
from gradwire_engine.vocabulary import (
    any_over,
    astype,
    broadcast_to,
    concat,
    dot_general,
    exp,
    flip,
    integer_power,
    iota,
    log,
    masked_multiply,
    max_over,
    pad,
    permute_dims,
    prod_over,
    reshape,
    sin,
    slice_of,
    softmax,
    sqrt,
    square,
    sum_over,
    true,
    where,
)

BEFORE: dict[str, Callable[[Graph], Graph]] = {
    "simplify": simplify,
    "fold": lambda graph: fold(graph, ("numpy",)),
    "both": before_differentiation,
}
AFTER = BEFORE | {"contract": contract, "optimise": optimise}

BOOLS = TensorType(DType.BOOL, (2, 3))


def negative(x: Value) -> Value:
    return -x


def wrapped(function: Callable[..., Value]) -> Callable[..., Value]:
    """The function among identities that passes know how to remove."""

    def disguised(*inputs: Value) -> Value:
        plain = []
        for x in inputs:
            same = reshape(reshape(x, (1, *x.shape)), x.shape)
            same = negative(negative(same * 1.0 / 1.0))
            same = where(true(x.builder, x.shape), same, x.like(7.0) * 3.0)
            plain.append(astype(same, x.dtype))
        result = function(*plain)
        everywhere = true(result.builder, result.shape)
        return masked_multiply(result, result.like(2.0) * 0.5, everywhere, everywhere)

    return disguised


# What becomes simpler


@pytest.mark.parametrize(
    ("function", "remaining"),
    [
        (lambda x, c: x * 1.0, []),
        (lambda x, c: 1.0 * x, []),
        (lambda x, c: x * -1.0, ["negative"]),
        (lambda x, c: x / 1.0, []),
        (lambda x, c: negative(negative(x)), []),
        (lambda x, c: ~~c, []),
        (lambda x, c: c & true(c.builder, c.shape), []),
        (lambda x, c: c & c, []),
        (lambda x, c: c | ~true(c.builder, c.shape), []),
        (lambda x, c: where(true(c.builder, c.shape), x, sin(x)), []),
        (lambda x, c: where(c, x, x), []),
        (lambda x, c: masked_multiply(x, sin(x), true(c.builder, c.shape), true(c.builder, c.shape)),
         ["sin", "multiply"]),
        (lambda x, c: masked_multiply(x, sin(x), true(c.builder, c.shape), ~true(c.builder, c.shape)),
         ["constant"]),
        (lambda x, c: reshape(reshape(x, (6,)), (3, 2)), ["reshape"]),
        (lambda x, c: reshape(reshape(x, (6,)), (2, 3)), []),
        (lambda x, c: broadcast_to(broadcast_to(x, (4, 2, 3)), (5, 4, 2, 3)), ["broadcast_to"]),
        (lambda x, c: permute_dims(permute_dims(x, (1, 0)), (1, 0)), []),
        (lambda x, c: slice_of(x, [0, 0], [2, 3]), []),
        (lambda x, c: pad(x, [0, 0], [0, 0]), []),
        (lambda x, c: x.emit("flip", attributes=Axes(())), []),
        (lambda x, c: x.emit("sum", attributes=Axes(())), []),
        (lambda x, c: x.emit("max", attributes=Axes(())), []),
        (lambda x, c: concat([x], 0), []),
        (lambda x, c: any_over(true(c.builder, c.shape), [0]), ["constant"]),
        (lambda x, c: x * (x.like(4.0) / x.like(2.0) - x.like(1.0)), []),
    ],
)  # fmt: skip
def test_identities_disappear(function: Callable[..., Value], remaining: list[str]) -> None:
    graph = graph_of(function, f64(2, 3), BOOLS, names="xc")
    better = graph
    for _ in range(3):
        better = before_differentiation(better)
    verify(better)
    assert operations(better) == remaining
    rng = np.random.default_rng(0)
    point = [rng.standard_normal((2, 3)), rng.random((2, 3)) < 0.5]
    np.testing.assert_array_equal(run(better, *point)[0], run(graph, *point)[0])


@pytest.mark.parametrize(
    "function",
    [
        lambda x, c: x + 0.0,  # turns -0.0 into 0.0
        lambda x, c: x - 0.0,
        lambda x, c: x * 0.0,  # hides nan and inf
        lambda x, c: x - x,
        lambda x, c: x / x,
        lambda x, c: x * 2.0,
        lambda x, c: where(c, x, 0.0),
        lambda x, c: (x + 1e20) - 1e20,
        lambda x, c: square(sqrt(x)),
        lambda x, c: log(exp(x)),
        lambda x, c: x.emit("maximum", x),
        lambda x, c: integer_power(x, 1),
        lambda x, c: x.emit("stop_gradient"),
        lambda x, c: masked_multiply(x, x, c, c),
    ],
)
def test_what_would_change_a_bit_or_a_derivative_stays(function: Callable[..., Value]) -> None:
    graph = graph_of(function, f64(2, 3), BOOLS, names="xc")
    assert [name for name in operations(optimise(graph)) if name not in ("constant", "broadcast_to")] == [
        name for name in operations(graph) if name not in ("constant", "broadcast_to")
    ]
    extremes = [[0.0, -0.0, np.inf], [-np.inf, np.nan, 1e-300]]
    point = [extremes, [[True, False, True]] * 2]
    (before,), (after,) = run(graph, *point), run(optimise(graph), *point)
    np.testing.assert_array_equal(after, before)
    np.testing.assert_array_equal(np.signbit(after), np.signbit(before))


@pytest.mark.parametrize("name", ["x + 0.0", "x * 1.0"])
def test_negative_zero_survives(name: str) -> None:
    graph = graph_of((lambda x: x + 0.0) if name == "x + 0.0" else (lambda x: x * 1.0), F64)
    (found,) = run(optimise(graph), -0.0)
    assert np.signbit(found) == (name == "x * 1.0")


# What nobody can tell


@pytest.mark.parametrize("name", AFTER)
def test_passes_preserve_values(name: str) -> None:
    for graph in (graph_of(small_network, *NETWORK), graph_of(wrapped(small_network), *NETWORK)):
        better = AFTER[name](graph)
        verify(better)
        point = network_point()
        np.testing.assert_allclose(run(better, *point), run(graph, *point), rtol=1e-14)


@pytest.mark.parametrize("corner", CORNERS, ids=lambda corner: corner.case)
def test_passes_before_differentiation_preserve_derivatives_at_every_corner(corner: Corner) -> None:
    graph, point = at_point(corner)
    disguised = graph_of(wrapped(corner.function), *graph.input_types)
    inputs = range(len(point))
    for mode in (jacobian_forward, jacobian_reverse):
        plain = run(mode(graph, inputs), *point)
        for name, simpler in BEFORE.items():
            for each in (graph, disguised):
                better = run(mode(simpler(each), inputs), *point)
                for found, expected in zip(better, plain, strict=True):
                    np.testing.assert_array_equal(found, expected, err_msg=f"{mode.__name__}, {name}")


@pytest.mark.parametrize("corner", CORNERS, ids=lambda corner: corner.case)
def test_second_derivatives_at_corners_survive_passes_before_and_in_between(corner: Corner) -> None:
    graph, point = at_point(corner)
    inputs = range(len(point))
    for inner in (jacobian_forward, jacobian_reverse):
        for outer in (jacobian_forward, jacobian_reverse):
            plain = run(outer(inner(graph, inputs), inputs), *point)
            for name, simpler in BEFORE.items():
                passed = run(outer(simpler(inner(simpler(graph), inputs)), inputs), *point)
                for found, expected in zip(passed, plain, strict=True):
                    what = f"{outer.__name__} over {inner.__name__}, {name}"
                    np.testing.assert_array_equal(found, expected, err_msg=what)


@pytest.mark.parametrize("name", AFTER)
def test_a_graph_with_nothing_to_do_is_returned_as_it_is(name: str) -> None:
    graph = graph_of(lambda x, y: sin(x) * y, F64, F64)
    assert AFTER[name](graph) is graph


def test_optimising_again_changes_nothing() -> None:
    graph = prepare(Program(graph_of(small_network, *NETWORK), (Grad((0, 1)),)), Layout()).graph
    assert str(optimise(graph)) == str(graph)


def test_names_survive_passes() -> None:
    builder = GraphBuilder()
    x = builder.input("weight", f64(2))
    graph = builder.finish([negative(negative(x)), sum_over(x * 1.0, [0])], ["same", "total"])
    better = optimise(graph)
    assert [one.name for one in better.inputs] == ["weight"]
    assert better.output_names == ("same", "total")


# Contraction


def affine(w: Value, b: Value, x: Value) -> Value:
    return dot_general(w, x, DotGeneral((1,), (0,))) + b


def logistic_loss(w: Value, b: Value, x: Value, y: Value) -> Value:
    z = affine(w, b, x)
    return sum_over(z.emit("softplus") - z * y, [0])


LOGISTIC = (f64(5, 7), f64(5), f64(7), f64(5))
TRAINING = Layout(shared_inputs=(0, 1), summed_outputs=(0, 1, 2))


def widest_row(graph: Graph) -> int:
    """The largest number of elements that a row has in any value but the inputs."""
    return max(type.elements for type in graph.types[len(graph.inputs) :] if type.is_batched)


def test_the_training_gradient_is_one_matrix_product() -> None:
    """Σᵢ ∇f(w, xᵢ): row by row it is an outer product, and none is ever made."""
    program = Program(graph_of(logistic_loss, *LOGISTIC, names="wbxy"), (Grad((0, 1), keep_value=True),))
    graph = prepare(program, TRAINING).graph
    verify(graph)
    assert operations(graph).count("dot_general") == 2  # one forward, one for the gradient
    assert "masked_multiply" not in operations(graph)
    assert widest_row(graph) == 5
    stacked = prepare(program, Layout(shared_inputs=(0, 1))).graph
    assert widest_row(stacked) == 35

    rng = np.random.default_rng(1)
    rows = 6
    w, b, x, y = (rng.standard_normal(shape) for shape in ((5, 7), (5,), (rows, 7), (rows, 5)))
    summed, each = run(graph, w, b, x, y, rows=rows), run(stacked, w, b, x, y, rows=rows)
    for total, one_by_one in zip(summed, each, strict=True):
        np.testing.assert_allclose(total, one_by_one.sum(axis=0), rtol=1e-13)


def test_both_layers_of_a_network_train_without_outer_products() -> None:
    def loss(w1: Value, b1: Value, w2: Value, b2: Value, x: Value, y: Value) -> Value:
        hidden = affine(w1, b1, x).emit("relu")
        return sum_over(square(affine(w2, b2, hidden) - y), [0])

    types = (f64(8, 6), f64(8), f64(3, 8), f64(3), f64(6), f64(3))
    names = ["w1", "b1", "w2", "b2", "x", "y"]
    program = Program(graph_of(loss, *types, names=names), (Grad((0, 1, 2, 3)),))
    layout = Layout(shared_inputs=(0, 1, 2, 3), summed_outputs=(0, 1, 2, 3))
    graph = prepare(program, layout).graph
    assert operations(graph).count("dot_general") == 5  # two forward, two for the weights, one for the hidden layer
    assert widest_row(graph) == 8


@pytest.mark.parametrize(
    ("function", "types", "contracted"),
    [
        (lambda x, y: sum_over(dot_general(x, y, DotGeneral((2,), (2,), (0,), (0,))), [0]),
         (f64(4, 2, 3), f64(4, 5, 3)), True),
        (lambda x, y: sum_over(dot_general(x, y, DotGeneral((2,), (2,), (0,), (0,))), [0, 1]),
         (f64(4, 2, 3), f64(4, 5, 3)), True),
        (lambda x, y: sum_over(dot_general(x, y, DotGeneral((3,), (3,), (1, 0), (0, 1))), [1]),
         (f64(2, 4, 5, 3), f64(4, 2, 6, 3)), True),
        (lambda x, y: sum_over(broadcast_to(reshape(x, (4, 2, 1)), (4, 2, 3)) * broadcast_to(
            reshape(y, (4, 1, 3)), (4, 2, 3)), [0]), (f64(4, 2), f64(4, 3)), True),
        (lambda x, y: sum_over(x * broadcast_to(reshape(y, (4, 1)), (4, 2)), [0]), (f64(4, 2), f64(4)), True),
        (lambda x, y: sum_over(x * broadcast_to(y, (3, 4, 2)), [2]), (f64(3, 4, 2), f64(4, 2)), True),
        (lambda x, y: sum_over(permute_dims(dot_general(x, y, DotGeneral((2,), (2,), (0,), (0,))), (1, 2, 0)), [2]),
         (f64(4, 2, 3), f64(4, 5, 3)), True),
        (lambda x, y: sum_over(reshape(permute_dims(dot_general(x, y, DotGeneral((3,), (3,), (0, 1), (0, 1))),
            (0, 2, 3, 1)), (4, 30)), [0]), (f64(4, 2, 3, 2), f64(4, 2, 5, 2)), True),
        (lambda x, y: sum_over(reshape(dot_general(x, y, DotGeneral((2,), (2,), (0,), (0,))), (2, 20)), [0]),
         (f64(4, 2, 3), f64(4, 5, 3)), False),
        (lambda x, y: sum_over(dot_general(x, y, DotGeneral((1,), (0,))), [0]), (f64(4, 2), f64(2, 3)), False),
        (lambda x, y: sum_over(x * y, [0]), (f64(4, 2), f64(4, 2)), False),
        (lambda x, y: sum_over(x * broadcast_to(y, (4, 2)), [0]), (f64(4, 2), f64(2)), False),
        (lambda x, y: sum_over(x * broadcast_to(reshape(y, (4, 1)), (4, 2)), [0, 1]), (f64(4, 2), f64(4)), False),
        (lambda x, y: sum_over(x + y, [0]), (f64(4, 2), f64(4, 2)), False),
    ],
)  # fmt: skip
def test_sums_of_products_become_contractions(
    function: Callable[..., Value], types: Sequence[TensorType], contracted: bool
) -> None:
    graph = graph_of(function, *types)
    better = contract(graph)
    verify(better)
    assert better.output_types == graph.output_types
    rng = np.random.default_rng(2)
    point = [rng.standard_normal(type.shape) for type in types]
    np.testing.assert_allclose(run(better, *point)[0], run(graph, *point)[0], rtol=1e-13, atol=1e-15)
    if contracted:
        assert operations(better).count("dot_general") == 1
        assert "multiply" not in operations(better)
        largest = max(type.elements for type in better.types[2:])
        assert largest <= max(type.elements for type in (*types, *graph.output_types))
    else:
        assert better is graph


def test_contracting_integers_wraps_as_their_sum_does() -> None:
    whole = TensorType(DType.INT32, (4, 2))
    graph = graph_of(
        lambda x, y: sum_over(x * broadcast_to(reshape(y, (4, 1)), (4, 2)), [0]), whole, TensorType(DType.INT32, (4,))
    )
    better = contract(graph)
    assert "dot_general" in operations(better)
    x, y = np.full((4, 2), 2**30), np.array([1, 2, 3, 5])
    np.testing.assert_array_equal(run(better, x, y)[0], run(graph, x, y)[0])


# Folding


def constants(graph: Graph) -> list[int]:
    """How many elements each constant has."""
    return [node.results[0].elements for node in graph.nodes if node.op.name == "constant"]


def test_what_depends_on_no_input_is_computed_once() -> None:
    graph = graph_of(lambda x: x * sin(exp(x.like(0.5)) + 1.0), F64)
    folded = fold(graph)
    assert operations(folded) == ["constant", "multiply"]
    assert run(folded, 3.0) == run(graph, 3.0) == [3.0 * np.sin(np.exp(0.5) + 1.0)]


def test_folding_makes_no_large_tables() -> None:
    small = graph_of(lambda x: x + broadcast_to(sin(x.builder.constant(np.arange(4.0))), x.shape), f64(2, 4))
    assert constants(fold(small)) == [8]
    large = graph_of(lambda x: x + broadcast_to(sin(x.builder.constant(np.arange(4.0))), x.shape), f64(SMALL, 4))
    assert constants(fold(large)) == [4]
    counting = graph_of(lambda x: x + sin(iota(x.builder, DType.FLOAT64, x.shape, 0)), f64(SMALL + 1))
    assert operations(fold(counting)) == operations(counting)


def test_a_large_constant_may_become_another_one_as_large() -> None:
    table = np.linspace(0.0, 1.0, 2 * SMALL)
    graph = graph_of(lambda x: x + sin(x.builder.constant(table)), f64(2 * SMALL))
    assert constants(fold(graph)) == [2 * SMALL]


def test_folding_has_a_budget() -> None:
    """A program of many small constant nodes does not make a large one of many small tables."""

    def function(x: Value) -> Value:
        counting = iota(x.builder, DType.FLOAT64, (SMALL,), 0)
        total = x
        for i in range(4 * BUDGET // SMALL):
            counting = counting + float(i)
            total = total + counting
        return total

    graph = graph_of(function, f64(SMALL))
    assert sum(constants(fold(graph))) <= BUDGET
    np.testing.assert_array_equal(run(fold(graph), np.zeros(SMALL))[0], run(graph, np.zeros(SMALL))[0])


def test_a_huge_constant_graph_is_not_evaluated_while_preparing() -> None:
    """10**12 elements: a type is nothing, an array would be terabytes."""
    huge = (1_000_000, 1_000_000)
    graph = graph_of(
        lambda x: sum_over(broadcast_to(x, huge) * sin(iota(x.builder, DType.FLOAT64, huge, 0)), [0, 1]), F64
    )
    prepared = prepare(Program(graph, (Grad((0,)),)), Layout())
    assert prepared.cost.flops.at(1) >= 10**12
    assert prepared.cost.bytes.at(1) >= 8 * 10**12


def test_scipy_is_used_for_folding_only_where_it_is_allowed() -> None:
    graph = graph_of(lambda x: x + x.like(0.5).emit("erf"), F64)
    assert operations(fold(graph, ("numpy",))) == operations(graph)
    assert operations(fold(graph)) == ["constant", "add"]


def test_stop_gradient_and_rows_are_not_folded() -> None:
    graph = graph_of(lambda x: x + x.like(0.5).emit("stop_gradient"), F64)
    assert operations(fold(graph)) == operations(graph)
    batched = batch(graph_of(lambda x: [x, sin(x.like(1.0))], F64), Layout())
    repeated = [type for type in fold(batched).output_types if type.shape == (ROWS,)]
    assert len(repeated) == 2


def test_folding_does_not_warn() -> None:
    graph = graph_of(lambda x: x + log(x.like(-1.0)) + x.like(1.0) / 0.0, F64)
    assert np.isnan(run(fold(graph), 0.0)[0])


# Programs made to be slow


def test_the_product_of_no_elements_of_something_huge() -> None:
    """Its derivative is a table of ones, which must not be made while preparing."""
    huge = 10**12
    graph = graph_of(lambda x: sum_over(prod_over(broadcast_to(x, (huge, 0)), [1]), [0]), f64(0))
    prepared = prepare(Program(graph, (Jvp((0,)),)), Layout())
    assert prepared.cost.bytes.at(1) >= 8 * huge


def test_a_product_of_very_many_elements_is_a_shallow_tree() -> None:
    graph = graph_of(lambda x: prod_over(broadcast_to(x, (2**16, 2**16)), [0, 1]), F64)
    prepared = prepare(Program(graph, (Grad((0,)),)), Layout())
    assert len(prepared.graph.nodes) < 1000


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Millions of objects and no garbage: as in the process that prepares programs."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collector")
def test_a_graph_50_000_nodes_deep_needs_no_recursion() -> None:
    def deep(x: Value) -> Value:
        for _ in range(25_000):
            x = sin(x * 0.999)
        return x

    graph = graph_of(deep, F64)
    assert len(graph.nodes) > 50_000
    verify(graph)
    assert len(str(graph).splitlines()) > 50_000
    prepared = prepare(Program(graph, (Grad((0,), keep_value=True),)), Layout())
    value, slope = compile(prepared.graph).run([np.array([0.5])], 1)

    x, expected = 0.5, 1.0
    for _ in range(25_000):
        expected *= 0.999 * np.cos(0.999 * x)
        x = np.sin(0.999 * x)
    np.testing.assert_allclose(value, [x], rtol=1e-10)
    np.testing.assert_allclose(slope, [expected], rtol=1e-6)


def test_calls_nested_in_calls_are_inlined_in_order() -> None:
    inner = graph_of(lambda x, y: [x + y, x * y], F64, F64)

    def middle(x: Value, y: Value) -> list[Value]:
        a, b = x.builder.emit_all("call", [x, y], subgraphs=[inner])
        return list(x.builder.emit_all("call", [b, a], subgraphs=[inner]))

    outer = graph_of(
        lambda x, y: list(x.builder.emit_all("call", [y, x], subgraphs=[graph_of(middle, F64, F64)])), F64, F64
    )
    flat = inline_calls(outer, 100)
    verify(flat)
    assert operations(flat) == ["add", "multiply", "add", "multiply"]
    assert run(flat, 2.0, 3.0) == [11.0, 30.0]


def test_an_iota_keeps_its_axis_through_passes() -> None:
    graph = graph_of(
        lambda x: permute_dims(x.builder.emit_all("iota", (), Iota(DType.FLOAT64, (2, 3), 1))[0] * x, (1, 0)), f64(2, 3)
    )
    np.testing.assert_array_equal(run(optimise(graph), np.ones((2, 3)))[0], [[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]])


def test_flips_and_selections_are_kept_apart() -> None:
    graph = graph_of(lambda x: [flip(flip(x, [0]), [0]), max_over(softmax(x, [0]), [0])], f64(3))
    x: Any = [1.0, 3.0, 2.0]
    (same, top) = run(optimise(graph), x)
    np.testing.assert_array_equal(same, x)
    np.testing.assert_allclose(top, np.exp(3.0) / np.sum(np.exp(x)))
