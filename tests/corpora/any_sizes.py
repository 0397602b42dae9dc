"""Problems 20 to 35 of Moré, Garbow and Hillstrom: any number of variables, here numbers with published optima.

Two local minima are not in the paper but known since: that of problem 26, which is where the usual methods end, and the
lower one of problem 35 with ten variables.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from tests.corpora.problem import Optimum, Problem

Array = np.ndarray


def watson(xp: Any, x: Any) -> Any:
    t = np.arange(1.0, 30.0)[:, None] / 29.0
    power = np.arange(x.shape[0])
    values = xp.dot(t**power, x)
    slopes = xp.dot(power * t ** np.maximum(power - 1, 0), x)
    return xp.concatenate([slopes - values**2 - 1.0, xp.stack([x[0], x[1] - x[0] ** 2 - 1.0])])


def extended_rosenbrock(xp: Any, x: Any) -> Any:
    return xp.concatenate([10.0 * (x[1::2] - x[::2] ** 2), 1.0 - x[::2]])


def extended_powell(xp: Any, x: Any) -> Any:
    first, second, third, fourth = (x[i::4] for i in range(4))
    return xp.concatenate(
        [
            first + 10.0 * second,
            np.sqrt(5.0) * (third - fourth),
            (second - 2.0 * third) ** 2,
            np.sqrt(10.0) * (first - fourth) ** 2,
        ]
    )


WEIGHT = np.sqrt(1e-5)


def penalty_1(xp: Any, x: Any) -> Any:
    return xp.append(WEIGHT * (x - 1.0), xp.sum(x**2) - 0.25)


def penalty_2(xp: Any, x: Any) -> Any:
    n = x.shape[0]
    i = np.arange(2.0, n + 1)
    y = np.exp(i / 10.0) + np.exp((i - 1.0) / 10.0)
    grown = xp.exp(x / 10.0)
    return xp.concatenate(
        [
            x[:1] - 0.2,
            WEIGHT * (grown[1:] + grown[:-1] - y),
            WEIGHT * (grown[1:] - np.exp(-0.1)),
            xp.reshape(xp.sum(np.arange(n, 0.0, -1.0) * x**2) - 1.0, (1,)),
        ]
    )


def variably_dimensioned(xp: Any, x: Any) -> Any:
    total = xp.sum(np.arange(1.0, x.shape[0] + 1) * (x - 1.0))
    return xp.concatenate([x - 1.0, xp.stack([total, total**2])])


def trigonometric(xp: Any, x: Any) -> Any:
    n = x.shape[0]
    cosines = xp.cos(x)
    return n - xp.sum(cosines) + np.arange(1.0, n + 1) * (1.0 - cosines) - xp.sin(x)


def brown_almost_linear(xp: Any, x: Any) -> Any:
    return xp.append(x[:-1] + xp.sum(x) - (x.shape[0] + 1.0), xp.prod(x) - 1.0)


def _cubes(n: int, x: Any) -> tuple[float, Array, Any]:
    step = 1.0 / (n + 1)
    t = step * np.arange(1.0, n + 1)
    return step, t, (x + t + 1.0) ** 3


def discrete_boundary_value(xp: Any, x: Any) -> Any:
    step, _, cubes = _cubes(x.shape[0], x)
    padded = xp.concatenate([np.zeros(1), x, np.zeros(1)])
    return 2.0 * x - padded[:-2] - padded[2:] + step**2 * cubes / 2.0


def discrete_integral_equation(xp: Any, x: Any) -> Any:
    n = x.shape[0]
    step, t, cubes = _cubes(n, x)
    below = xp.dot(np.tril(np.ones((n, n))), t * cubes)
    above = xp.dot(np.triu(np.ones((n, n)), 1), (1.0 - t) * cubes)
    return x + step * ((1.0 - t) * below + t * above) / 2.0


def broyden_tridiagonal(xp: Any, x: Any) -> Any:
    padded = xp.concatenate([np.zeros(1), x, np.zeros(1)])
    return (3.0 - 2.0 * x) * x - padded[:-2] - 2.0 * padded[2:] + 1.0


def broyden_banded(xp: Any, x: Any) -> Any:
    n = x.shape[0]
    band = np.triu(np.tril(np.ones((n, n)), 1), -5) - np.eye(n)
    return x * (2.0 + 5.0 * x**2) + 1.0 - xp.dot(band, x * (1.0 + x))


ROWS = 20


def linear_full_rank(xp: Any, x: Any) -> Any:
    everywhere = -2.0 / ROWS * xp.sum(x) - 1.0
    return xp.concatenate([x + everywhere, everywhere * np.ones(ROWS - x.shape[0])])


def linear_rank_1(xp: Any, x: Any) -> Any:
    return np.arange(1.0, ROWS + 1) * xp.sum(np.arange(1.0, x.shape[0] + 1) * x) - 1.0


def linear_rank_1_with_zeros(xp: Any, x: Any) -> Any:
    n = x.shape[0]
    slope = np.arange(ROWS) * (np.arange(ROWS) < ROWS - 1)
    return slope * xp.sum(np.arange(2.0, n) * x[1:-1]) - 1.0


def chebyquad(xp: Any, x: Any) -> Any:
    """Means of the shifted Chebyshev polynomials over the points, less their integrals."""
    points = 2.0 * x - 1.0
    values = [np.ones(x.shape[0]), points]
    for _ in range(2, x.shape[0] + 1):
        values.append(2.0 * points * values[-1] - values[-2])
    i = np.arange(1, x.shape[0] + 1)
    integrals = np.where(i % 2 == 0, -1.0 / np.maximum(i**2 - 1.0, 1.0), 0.0)
    return xp.stack([xp.mean(value) for value in values[1:]]) - integrals


def _problem(number: int, residuals: Any, m: int, start: Array, start_value: float, *optima: Optimum) -> Problem:
    return Problem(number, residuals, m, start, start_value, optima)


def _indices(n: int) -> Array:
    return np.arange(1.0, n + 1)


def _roots_of_brown(n: int) -> float:
    """The root below 1 of n a^n - (n + 1) a^(n - 1) + 1, of which the minimum (a, ..., a, a^(1 - n)) is made."""
    roots = np.roots([n, -(n + 1.0), *[0.0] * (n - 2), 1.0])
    real = roots[np.abs(roots.imag) < 1e-9].real
    return float(real[(real > 0) & (real < 1 - 1e-6)][0])


NODES = _indices(10) / 11
BROWN = _roots_of_brown(10)

PROBLEMS = (
    _problem(20, watson, 31, np.zeros(6), 30.0, Optimum(2.28767e-3)),
    _problem(20, watson, 31, np.zeros(9), 30.0, Optimum(1.39976e-6)),
    _problem(20, watson, 31, np.zeros(12), 30.0, Optimum(4.72238e-10)),
    _problem(21, extended_rosenbrock, 10, np.tile([-1.2, 1.0], 5), 121.0, Optimum(0.0, (1.0,) * 10)),
    _problem(22, extended_powell, 12, np.tile([3.0, -1.0, 0.0, 1.0], 3), 645.0, Optimum(0.0, (0.0,) * 12)),
    _problem(23, penalty_1, 5, _indices(4), 885.063, Optimum(2.24997e-5)),
    _problem(23, penalty_1, 11, _indices(10), 148032.57, Optimum(7.08765e-5)),
    _problem(24, penalty_2, 8, np.full(4, 0.5), 2.34001, Optimum(9.37629e-6)),
    _problem(24, penalty_2, 20, np.full(10, 0.5), 162.653, Optimum(2.93660e-4)),
    _problem(25, variably_dimensioned, 12, 1.0 - _indices(10) / 10, 2198551.16, Optimum(0.0, (1.0,) * 10)),
    _problem(26, trigonometric, 10, np.full(10, 0.1), 7.07576e-3, Optimum(0.0), Optimum(2.79506e-5)),
    _problem(
        27,
        brown_almost_linear,
        10,
        np.full(10, 0.5),
        273.248,
        Optimum(0.0, (1.0,) * 10),
        Optimum(0.0, (*(BROWN,) * 9, BROWN**-9)),
        Optimum(1.0, (*(0.0,) * 9, 11.0)),
    ),
    _problem(28, discrete_boundary_value, 10, NODES * (NODES - 1.0), 7.88519e-4, Optimum(0.0)),
    _problem(29, discrete_integral_equation, 10, NODES * (NODES - 1.0), 6.34168e-2, Optimum(0.0)),
    _problem(30, broyden_tridiagonal, 10, np.full(10, -1.0), 21.0, Optimum(0.0)),
    _problem(31, broyden_banded, 10, np.full(10, -1.0), 360.0, Optimum(0.0)),
    _problem(32, linear_full_rank, ROWS, np.ones(10), 50.0, Optimum(10.0, (-1.0,) * 10)),
    _problem(33, linear_rank_1, ROWS, np.ones(10), 8658670.0, Optimum(ROWS * (ROWS - 1) / (2 * (2 * ROWS + 1)))),
    _problem(
        34,
        linear_rank_1_with_zeros,
        ROWS,
        np.ones(10),
        4067996.0,
        Optimum((ROWS**2 + 3 * ROWS - 6) / (2 * (2 * ROWS - 3))),
    ),
    _problem(35, chebyquad, 7, _indices(7) / 8, 3.37706e-2, Optimum(0.0)),
    _problem(35, chebyquad, 8, _indices(8) / 9, 3.86177e-2, Optimum(3.51687e-3)),
    _problem(35, chebyquad, 9, _indices(9) / 10, 2.88830e-2, Optimum(0.0)),
    _problem(35, chebyquad, 10, _indices(10) / 11, 3.37633e-2, Optimum(6.50395e-3), Optimum(4.77271e-3)),
)
