"""What a program left out, or put in as zero, is known to be zero: it meets no infinity, to any order, in any mode.

The derivative of sqrt at 0 is infinite, so what is not known to be zero there becomes nan.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from tests.kit.engine.building import F64, f64, graph_of, operations, run
from tests.kit.engine.corners import CORNERS, INF, NAN, at_point
from tests.kit.engine.derivatives import roads

from gradwire_engine.attributes import DotGeneral, Gather, Scatter
from gradwire_engine.graph import Graph
from gradwire_engine.prepare import prepare
from gradwire_engine.program import Grad, Jacobian, JacobianMode, Jvp, Layout, Program
from gradwire_engine.transform import apply
from gradwire_engine.transforms.jvp import jvp
from gradwire_engine.transforms.reverse import grad, vjp
from gradwire_engine.value import Value
from gradwire_engine.vocabulary import (
    broadcast_to,
    concat,
    dot_general,
    flip,
    gather,
    log,
    logsumexp,
    max_over,
    maximum,
    pad,
    permute_dims,
    reshape,
    scatter_add,
    sin,
    slice_of,
    sqrt,
    square,
    sum_over,
    where,
)

ROADS = tuple(roads(graph_of(sqrt, F64)))


def moves_of(count: int) -> dict[str, Callable[[Value], Value]]:
    """Ops that only move, repeat or add elements, on an array of some elements."""
    return {
        "reshape": lambda x: reshape(x, (count, 1)),
        "permute": lambda x: permute_dims(reshape(x, (1, count)), (1, 0)),
        "flip": lambda x: flip(x, [0]),
        "broadcast": lambda x: broadcast_to(x, (3, count)),
        "pad": lambda x: pad(x, [1], [2], [1]),
        "concat": lambda x: concat([x, x], 0),
        "sum": lambda x: sum_over(broadcast_to(x, (3, count)), [0]),
        "gather": lambda x: gather(x, x.builder.constant(np.arange(count)[:, None]), Gather(0, 0)),
        "scatter": lambda x: scatter_add(x, x.builder.constant(np.arange(count)[:, None]), Scatter(0, 0, (count + 1,))),
        "where": lambda x: where(x.equals(x) | x.differs(x), x, 7.0),
    }


def second_of_two(x: Value) -> Value:
    return slice_of(x, [1], [2])


LEFT_OUT: dict[str, Callable[[Value], Value]] = {
    "slice": second_of_two,
    "strided slice": lambda x: slice_of(flip(x, [0]), [0], [2], [2]),
    "gather": lambda x: gather(x, x.builder.constant(np.array([[1], [-1]])), Gather(0, 0)),
    "gather out of range": lambda x: gather(x, x.builder.constant(np.array([[1], [5]])), Gather(0, 0, True)),
    "scatter out of range": lambda x: scatter_add(x, x.builder.constant(np.array([[9], [1]])), Scatter(0, 0, (3,))),
    "where": lambda x: where(x.builder.constant(np.array([False, True])), x, 0.0),
    "max": lambda x: max_over(x, [0]),
    "maximum": lambda x: maximum(x, x.like(1.0)),
    "relu": lambda x: (x - 1.0).emit("relu"),
    "heaviside": lambda x: (x + 1.0).emit("heaviside", x),
    "reshape": lambda x: slice_of(reshape(x, (2, 1)), [1, 0], [2, 1]),
    "permute": lambda x: slice_of(permute_dims(reshape(x, (1, 2)), (1, 0)), [1, 0], [2, 1]),
    "flip": lambda x: slice_of(flip(x, [0]), [0], [1]),
    "broadcast": lambda x: slice_of(broadcast_to(x, (3, 2)), [1, 1], [3, 2]),
    "concat": lambda x: slice_of(concat([x, x], 0), [1], [2]),
    "pad": lambda x: slice_of(pad(x, [1], [2], [1]), [3], [5]),
    "sum": lambda x: slice_of(sum_over(broadcast_to(x, (3, 2)), [0]), [1], [2]),
}


@pytest.mark.parametrize("road", ROADS)
@pytest.mark.parametrize("case", LEFT_OUT)
def test_what_was_left_out_contributes_nothing(case: str, road: str) -> None:
    """At [0, 4] the root of 0 is left out afterwards: its infinite derivative must not be met."""
    graph = graph_of(lambda x: LEFT_OUT[case](sqrt(x)), f64(2))
    derivative = roads(graph).get(road)
    if derivative is not None:
        (found,) = derivative(graph, [[0.0, 4.0]])
        assert np.all(found[..., 0] == 0.0), found
        assert not np.isnan(found).any(), found


@pytest.mark.parametrize("road", ROADS)
@pytest.mark.parametrize("case", moves_of(2))
def test_zeros_put_in_do_not_vary(case: str, road: str) -> None:
    """The root of zeros that `where` put in, moved about in between: they have no tangent to multiply inf with."""

    def function(x: Value) -> Value:
        chosen = where(x > 1.0, x, 0.0)
        moved = moves_of(2)[case](chosen)
        return sum_over(sqrt(moved), range(len(moved.shape)))

    graph = graph_of(function, f64(2))
    (found,) = roads(graph)[road](graph, [[0.5, 4.0]])
    assert found[0] == 0.0
    assert found[1] > 0.0
    assert np.isfinite(found).all()


def test_of_a_sum_only_what_is_active_counts() -> None:
    """Nothing of the sum under the root varies, so the root at 0 does not either."""
    graph = graph_of(lambda x: sqrt(sum_over(where(x > 1.0, x, 0.0), [0])), f64(3))
    for name, derivative in roads(graph).items():
        np.testing.assert_array_equal(derivative(graph, [[0.5, 0.25, 0.125]])[0], np.zeros(3), err_msg=name)


def test_contractions_do_not_track_structural_zeros() -> None:
    """As documented: 0 * inf inside a matrix product is nan."""
    graph = graph_of(lambda x, y: dot_general(where(x > 1.0, sqrt(x), 0.0), y, DotGeneral((0,), (0,))), f64(2), f64(2))
    (by_x, _) = roads(graph)["jvp"](graph, [[0.0, 4.0], [1.0, 1.0]])
    np.testing.assert_array_equal(by_x, [0.0, 0.25])
    graph = graph_of(lambda x, y: dot_general(sqrt(x), y, DotGeneral((0,), (0,))), f64(2), f64(2))
    (by_x, _) = roads(graph)["vjp"](graph, [[0.0, 4.0], [0.0, 1.0]])
    np.testing.assert_array_equal(by_x, [NAN, 0.25])


# Seeds that happen to be zero are inputs like others


SEEDED = {
    "cube": (lambda x: x * x * x, 2.0, 12.0, 12.0),
    "sin": (sin, 1.0, np.cos(1.0), -np.sin(1.0)),
    "log where taken": (lambda x: where(x > 0.0, log(x), 0.0), 2.0, 0.5, -0.25),
    "log where not taken": (lambda x: where(x > 3.0, log(x), 0.0), 2.0, 0.0, 0.0),
    "log where it would be infinite": (lambda x: where(x > 3.0, log(x), x), 0.0, 1.0, 0.0),
    "sqrt": (sqrt, 4.0, 0.25, -1 / 32),
}


@pytest.mark.parametrize("seed", [0.0, 1.0])
@pytest.mark.parametrize("case", SEEDED)
@pytest.mark.parametrize("outer", ["forward", "reverse"])
@pytest.mark.parametrize("inner", ["forward", "reverse"])
def test_the_derivative_by_a_seed_that_is_zero(case: str, seed: float, inner: str, outer: str) -> None:
    """y' = f'(x) v: by v it is f'(x), by x and v it is f''(x), at v = 0 as anywhere."""
    function, x, first, mixed = SEEDED[case]
    graph = graph_of(function, F64)
    sweep = jvp(graph, [0]) if inner == "forward" else vjp(graph, [0])
    mode = JacobianMode.FORWARD if outer == "forward" else JacobianMode.REVERSE
    derivative = only(sweep, 1)
    np.testing.assert_allclose(run(derivative, x, seed)[0], first * seed)
    (by_seed,) = run(apply(derivative, [Jacobian((1,), mode)]), x, seed)
    np.testing.assert_allclose(by_seed, first)
    for order in ((0, 1), (1, 0)):
        (found,) = run(apply(derivative, [Jacobian((i,), mode) for i in order]), x, seed)
        np.testing.assert_allclose(found, mixed, err_msg=f"{case}: {order}")


