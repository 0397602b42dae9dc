"""Sorting, searching and running reductions where elements are equal, NaN, infinite, -0.0, few or none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tests.kit.engine.building import f64, graph_of, run
from tests.kit.engine.derivatives import roads, second

from gradwire_engine.attributes import Axes, Axis, Cumulative, Gather, SearchSorted
from gradwire_engine.transforms.reverse import grad
from gradwire_engine.types import DType, TensorType
from gradwire_engine.value import Value
from gradwire_engine.vocabulary import expand_dims, gather, norm, slice_axis, sqrt, square, sum_over, where

INF, NAN = np.inf, np.nan


def argsort(x: Value) -> Value:
    return x.emit("argsort", attributes=Axis(0))


def sort(x: Value) -> Value:
    return gather(x, expand_dims(argsort(x), [1]), Gather(0, 0))


def running(name: str, reverse: bool = False) -> Callable[[Value], Value]:
    return lambda x: x.emit(f"cumulative_{name}", attributes=Cumulative(0, reverse))


def last(name: str) -> Callable[[Value], Value]:
    """The last element: a reduction of all."""
    return lambda x: sum_over(slice_axis(running(name)(x), 0, x.shape[0] - 1, x.shape[0]), [0])


def jacobians(function: Callable[[Value], Value], point: Any) -> dict[str, np.ndarray]:
    graph = graph_of(function, f64(len(point)))
    return {name: derivative(graph, [point])[0] for name, derivative in roads(graph).items()}


# Order


@pytest.mark.parametrize(
    ("case", "x", "order"),
    [
        ("ties keep their order", [2.0, 1.0, 2.0, 1.0], [1, 3, 0, 2]),
        ("NaN is last, in its order", [NAN, 1.0, NAN, -INF, INF], [3, 1, 4, 0, 2]),
        ("zeros of both signs are equal", [0.0, -0.0, -1.0, 0.0, -0.0], [2, 0, 1, 3, 4]),
        ("one element", [3.0], [0]),
        ("no element", [], []),
    ],
)
def test_argsort(case: str, x: list[float], order: list[int]) -> None:
    for dtype in (DType.FLOAT64, DType.FLOAT32):
        (found,) = run(graph_of(argsort, TensorType(dtype, (len(x),))), x)
        assert found.dtype == np.int64
        assert found.tolist() == order, case


def test_bools_and_the_smallest_integers_are_sorted() -> None:
    assert run(graph_of(argsort, TensorType(DType.BOOL, (3,))), [True, False, True])[0].tolist() == [1, 0, 2]
    lowest = np.iinfo(np.int64).min
    assert run(graph_of(argsort, TensorType(DType.INT64, (3,))), [0, lowest, -1])[0].tolist() == [1, 2, 0]


def test_the_derivative_of_sorting_is_its_permutation() -> None:
    """Ties in their order, NaN last; and nothing of an infinite slope leaks to another element."""
    for x in ([3.0, 1.0, 2.0], [2.0, 1.0, 2.0, 1.0], [0.0, -0.0], [NAN, 1.0, INF]):
        expected = np.eye(len(x))[np.argsort(x, kind="stable")]
        for road, found in jacobians(sort, x).items():
            np.testing.assert_array_equal(found, expected, err_msg=f"{x}, {road}")
    for road, found in jacobians(lambda x: sort(sqrt(x)), [4.0, 0.0]).items():
        np.testing.assert_array_equal(found, [[0.0, INF], [0.25, 0.0]], err_msg=road)


def test_the_hessian_of_the_middle_of_squares() -> None:
    def middle(x: Value) -> Value:
        return sum_over(square(slice_axis(sort(x), 0, 1, 2)), [0])

    for modes, graph in second(graph_of(middle, f64(3)), 0, 0).items():
        np.testing.assert_array_equal(run(graph, [5.0, 1.0, 3.0])[0], np.diag([0.0, 0.0, 2.0]), err_msg=modes)


# Search


@pytest.mark.parametrize(
    ("case", "table", "values", "left", "right"),
    [
        ("between and at entries", [1.0, 2.0, 4.0], [0.0, 1.0, 3.0, 4.0, 5.0], [0, 0, 2, 2, 3], [0, 1, 2, 3, 3]),
        ("equal entries", [1.0, 1.0, 1.0], [1.0], [0], [3]),
        ("zeros of both signs", [-0.0, 0.0], [0.0, -0.0], [0, 0], [2, 2]),
        ("NaN", [1.0, NAN, NAN], [NAN, INF, 0.0], [1, 1, 0], [3, 1, 0]),
        ("infinities", [-INF, 0.0, INF], [-INF, INF], [0, 2], [1, 3]),
        ("one entry", [1.0], [0.0, 1.0, 2.0], [0, 0, 1], [0, 1, 1]),
        ("no entry", [], [0.0, NAN], [0, 0], [0, 0]),
        ("nothing to look for", [1.0], [], [], []),
    ],
)
def test_searchsorted(case: str, table: list[float], values: list[float], left: list[int], right: list[int]) -> None:
    for side, expected in ((False, left), (True, right)):
        single, shared = SearchSorted(0, side), SearchSorted(1, side)
        graph = graph_of(
            lambda x, y, a=single: x.emit("searchsorted", y, attributes=a), f64(len(table)), f64(len(values))
        )
        assert run(graph, table, values)[0].tolist() == expected, case
        graph = graph_of(
            lambda x, y, a=shared: x.emit("searchsorted", y, attributes=a), f64(2, len(table)), f64(2, len(values))
        )
        assert run(graph, [table] * 2, [values] * 2)[0].tolist() == [expected] * 2, case


def test_a_table_in_disorder_has_a_result_that_does_not_depend_on_its_neighbours() -> None:
    table, values = np.random.default_rng(0).normal(size=50), np.random.default_rng(1).normal(size=40)

    def search(x: Value, y: Value) -> Value:
        return x.emit("searchsorted", y, attributes=SearchSorted())

    together = run(graph_of(search, f64(50), f64(40)), table, values)[0]
    alone = [run(graph_of(search, f64(50), f64(1)), table, [one])[0][0] for one in values]
    assert together.tolist() == alone


# Running reductions


@pytest.mark.parametrize(
    ("case", "function", "point", "expected"),
    [
        ("ties share evenly", running("max"), [1.0, 1.0, 1.0], [[1, 0, 0], [1 / 2, 1 / 2, 0], [1 / 3, 1 / 3, 1 / 3]]),
        ("a new largest begins anew", running("max"), [1.0, 1.0, 2.0], [[1, 0, 0], [1 / 2, 1 / 2, 0], [0, 0, 1]]),
        ("what lies below has no part", running("max"), [2.0, 1.0, 2.0], [[1, 0, 0], [1, 0, 0], [1 / 2, 0, 1 / 2]]),
        ("the smallest", running("min"), [2.0, 1.0, 1.0], [[1, 0, 0], [0, 1, 0], [0, 1 / 2, 1 / 2]]),
        ("backwards", running("max", True), [1.0, 2.0, 2.0], [[0, 1 / 2, 1 / 2], [0, 1 / 2, 1 / 2], [0, 0, 1]]),
        ("zeros of both signs tie", running("max"), [0.0, -0.0], [[1, 0], [1 / 2, 1 / 2]]),
        ("NaN takes over", running("max"), [1.0, NAN, 2.0, NAN],
         [[1, 0, 0, 0], [0, 1, 0, 0], [0, 1, 0, 0], [0, 1 / 2, 0, 1 / 2]]),
        ("infinities are numbers", running("min"), [INF, -INF, INF], [[1, 0, 0], [0, 1, 0], [0, 1, 0]]),
        ("max of sqrt", lambda x: running("max")(sqrt(x)), [4.0, 0.0, 1.0], [[1 / 4, 0, 0]] * 3),
        ("a product with a zero", running("prod"), [2.0, 0.0, 3.0], [[1, 0, 0], [0, 2, 0], [0, 6, 0]]),
        ("a product with two zeros", running("prod"), [0.0, 0.0, 3.0], [[1, 0, 0], [0, 0, 0], [0, 0, 0]]),
        ("a sum of sqrt", lambda x: running("sum")(sqrt(x)), [4.0, 0.0], [[1 / 4, 0], [1 / 4, INF]]),
        ("logsumexp from -inf on", running("logsumexp"), [-INF, 0.0], [[0, 0], [0, 1]]),
        ("logsumexp of all -inf", running("logsumexp"), [-INF, -INF], [[0, 0], [0, 0]]),
        ("+inf share evenly", running("logsumexp"), [INF] * 3, [[1, 0, 0], [1 / 2, 1 / 2, 0], [1 / 3, 1 / 3, 1 / 3]]),
        ("+inf takes over", running("logsumexp"), [1.0, INF, 2.0], [[1, 0, 0], [0, 1, 0], [0, 1, 0]]),
        ("one element", running("max"), [NAN], [[1]]),
        ("one factor", running("prod"), [0.0], [[1]]),
    ],
)  # fmt: skip
def test_derivatives_of_running_reductions(
    case: str, function: Callable[[Value], Value], point: list[float], expected: Any
) -> None:
    for road, found in jacobians(function, point).items():
        np.testing.assert_allclose(found, expected, rtol=1e-14, atol=0, err_msg=f"{case}, {road}")


@pytest.mark.parametrize("name", ["max", "min", "prod"])
def test_the_last_of_a_running_reduction_is_the_reduction(name: str) -> None:
    for point in ([2.0, 1.0, 2.0, 2.0, 1.0], [0.0, -0.0, 0.0, NAN, 1.0], [0.0, 3.0, 2.0, 5.0, 0.0]):
        reduction = graph_of(lambda x: x.emit(name, attributes=Axes((0,))), f64(5))
        expected = run(grad(reduction, [0]), point)[0]
        for road, found in jacobians(last(name), point).items():
            np.testing.assert_allclose(found, expected, rtol=1e-14, err_msg=f"{point}, {road}")


@pytest.mark.parametrize(
    ("case", "function", "point", "expected"),
    [
        ("a product with two zeros", last("prod"), [0.0, 0.0, 3.0], [[0, 3, 0], [3, 0, 0], [0, 0, 0]]),
        ("a product with one zero", last("prod"), [0.0, 2.0, 3.0], [[0, 3, 2], [3, 0, 0], [2, 0, 0]]),
        ("the largest at a tie", last("max"), [1.0, 1.0], [[0, 0], [0, 0]]),
        ("the largest square", lambda x: last("max")(square(x)), [1.0, 3.0], [[0, 0], [0, 2]]),
        ("logsumexp at a tie", last("logsumexp"), [1.0, 1.0], [[1 / 4, -1 / 4], [-1 / 4, 1 / 4]]),
    ],
)
def test_hessians_of_running_reductions(
    case: str, function: Callable[[Value], Value], point: list[float], expected: Any
) -> None:
    for modes, graph in second(graph_of(function, f64(len(point))), 0, 0).items():
        np.testing.assert_allclose(run(graph, point)[0], expected, rtol=1e-14, atol=1e-300, err_msg=f"{case}: {modes}")


def test_long_runs_do_not_cancel() -> None:
    """A slope of 1e300 in an earlier run leaves later ones exact."""

    def function(x: Value) -> Value:
        return running("max")(where(x > 5.0, x, x * 1e300))

    x = np.concatenate([np.full(3, 4.0), np.full(40, 1e308)])
    for road, found in jacobians(function, x).items():
        np.testing.assert_allclose(
            found[-1], np.concatenate([np.zeros(3), np.full(40, 1 / 40)]), rtol=1e-14, err_msg=road
        )


# The norm of tiny and huge numbers


@pytest.mark.parametrize("size", [1e-310, 1e-200, 1e-160, 1.0, 1e160, 1e200, 1e307])
def test_norms_neither_underflow_nor_overflow(size: float) -> None:
    graph = graph_of(lambda x: norm(x, [0]), f64(2))
    x = np.array([3.0, 4.0]) * size
    np.testing.assert_allclose(run(graph, x)[0], 5.0 * size, rtol=1e-13)
    np.testing.assert_allclose(run(grad(graph, [0]), x)[0], [0.6, 0.8], rtol=1e-13)
    small = np.float32([3e-30, 4e-30])
    found = run(graph_of(lambda x: norm(x, [0]), TensorType(DType.FLOAT32, (2,))), small)[0]
    np.testing.assert_allclose(found, np.float32(5e-30), rtol=1e-6)


def test_norms_of_rows_are_scaled_row_by_row() -> None:
    rows = np.array([[3e-200, 4e-200], [3.0, 4.0], [0.0, 0.0], [3e200, 4e200], [INF, 1.0], [NAN, 1.0]])
    found = run(graph_of(lambda x: norm(x, [1]), f64(6, 2)), rows)[0]
    np.testing.assert_allclose(found, [5e-200, 5.0, 0.0, 5e200, INF, NAN], rtol=1e-14)
