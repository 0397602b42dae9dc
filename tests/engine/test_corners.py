"""The conventions where derivatives do not exist, are infinite, or are zero by structure: the table of corners.

Every row holds in forward and in reverse mode, for single sweeps and Jacobians, with and without passes and batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from tests.engine.building import F64, f64, graph_of, operations, run
from tests.engine.derivatives import Point, higher, roads, second

from gradwire_engine.attributes import Axes, DotGeneral, Gather, Scatter
from gradwire_engine.graph import Graph
from gradwire_engine.prepare import prepare
from gradwire_engine.program import Grad, Jacobian, JacobianMode, Jvp, Layout, Program
from gradwire_engine.transforms.apply import apply
from gradwire_engine.transforms.jvp import jvp
from gradwire_engine.transforms.reverse import grad, vjp
from gradwire_engine.types import TensorType
from gradwire_engine.value import Value
from gradwire_engine.vocabulary import (
    absolute,
    broadcast_to,
    concat,
    dot_general,
    expit,
    flip,
    gather,
    hypot,
    integer_power,
    log,
    logsumexp,
    max_over,
    maximum,
    min_over,
    minimum,
    norm,
    pad,
    permute_dims,
    power,
    reshape,
    scatter_add,
    sin,
    slice_of,
    softmax,
    sqrt,
    square,
    sum_over,
    where,
)

INF, NAN = np.inf, np.nan


@dataclass(frozen=True)
class Corner:
    """A function, a point, and the derivative there by each input (None where another row says it)."""

    case: str
    function: Callable[..., Value]
    point: Point
    expected: Sequence[Any]
    value: Any = None


def op(name: str) -> Callable[..., Value]:
    return lambda x, *others: x.emit(name, *others)


def clip(x: Value, low: Value, high: Value) -> Value:
    return minimum(maximum(x, low), high)


def std(x: Value) -> Value:
    """As the SDK writes it: a norm, which has a derivative where all values are equal."""
    n = x.shape[0]
    mean = broadcast_to(sum_over(x, [0]) / float(n), x.shape)
    return norm(x - mean, [0]) / float(np.sqrt(n))


def norm1(x: Value) -> Value:
    return sum_over(absolute(x), [0])


def over(name: str) -> Callable[[Value], Value]:
    return lambda x: x.emit(name, attributes=Axes((0,)))


CORNERS = (
    Corner("abs at 0", absolute, [0.0], [0.0]),
    Corner("abs at -0.0", absolute, [-0.0], [0.0]),
    Corner("the 1-norm at 0", norm1, [[0.0, -2.0]], [[0.0, -1.0]]),
    Corner("maximum at a tie", maximum, [1.0, 1.0], [0.5, 0.5]),
    Corner("minimum at a tie", minimum, [1.0, 1.0], [0.5, 0.5]),
    Corner("maximum of 0.0 and -0.0", maximum, [0.0, -0.0], [0.5, 0.5]),
    Corner("the largest, at a tie", over("max"), [[3.0, 1.0, 3.0]], [[0.5, 0.0, 0.5]]),
    Corner("the smallest, at a tie", over("min"), [[3.0, 1.0, 1.0]], [[0.0, 0.5, 0.5]]),
    Corner("the largest of equal ones", over("max"), [[2.0] * 4], [[0.25] * 4]),
    Corner("relu at 0", op("relu"), [0.0], [0.0]),
    Corner("leaky relu at 0", lambda x: where(x > 0.0, x, x * 0.1), [0.0], [0.1]),
    Corner("clip at its lower bound", clip, [1.0, 1.0, 2.0], [0.5, 0.5, 0.0]),
    Corner("clip at its upper bound", clip, [2.0, 1.0, 2.0], [0.5, 0.0, 0.5]),
    Corner("clip at equal bounds", clip, [1.0, 1.0, 1.0], [0.25, 0.25, 0.5]),
    Corner("sign at 0", op("sign"), [0.0], [0.0]),
    Corner("floor at a jump", op("floor"), [2.0], [0.0]),
    Corner("ceil at a jump", op("ceil"), [2.0], [0.0]),
    Corner("round at a jump", op("round"), [2.5], [0.0]),
    Corner("trunc at a jump", op("trunc"), [2.0], [0.0]),
    Corner("heaviside at 0", op("heaviside"), [0.0, 0.5], [0.0, 1.0]),
    Corner("heaviside beside 0", op("heaviside"), [1.0, 0.5], [0.0, 0.0]),
    Corner("sqrt at 0", sqrt, [0.0], [INF]),
    Corner("sqrt at -0.0", sqrt, [-0.0], [INF]),
    Corner("cbrt at 0", op("cbrt"), [0.0], [INF]),
    Corner("cbrt at -0.0", op("cbrt"), [-0.0], [INF]),
    Corner("log at 0", log, [0.0], [INF]),
    Corner("log at -0.0", log, [-0.0], [INF]),
    Corner("log2 at -0.0", op("log2"), [-0.0], [INF]),
    Corner("log10 at -0.0", op("log10"), [-0.0], [INF]),
    Corner("log1p at -1", op("log1p"), [-1.0], [INF]),
    Corner("asin at 1", op("asin"), [1.0], [INF]),
    Corner("asin at -1", op("asin"), [-1.0], [INF]),
    Corner("acos at -1", op("acos"), [-1.0], [-INF]),
    Corner("acosh at 1", op("acosh"), [1.0], [INF]),
    Corner("atanh at 1", op("atanh"), [1.0], [INF]),
    Corner("x ** 0 at 0, integer", lambda x: integer_power(x, 0), [0.0], [0.0]),
    Corner("x ** 0.0 at 0", lambda x: power(x, x.like(0.0)), [0.0], [0.0]),
    Corner("x ** 1 at 0, integer", lambda x: integer_power(x, 1), [0.0], [1.0]),
    Corner("x ** 1.0 at 0", lambda x: power(x, x.like(1.0)), [0.0], [1.0]),
    Corner("x ** -1 at 0, integer", lambda x: integer_power(x, -1), [0.0], [-INF]),
    Corner("0 ** y at y > 0", power, [0.0, 3.0], [0.0, 0.0]),
    Corner("0 ** y at y = 0", power, [0.0, 0.0], [0.0, 0.0], 1.0),
    Corner("0 ** y at y = 1", power, [0.0, 1.0], [1.0, 0.0]),
    Corner("0 ** y at y = 1/2", power, [0.0, 0.5], [INF, 0.0]),
    Corner("0 ** y at y < 0", power, [0.0, -1.0], [-INF, -INF], INF),
    Corner("x ** y at a negative x", power, [-2.0, 2.0], [-4.0, NAN]),
    Corner("the norm at 0", over("norm"), [[0.0, 0.0]], [[0.0, 0.0]]),
    Corner("the norm on an axis", over("norm"), [[0.0, 2.0]], [[0.0, 1.0]]),
    Corner("std of equal values", std, [[2.0, 2.0, 2.0]], [[0.0, 0.0, 0.0]]),
    Corner("hypot at 0", hypot, [0.0, 0.0], [0.0, 0.0]),
    Corner("hypot on an axis", hypot, [0.0, -3.0], [0.0, -1.0]),
    Corner("hypot of tiny numbers", hypot, [3e-200, 4e-200], [0.6, 0.8]),
    Corner("atan2 at 0", op("atan2"), [0.0, 0.0], [0.0, 0.0]),
    Corner("atan2 of tiny numbers", op("atan2"), [3e-200, 4e-200], [1.6e199, -1.2e199]),
    Corner("prod with a zero", over("prod"), [[0.0, 2.0, 3.0]], [[6.0, 0.0, 0.0]]),
    Corner("prod with two zeros", over("prod"), [[0.0, 0.0, 3.0]], [[0.0, 0.0, 0.0]]),
    Corner("prod of one", over("prod"), [[0.0]], [[1.0]]),
    Corner("logsumexp of all -inf", over("logsumexp"), [[-INF, -INF]], [[0.0, 0.0]], -INF),
    Corner("logsumexp with a -inf", over("logsumexp"), [[-INF, 0.0]], [[0.0, 1.0]], 0.0),
    Corner("logsumexp with a +inf", over("logsumexp"), [[INF, 0.0]], [[1.0, 0.0]], INF),
    Corner("logsumexp with two +inf", over("logsumexp"), [[INF, 0.0, INF]], [[0.5, 0.0, 0.5]], INF),
    Corner("logaddexp of both -inf", op("logaddexp"), [-INF, -INF], [0.0, 0.0], -INF),
    Corner("logaddexp with a -inf", op("logaddexp"), [-INF, 0.0], [0.0, 1.0], 0.0),
    Corner("logaddexp of both +inf", op("logaddexp"), [INF, INF], [0.5, 0.5], INF),
    Corner("softmax of all -inf", over("softmax"), [[-INF, -INF]], [np.zeros((2, 2))], [NAN, NAN]),
    Corner("softmax with a -inf", over("softmax"), [[-INF, 1.0]], [np.zeros((2, 2))], [0.0, 1.0]),
    Corner("log_softmax of all -inf", over("log_softmax"), [[-INF, -INF]], [np.zeros((2, 2))], [NAN, NAN]),
    Corner("log_softmax with a -inf", over("log_softmax"), [[-INF, 1.0]], [[[1.0, -1.0], [0.0, 0.0]]], [-INF, 0.0]),
    Corner("softplus at 1000", op("softplus"), [1000.0], [1.0]),
    Corner("softplus at -1000", op("softplus"), [-1000.0], [0.0]),
    Corner("softplus at inf", op("softplus"), [INF], [1.0]),
    Corner("expit at 1000", expit, [1000.0], [0.0]),
    Corner("expit at -1000", expit, [-1000.0], [0.0]),
    Corner("tanh at inf", op("tanh"), [INF], [0.0]),
    Corner("a branch not taken", lambda x: where(x > 0.0, log(x), 0.0), [0.0], [0.0]),
    Corner("the other branch not taken", lambda x: where(x <= 0.0, x, log(x)), [0.0], [1.0]),
    Corner("max of sqrt", lambda x: max_over(sqrt(x), [0]), [[0.0, 4.0]], [[0.0, 0.25]]),
    Corner("min of -sqrt", lambda x: min_over(-sqrt(x), [0]), [[0.0, 4.0]], [[0.0, -0.25]]),
    Corner("clip of sqrt", lambda x: clip(sqrt(x), x.like(0.5), x.like(3.0)), [[0.0, 4.0]], [np.diag([0.0, 0.25])]),
    Corner("relu of -sqrt", lambda x: (-sqrt(x)).emit("relu"), [0.25], [0.0]),
    Corner("relu of log", lambda x: log(x).emit("relu"), [0.0], [0.0]),
    Corner("sqrt, element by element", sqrt, [[0.0, 4.0]], [np.diag([INF, 0.25])]),
    Corner("0 * sqrt, written so", lambda x: sqrt(x) * 0.0, [0.0], [NAN]),
    Corner("sqrt ** 2, written so", lambda x: square(sqrt(x)), [0.0], [NAN]),
    Corner("maximum with nan", maximum, [1.0, NAN], [0.0, 1.0], NAN),
    Corner("minimum with nan", minimum, [NAN, 1.0], [1.0, 0.0], NAN),
    Corner("the largest, with nans", over("max"), [[1.0, NAN, NAN]], [[0.0, 0.5, 0.5]], NAN),
    Corner("x % 2 at 4", lambda x: x.emit("remainder", x.like(2.0)), [4.0], [1.0]),
    Corner("5 % y at 2", lambda y: y.like(5.0).emit("remainder", y), [2.0], [-2.0]),
)


def at_point(corner: Corner) -> tuple[Graph, Point]:
    types = [TensorType.of(np.asarray(x, float)) for x in corner.point]
    return graph_of(corner.function, *types), corner.point


ROADS = tuple(roads(graph_of(absolute, F64)))


@pytest.mark.parametrize("road", ROADS)
@pytest.mark.parametrize("corner", CORNERS, ids=lambda corner: corner.case)
def test_the_derivative_is_the_one_we_wrote_down(corner: Corner, road: str) -> None:
    graph, point = at_point(corner)
    if corner.value is not None:
        np.testing.assert_allclose(run(graph, *point)[0], corner.value)
    derivative = roads(graph).get(road)
    if derivative is None:
        return  # grad, of a function that is not a scalar
    for found, expected in zip(derivative(graph, point), corner.expected, strict=True):
        np.testing.assert_allclose(found, np.broadcast_to(expected, found.shape), rtol=1e-14, atol=0)


# Higher derivatives at corners


@pytest.mark.parametrize(
    ("case", "function", "point", "order", "expected"),
    [
        ("x ** 2.0", lambda x: power(x, x.like(2.0)), 0.0, 3, 0.0),
        ("x ** 2.0", lambda x: power(x, x.like(2.0)), 0.0, 2, 2.0),
        ("x ** 3.0", lambda x: power(x, x.like(3.0)), 0.0, 3, 6.0),
        ("x ** 2, integer", lambda x: integer_power(x, 2), 0.0, 3, 0.0),
        ("x ** 3, integer", lambda x: integer_power(x, 3), 0.0, 3, 6.0),
        ("sqrt", sqrt, 0.0, 2, -INF),
        ("log", log, 0.0, 2, -INF),
        ("abs", absolute, 0.0, 2, 0.0),
        ("relu", op("relu"), 0.0, 2, 0.0),
        ("softplus", op("softplus"), 0.0, 2, 0.25),
        ("softplus", op("softplus"), -1000.0, 2, 0.0),
        ("expit", expit, 1000.0, 2, 0.0),
        ("a branch not taken", lambda x: where(x > 0.0, log(x), x * x), 0.0, 2, 2.0),
        ("a branch not taken", lambda x: where(x > 0.0, log(x), x * x * x), 0.0, 3, 6.0),
        ("0 ** y", lambda y: power(y.like(0.0), y), 2.0, 2, 0.0),
        ("x % 2", lambda x: x.emit("remainder", x.like(2.0)), 4.0, 2, 0.0),
    ],
)
def test_higher_derivatives_at_corners(
    case: str, function: Callable[[Value], Value], point: float, order: int, expected: float
) -> None:
    for modes, graph in higher(graph_of(function, F64), order).items():
        (found,) = run(graph, point)
        np.testing.assert_allclose(found, expected, rtol=1e-14, err_msg=f"{case}, {modes}")


@pytest.mark.parametrize(
    ("case", "function", "point", "expected"),
    [
        # The guard of pow by x replaces the point (0, 0), not the line y = 0, where the mixed derivative is 1/x.
        ("x ** y on y = 0", power, [2.0, 0.0], [[0.0, 0.5], [0.5, np.log(2.0) ** 2]]),
        ("x ** y on y = 1", power, [2.0, 1.0], [[0.0, 1.0 + np.log(2.0)], [1.0 + np.log(2.0), 2 * np.log(2.0) ** 2]]),
        ("x ** y on x = 0", power, [0.0, 3.0], [[0.0, 0.0], [0.0, 0.0]]),
        ("hypot on x = 0", hypot, [0.0, 2.0], [[0.5, 0.0], [0.0, 0.0]]),
        ("hypot on y = 0", hypot, [2.0, 0.0], [[0.0, 0.0], [0.0, 0.5]]),
        ("hypot off the axes", hypot, [3.0, 4.0], [[16 / 125, -12 / 125], [-12 / 125, 9 / 125]]),
        ("hypot at 0", hypot, [0.0, 0.0], [[0.0, 0.0], [0.0, 0.0]]),
        ("atan2 on y = 0", op("atan2"), [0.0, 1.0], [[0.0, -1.0], [-1.0, 0.0]]),
        ("atan2 on x = 0", op("atan2"), [1.0, 0.0], [[0.0, 1.0], [1.0, 0.0]]),
        ("atan2 at 0", op("atan2"), [0.0, 0.0], [[0.0, 0.0], [0.0, 0.0]]),
        ("logaddexp at a tie", op("logaddexp"), [1.0, 1.0], [[0.25, -0.25], [-0.25, 0.25]]),
        ("logaddexp of both -inf", op("logaddexp"), [-INF, -INF], [[0.0, 0.0], [0.0, 0.0]]),
        ("logaddexp with a -inf", op("logaddexp"), [-INF, 1.0], [[0.0, 0.0], [0.0, 0.0]]),
        ("maximum at a tie, of products", lambda x, y: maximum(x * y, y * x), [2.0, 3.0], [[0.0, 1.0], [1.0, 0.0]]),
        ("maximum at a tie", maximum, [2.0, 2.0], [[0.0, 0.0], [0.0, 0.0]]),
        ("divide by y at x = 0", lambda x, y: x / y, [0.0, 2.0], [[0.0, -0.25], [-0.25, 0.0]]),
        ("remainder", op("remainder"), [5.0, 2.0], [[0.0, 0.0], [0.0, 0.0]]),
        ("heaviside at 0", op("heaviside"), [0.0, 0.5], [[0.0, 0.0], [0.0, 0.0]]),
        ("x log y where x = 0", lambda x, y: x * log(y), [0.0, 2.0], [[0.0, 0.5], [0.5, 0.0]]),
    ],
)
def test_mixed_second_derivatives_across_guards(
    case: str, function: Callable[..., Value], point: list[float], expected: list[list[float]]
) -> None:
    graph = graph_of(function, F64, F64)
    for first in (0, 1):
        for then in (0, 1):
            for modes, transformed in second(graph, first, then).items():
                (found,) = run(transformed, *point)
                what = f"{case}: {modes}, by input {first}, then {then}"
                np.testing.assert_allclose(found, expected[first][then], rtol=1e-14, atol=1e-300, err_msg=what)


@pytest.mark.parametrize(
    ("case", "function", "point", "expected"),
    [
        ("prod with two zeros", over("prod"), [0.0, 0.0, 3.0], [[0.0, 3.0, 0.0], [3.0, 0.0, 0.0], [0.0, 0.0, 0.0]]),
        ("prod with one zero", over("prod"), [0.0, 2.0, 3.0], [[0.0, 3.0, 2.0], [3.0, 0.0, 0.0], [2.0, 0.0, 0.0]]),
        ("the norm on an axis", over("norm"), [0.0, 2.0], [[0.5, 0.0], [0.0, 0.0]]),
        ("the norm at 0", over("norm"), [0.0, 0.0], [[0.0, 0.0], [0.0, 0.0]]),
        ("std of equal values", std, [2.0, 2.0], [[0.0, 0.0], [0.0, 0.0]]),
        ("logsumexp at a tie", over("logsumexp"), [1.0, 1.0], [[0.25, -0.25], [-0.25, 0.25]]),
        ("logsumexp with a -inf", over("logsumexp"), [-INF, 1.0], [[0.0, 0.0], [0.0, 0.0]]),
        ("logsumexp of all -inf", over("logsumexp"), [-INF, -INF], [[0.0, 0.0], [0.0, 0.0]]),
        ("logsumexp with a +inf", over("logsumexp"), [INF, 1.0], [[0.0, 0.0], [0.0, 0.0]]),
        ("the largest at a tie", over("max"), [1.0, 1.0], [[0.0, 0.0], [0.0, 0.0]]),
        ("the largest square", lambda x: max_over(square(x), [0]), [1.0, 3.0], [[0.0, 0.0], [0.0, 2.0]]),
        ("max of sqrt", lambda x: max_over(sqrt(x), [0]), [0.0, 4.0], [[0.0, 0.0], [0.0, -1 / 32]]),
        ("softmax of all -inf", lambda x: sum_over(softmax(x, [0]), [0]), [-INF, -INF], [[0.0, 0.0], [0.0, 0.0]]),
    ],
)
def test_hessians_at_corners(
    case: str, function: Callable[..., Value], point: list[float], expected: list[list[float]]
) -> None:
    for modes, transformed in second(graph_of(function, f64(len(point))), 0, 0).items():
        np.testing.assert_allclose(run(transformed, point)[0], expected, rtol=1e-14, err_msg=f"{case}: {modes}")


# Structural zeros. The derivative of sqrt at 0 is infinite: what is not known to be zero there becomes nan.


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