def only(graph: Graph, output: int) -> Graph:
    return Graph(graph.inputs, graph.nodes, (graph.outputs[output],))


@pytest.mark.parametrize("seeds", [(0.0, 0.0), (0.0, 3.0), (2.0, 0.0), (2.0, 3.0)])
@pytest.mark.parametrize("mode", [JacobianMode.FORWARD, JacobianMode.REVERSE])
def test_the_derivative_by_the_seeds_of_a_second_derivative(seeds: tuple[float, float], mode: JacobianMode) -> None:
    """y'' = f''(x) v w, with f = x**3 at 2: each seed is an input, whatever the other one is."""
    v, w = seeds
    first = only(jvp(graph_of(lambda x: x * x * x, F64), [0]), 1)
    second_derivative = only(jvp(first, [0]), 1)
    assert run(second_derivative, 2.0, v, w) == [12.0 * v * w]
    (by_both,) = run(apply(second_derivative, [Jacobian((1,), mode), Jacobian((2,), mode)]), 2.0, v, w)
    assert by_both == 12.0
    by_v, by_w = run(apply(second_derivative, [Jacobian((1, 2), mode)]), 2.0, v, w)
    assert (by_v, by_w) == (12.0 * w, 12.0 * v)
    (by_w_and_x,) = run(apply(second_derivative, [Jacobian((2,), mode), Jacobian((0,), mode)]), 2.0, v, w)
    assert by_w_and_x == 6.0 * v


