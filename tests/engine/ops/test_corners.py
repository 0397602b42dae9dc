"""The conventions where derivatives do not exist, are infinite, or are zero by structure: the table of corners.

Every row holds in forward and in reverse mode, for single sweeps and Jacobians, with and without passes and batch.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from tests.kit.engine.building import F64, f64, graph_of, run
from tests.kit.engine.corners import CORNERS, INF, Corner, at_point, op, over, std
from tests.kit.engine.derivatives import higher, roads, second

from gradwire_engine.value import Value
from gradwire_engine.vocabulary import (
    absolute,
    expit,
    hypot,
    integer_power,
    log,
    max_over,
    maximum,
    power,
    softmax,
    sqrt,
    square,
    sum_over,
    where,
)

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


@pytest.mark.parametrize("corner", [one for one in CORNERS if one.second is not None], ids=lambda corner: corner.case)
def test_the_second_derivative_is_the_one_we_wrote_down(corner: Corner) -> None:
    graph, point = at_point(corner)
    for first in range(len(point)):
        for then in range(len(point)):
            for modes, transformed in second(graph, first, then).items():
                (found,) = run(transformed, *point)
                expected = np.broadcast_to(corner.second_by(first, then), found.shape)
                what = f"{modes}, by input {first}, then {then}"
                np.testing.assert_allclose(found, expected, rtol=1e-14, atol=1e-300, err_msg=what)


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
