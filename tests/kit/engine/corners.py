"""The table of corners: functions, points, and the derivatives that we wrote down."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tests.kit.engine.building import graph_of
from tests.kit.engine.derivatives import Point

from gradwire_engine.attributes import Axes, Cumulative, Order
from gradwire_engine.graph import Graph
from gradwire_engine.types import TensorType
from gradwire_engine.value import Value
from gradwire_engine.vocabulary import (
    absolute,
    broadcast_to,
    expit,
    hypot,
    integer_power,
    log,
    max_over,
    maximum,
    min_over,
    minimum,
    norm,
    power,
    sqrt,
    square,
    sum_over,
    where,
)

INF, NAN = np.inf, np.nan


@dataclass(frozen=True)
class Corner:
    """A function, a point, and the derivatives there.

    `expected` has the derivative of the first output by each input, `second` a row of derivatives of these for each
    input: by the first, by the second. One number stands for all. Second is None where first derivatives are infinite
    and the second are sums of infinities, whose order the modes do not share.
    """

    case: str
    function: Callable[..., Value]
    point: Point
    expected: Sequence[Any]
    value: Any = None
    second: Any = 0.0

    def second_by(self, first: int, then: int) -> Any:
        """The derivative by one input, then by another."""
        return self.second if np.ndim(self.second) == 0 else self.second[first][then]


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


def of_order(name: str, order: int) -> Callable[[Value], Value]:
    return lambda x: x.emit(name, attributes=Order(order))


def running(name: str) -> Callable[[Value], Value]:
    return lambda x: x.emit(f"cumulative_{name}", attributes=Cumulative(0))


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
    Corner("the largest of one", over("max"), [[2.0]], [[1.0]]),
    Corner("the largest of all -inf", over("max"), [[-INF, -INF]], [[0.5, 0.5]], -INF),
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
    Corner("rsqrt at 0", op("rsqrt"), [0.0], [-INF], INF, second=INF),
    Corner("reciprocal at 0", op("reciprocal"), [0.0], [-INF], INF, second=INF),
    Corner("x / y at y = 0", lambda x, y: x / y, [1.0, 0.0], [INF, -INF], INF, second=[[0.0, -INF], [-INF, INF]]),
    Corner("sqrt at 0", sqrt, [0.0], [INF], second=-INF),
    Corner("sqrt at -0.0", sqrt, [-0.0], [INF], second=-INF),
    Corner("cbrt at 0", op("cbrt"), [0.0], [INF], second=NAN),
    Corner("cbrt at -0.0", op("cbrt"), [-0.0], [INF], second=NAN),
    Corner("log at 0", log, [0.0], [INF], second=-INF),
    Corner("log at -0.0", log, [-0.0], [INF], second=-INF),
    Corner("log2 at -0.0", op("log2"), [-0.0], [INF], second=-INF),
    Corner("log10 at -0.0", op("log10"), [-0.0], [INF], second=-INF),
    Corner("log1p at -1", op("log1p"), [-1.0], [INF], second=-INF),
    Corner("asin at 1", op("asin"), [1.0], [INF], second=None),
    Corner("asin at -1", op("asin"), [-1.0], [INF], second=None),
    Corner("acos at -1", op("acos"), [-1.0], [-INF], second=None),
    Corner("acosh at 1", op("acosh"), [1.0], [INF], second=None),
    Corner("atanh at 1", op("atanh"), [1.0], [INF], second=None),
    Corner("x ** 0 at 0, integer", lambda x: integer_power(x, 0), [0.0], [0.0]),
    Corner("x ** 0.0 at 0", lambda x: power(x, x.like(0.0)), [0.0], [0.0]),
    Corner("x ** 1 at 0, integer", lambda x: integer_power(x, 1), [0.0], [1.0]),
    Corner("x ** 1.0 at 0", lambda x: power(x, x.like(1.0)), [0.0], [1.0]),
    Corner("x ** -1 at 0, integer", lambda x: integer_power(x, -1), [0.0], [-INF], second=INF),
    Corner("0 ** y at y > 0", power, [0.0, 3.0], [0.0, 0.0]),
    Corner("0 ** y at y = 0", power, [0.0, 0.0], [0.0, 0.0], 1.0),
    Corner("0 ** y at y = 1", power, [0.0, 1.0], [1.0, 0.0], second=[[0.0, 1.0], [1.0, 0.0]]),
    Corner("0 ** y at y = 1/2", power, [0.0, 0.5], [INF, 0.0], second=None),
    Corner("0 ** y at y < 0", power, [0.0, -1.0], [-INF, -INF], INF, second=INF),
    Corner("x ** y at a negative x", power, [-2.0, 2.0], [-4.0, NAN], second=[[2.0, NAN], [NAN, NAN]]),
    Corner("the norm at 0", over("norm"), [[0.0, 0.0]], [[0.0, 0.0]]),
    Corner("the norm on an axis", over("norm"), [[0.0, 2.0]], [[0.0, 1.0]], second=[[np.diag([0.5, 0.0])]]),
    Corner(
        "the norm of tiny numbers",
        over("norm"),
        [[3e-200, 4e-200]],
        [[0.6, 0.8]],
        5e-200,
        second=[[[[1.28e199, -9.6e198], [-9.6e198, 7.2e198]]]],
    ),
    Corner(
        "the norm of huge numbers",
        over("norm"),
        [[3e200, 4e200]],
        [[0.6, 0.8]],
        5e200,
        second=[[[[1.28e-201, -9.6e-202], [-9.6e-202, 7.2e-202]]]],
    ),
    Corner("std of equal values", std, [[2.0, 2.0, 2.0]], [[0.0, 0.0, 0.0]]),
    Corner("hypot at 0", hypot, [0.0, 0.0], [0.0, 0.0]),
    Corner("hypot on an axis", hypot, [0.0, -3.0], [0.0, -1.0], second=[[1 / 3, 0.0], [0.0, 0.0]]),
    Corner(
        "hypot of tiny numbers", hypot, [3e-200, 4e-200], [0.6, 0.8], second=[[1.28e199, -9.6e198], [-9.6e198, 7.2e198]]
    ),
    Corner("atan2 at 0", op("atan2"), [0.0, 0.0], [0.0, 0.0]),
    Corner("atan2 of tiny numbers", op("atan2"), [3e-200, 4e-200], [1.6e199, -1.2e199], second=None),
    Corner(
        "prod with a zero",
        over("prod"),
        [[0.0, 2.0, 3.0]],
        [[6.0, 0.0, 0.0]],
        second=[[[[0.0, 3.0, 2.0], [3.0, 0.0, 0.0], [2.0, 0.0, 0.0]]]],
    ),
    Corner(
        "prod with two zeros",
        over("prod"),
        [[0.0, 0.0, 3.0]],
        [[0.0, 0.0, 0.0]],
        second=[[[[0.0, 3.0, 0.0], [3.0, 0.0, 0.0], [0.0, 0.0, 0.0]]]],
    ),
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
    Corner("xlogy at (0, 0)", op("xlogy"), [0.0, 0.0], [-INF, 0.0], 0.0, second=None),
    Corner("xlogy at (0, y)", op("xlogy"), [0.0, 2.0], [np.log(2.0), 0.0], 0.0, second=[[0.0, 0.5], [0.5, 0.0]]),
    Corner("xlogy at (x, 0)", op("xlogy"), [2.0, 0.0], [-INF, INF], -INF, second=[[0.0, INF], [INF, -INF]]),
    Corner("xlog1py at (0, -1)", op("xlog1py"), [0.0, -1.0], [-INF, 0.0], 0.0, second=None),
    Corner("xlog1py at (0, y)", op("xlog1py"), [0.0, 1.0], [np.log(2.0), 0.0], 0.0, second=[[0.0, 0.5], [0.5, 0.0]]),
    Corner("gammaln at 0", op("gammaln"), [0.0], [-INF], INF, second=INF),
    Corner("erfinv at 1", op("erfinv"), [1.0], [INF], INF, second=INF),
    Corner("erfinv at -1", op("erfinv"), [-1.0], [INF], -INF, second=-INF),
    Corner("ndtri at 0", op("ndtri"), [0.0], [INF], -INF, second=-INF),
    Corner("ndtri at 1", op("ndtri"), [1.0], [INF], INF, second=INF),
    Corner("log_ndtr at inf", op("log_ndtr"), [INF], [0.0], 0.0),
    Corner("sinc at 0", of_order("sinc", 0), [0.0], [0.0], 1.0, second=-1 / 3),
    Corner("exprel at 0", of_order("exprel", 0), [0.0], [0.5], 1.0, second=1 / 3),
    Corner(
        "running products with a zero",
        running("prod"),
        [[2.0, 0.0, 3.0]],
        [[[1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 6.0, 0.0]]],
        second=[
            [
                [
                    np.zeros((3, 3)),
                    [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]],
                    [[0.0, 3.0, 0.0], [3.0, 0.0, 2.0], [0.0, 2.0, 0.0]],
                ]
            ]
        ],
    ),
    Corner(
        "the running largest at a tie",
        running("max"),
        [[1.0, 1.0, 0.0]],
        [[[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.5, 0.5, 0.0]]],
    ),
    Corner("running logsumexp from -inf", running("logsumexp"), [[-INF, 0.0]], [[[0.0, 0.0], [0.0, 1.0]]], [-INF, 0.0]),
    Corner("expit at inf", expit, [INF], [0.0], 1.0),
    Corner("softplus at -inf", op("softplus"), [-INF], [0.0], 0.0),
    Corner("tanh at inf", op("tanh"), [INF], [0.0]),
    Corner("a branch not taken", lambda x: where(x > 0.0, log(x), 0.0), [0.0], [0.0]),
    Corner("the other branch not taken", lambda x: where(x <= 0.0, x, log(x)), [0.0], [1.0]),
    Corner(
        "max of sqrt", lambda x: max_over(sqrt(x), [0]), [[0.0, 4.0]], [[0.0, 0.25]], second=[[np.diag([0.0, -1 / 32])]]
    ),
    Corner(
        "min of -sqrt",
        lambda x: min_over(-sqrt(x), [0]),
        [[0.0, 4.0]],
        [[0.0, -0.25]],
        second=[[np.diag([0.0, 1 / 32])]],
    ),
    Corner(
        "clip of sqrt",
        lambda x: clip(sqrt(x), x.like(0.5), x.like(3.0)),
        [[0.0, 4.0]],
        [np.diag([0.0, 0.25])],
        second=[[[np.zeros((2, 2)), np.diag([0.0, -1 / 32])]]],
    ),
    Corner("relu of -sqrt", lambda x: (-sqrt(x)).emit("relu"), [0.25], [0.0]),
    Corner("relu of log", lambda x: log(x).emit("relu"), [0.0], [0.0]),
    Corner(
        "sqrt, element by element",
        sqrt,
        [[0.0, 4.0]],
        [np.diag([INF, 0.25])],
        second=[[[np.diag([-INF, 0.0]), np.diag([0.0, -1 / 32])]]],
    ),
    Corner("0 * sqrt, written so", lambda x: sqrt(x) * 0.0, [0.0], [NAN], second=NAN),
    Corner("sqrt ** 2, written so", lambda x: square(sqrt(x)), [0.0], [NAN], second=NAN),
    Corner("maximum with nan", maximum, [1.0, NAN], [0.0, 1.0], NAN),
    Corner("minimum with nan", minimum, [NAN, 1.0], [1.0, 0.0], NAN),
    Corner("the largest, with nans", over("max"), [[1.0, NAN, NAN]], [[0.0, 0.5, 0.5]], NAN),
    Corner("x % 2 at 4", lambda x: x.emit("remainder", x.like(2.0)), [4.0], [1.0]),
    Corner("x // 2 at 4", lambda x: x.emit("floor_divide", x.like(2.0)), [4.0], [0.0], 2.0),
    Corner("5 % y at 2", lambda y: y.like(5.0).emit("remainder", y), [2.0], [-2.0]),
)


def at_point(corner: Corner) -> tuple[Graph, Point]:
    types = [TensorType.of(np.asarray(x, float)) for x in corner.point]
    return graph_of(corner.function, *types), corner.point