def test_a_zero_seed_meets_no_infinite_derivative() -> None:
    graph = graph_of(lambda x: sum_over(sqrt(x), [0]), f64(2))
    assert run(jvp(graph, [0]), [0.0, 4.0], [0.0, 1.0])[1] == 0.25
    graph = graph_of(sqrt, f64(2))
    assert run(vjp(graph, [0]), [0.0, 4.0], [0.0, 1.0])[1].tolist() == [0.0, 0.25]


def test_a_jvp_of_a_jvp_in_the_seed_with_infinite_derivatives_beside_it() -> None:
    """Element 0 has an infinite derivative and a zero seed, and is moved: then it is met, element 1 is not harmed."""
    tangent = only(jvp(graph_of(sqrt, f64(2)), [0]), 1)
    found = run(jvp(tangent, [1]), [0.0, 4.0], [0.0, 0.0], [1.0, 1.0])[1]
    assert found.tolist() == [INF, 0.25]
    found = run(jvp(tangent, [1]), [0.0, 4.0], [0.0, 0.0], [0.0, 1.0])[1]
    assert found.tolist() == [0.0, 0.25]


# Masks that are constant cost nothing


@pytest.mark.parametrize(
    "function",
    [
        lambda x: sum_over(x * x * sin(x), [0]),
        lambda x: sum_over(sqrt(pad(x, [1], [2])), [0]),
        lambda x: sum_over(where(x.equals(x) | x.differs(x), sin(x), 0.0) * 0.0 + square(x), [0]),
        lambda x: logsumexp(concat([x, x], 0), [0]),
    ],
    ids=["smooth", "pad", "where", "concat"],
)
def test_gradients_of_functions_without_selection_carry_no_masks(function: Callable[[Value], Value]) -> None:
    graph = graph_of(function, f64(5))
    names = operations(prepare(Program(graph, (Grad((0,)),)), Layout()).graph)
    selecting = "where" in operations(graph)
    assert ("masked_multiply" in names) == selecting
    assert "any" not in names


def test_a_constant_condition_leaves_no_mask() -> None:
    graph = graph_of(lambda x: sum_over(where(x.builder.constant(np.ones(3, bool)), log(x), 0.0), [0]), f64(3))
    plain = graph_of(lambda x: sum_over(log(x), [0]), f64(3))
    for transforms in ((Grad((0,)),), (Jvp((0,)),), (Grad((0,)), Jacobian((0,)))):
        masked, unmasked = (prepare(Program(g, transforms), Layout()).graph for g in (graph, plain))
        assert str(masked) == str(unmasked)


def test_the_gradient_at_a_corner_is_the_same_for_every_seed() -> None:
    """grad, whose seed is the constant 1, and vjp, whose seed is an input, are one convention."""
    for corner in CORNERS:
        graph, point = at_point(corner)
        if not graph.output_types[0].shape:
            by_grad = run(grad(graph, range(len(point))), *point)
            by_vjp = run(vjp(graph, range(len(point))), *point, 1.0)[1:]
            for one, other in zip(by_grad, by_vjp, strict=True):
                np.testing.assert_array_equal(one, other, err_msg=corner.case)
