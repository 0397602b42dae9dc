"""Problems 1 to 19 of Moré, Garbow and Hillstrom: the number of variables is fixed.

The formulas and data are those of the paper, except in problem 11, where its "mi" is a minus sign.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from tests.corpora.problem import Optimum, Problem


def rosenbrock(xp: Any, x: Any) -> Any:
    return xp.stack([10.0 * (x[1] - x[0] ** 2), 1.0 - x[0]])


def freudenstein_roth(xp: Any, x: Any) -> Any:
    return xp.stack(
        [
            -13.0 + x[0] + ((5.0 - x[1]) * x[1] - 2.0) * x[1],
            -29.0 + x[0] + ((x[1] + 1.0) * x[1] - 14.0) * x[1],
        ]
    )


def powell_badly_scaled(xp: Any, x: Any) -> Any:
    return xp.stack([1e4 * x[0] * x[1] - 1.0, xp.exp(-x[0]) + xp.exp(-x[1]) - 1.0001])


def brown_badly_scaled(xp: Any, x: Any) -> Any:
    return xp.stack([x[0] - 1e6, x[1] - 2e-6, x[0] * x[1] - 2.0])


def beale(xp: Any, x: Any) -> Any:
    return np.array([1.5, 2.25, 2.625]) - x[0] * (1.0 - x[1] ** np.arange(1.0, 4.0))


def jennrich_sampson(xp: Any, x: Any) -> Any:
    i = np.arange(1.0, 11.0)
    return 2.0 + 2.0 * i - (xp.exp(i * x[0]) + xp.exp(i * x[1]))


def helical_valley(xp: Any, x: Any) -> Any:
    turns = xp.arctan(x[1] / x[0]) / (2.0 * np.pi) + xp.where(x[0] > 0.0, 0.0, 0.5)
    radius = xp.sqrt(x[0] ** 2 + x[1] ** 2)
    return xp.stack([10.0 * (x[2] - 10.0 * turns), 10.0 * (radius - 1.0), x[2]])


BARD_Y = np.array([0.14, 0.18, 0.22, 0.25, 0.29, 0.32, 0.35, 0.39, 0.37, 0.58, 0.73, 0.96, 1.34, 2.10, 4.39])


def bard(xp: Any, x: Any) -> Any:
    u = np.arange(1.0, 16.0)
    v = 16.0 - u
    return BARD_Y - (x[0] + u / (v * x[1] + np.minimum(u, v) * x[2]))


GAUSSIAN_RISE = [0.0009, 0.0044, 0.0175, 0.0540, 0.1295, 0.2420, 0.3521]
GAUSSIAN_Y = np.array([*GAUSSIAN_RISE, 0.3989, *reversed(GAUSSIAN_RISE)])


def gaussian(xp: Any, x: Any) -> Any:
    t = (8.0 - np.arange(1.0, 16.0)) / 2.0
    return x[0] * xp.exp(-0.5 * x[1] * (t - x[2]) ** 2) - GAUSSIAN_Y


MEYER_Y = np.array(
    [34780, 28610, 23650, 19630, 16370, 13720, 11540, 9744, 8261, 7030, 6005, 5147, 4427, 3820, 3307, 2872],
    dtype=np.float64,
)


def meyer(xp: Any, x: Any) -> Any:
    t = 45.0 + 5.0 * np.arange(1.0, 17.0)
    return x[0] * xp.exp(x[1] / (t + x[2])) - MEYER_Y


def gulf(xp: Any, x: Any) -> Any:
    t = np.arange(1.0, 100.0) / 100.0
    y = 25.0 + (-50.0 * np.log(t)) ** (2.0 / 3.0)
    return xp.exp(-(xp.abs(y - x[1]) ** x[2]) / x[0]) - t


def box(xp: Any, x: Any) -> Any:
    t = 0.1 * np.arange(1.0, 11.0)
    return xp.exp(-t * x[0]) - xp.exp(-t * x[1]) - x[2] * (np.exp(-t) - np.exp(-10.0 * t))


def powell_singular(xp: Any, x: Any) -> Any:
    return xp.stack(
        [
            x[0] + 10.0 * x[1],
            np.sqrt(5.0) * (x[2] - x[3]),
            (x[1] - 2.0 * x[2]) ** 2,
            np.sqrt(10.0) * (x[0] - x[3]) ** 2,
        ]
    )


def wood(xp: Any, x: Any) -> Any:
    return xp.stack(
        [
            10.0 * (x[1] - x[0] ** 2),
            1.0 - x[0],
            np.sqrt(90.0) * (x[3] - x[2] ** 2),
            1.0 - x[2],
            np.sqrt(10.0) * (x[1] + x[3] - 2.0),
            (x[1] - x[3]) / np.sqrt(10.0),
        ]
    )


KOWALIK_Y = np.array([0.1957, 0.1947, 0.1735, 0.1600, 0.0844, 0.0627, 0.0456, 0.0342, 0.0323, 0.0235, 0.0246])
KOWALIK_U = np.array([4.0, 2.0, 1.0, 0.5, 0.25, 0.167, 0.125, 0.1, 0.0833, 0.0714, 0.0625])


def kowalik_osborne(xp: Any, x: Any) -> Any:
    u = KOWALIK_U
    return KOWALIK_Y - x[0] * (u**2 + u * x[1]) / (u**2 + u * x[2] + x[3])


def brown_dennis(xp: Any, x: Any) -> Any:
    t = np.arange(1.0, 21.0) / 5.0
    return (x[0] + t * x[1] - np.exp(t)) ** 2 + (x[2] + x[3] * np.sin(t) - np.cos(t)) ** 2


# fmt: off
OSBORNE_1_Y = np.array([
    0.844, 0.908, 0.932, 0.936, 0.925, 0.908, 0.881, 0.850, 0.818, 0.784, 0.751, 0.718, 0.685, 0.658, 0.628, 0.603,
    0.580, 0.558, 0.538, 0.522, 0.506, 0.490, 0.478, 0.467, 0.457, 0.448, 0.438, 0.431, 0.424, 0.420, 0.414, 0.411,
    0.406,
])
# fmt: on


def osborne_1(xp: Any, x: Any) -> Any:
    t = 10.0 * np.arange(33.0)
    return OSBORNE_1_Y - (x[0] + x[1] * xp.exp(-t * x[3]) + x[2] * xp.exp(-t * x[4]))


def biggs(xp: Any, x: Any) -> Any:
    t = 0.1 * np.arange(1.0, 14.0)
    y = np.exp(-t) - 5.0 * np.exp(-10.0 * t) + 3.0 * np.exp(-4.0 * t)
    return x[2] * xp.exp(-t * x[0]) - x[3] * xp.exp(-t * x[1]) + x[5] * xp.exp(-t * x[4]) - y


# fmt: off
OSBORNE_2_Y = np.array([
    1.366, 1.191, 1.112, 1.013, 0.991, 0.885, 0.831, 0.847, 0.786, 0.725, 0.746, 0.679, 0.608, 0.655, 0.616, 0.606,
    0.602, 0.626, 0.651, 0.724, 0.649, 0.649, 0.694, 0.644, 0.624, 0.661, 0.612, 0.558, 0.533, 0.495, 0.500, 0.423,
    0.395, 0.375, 0.372, 0.391, 0.396, 0.405, 0.428, 0.429, 0.523, 0.562, 0.607, 0.653, 0.672, 0.708, 0.633, 0.668,
    0.645, 0.632, 0.591, 0.559, 0.597, 0.625, 0.739, 0.710, 0.729, 0.720, 0.636, 0.581, 0.428, 0.292, 0.162, 0.098,
    0.054,
])
# fmt: on


def osborne_2(xp: Any, x: Any) -> Any:
    t = np.arange(65.0) / 10.0
    decay = x[0] * xp.exp(-t * x[4])
    bells = [x[i] * xp.exp(-((t - x[i + 7]) ** 2) * x[i + 4]) for i in (1, 2, 3)]
    return OSBORNE_2_Y - (decay + bells[0] + bells[1] + bells[2])


def _problem(number: int, residuals: Any, m: int, start: list[float], start_value: float, *optima: Optimum) -> Problem:
    return Problem(number, residuals, m, np.array(start), start_value, optima)


PROBLEMS = (
    _problem(1, rosenbrock, 2, [-1.2, 1.0], 24.2, Optimum(0.0, (1.0, 1.0))),
    _problem(
        2, freudenstein_roth, 2, [0.5, -2.0], 400.5, Optimum(0.0, (5.0, 4.0)), Optimum(48.9842, (11.4127, -0.896805))
    ),
    _problem(3, powell_badly_scaled, 2, [0.0, 1.0], 1.13526, Optimum(0.0, (1.09815e-5, 9.10614))),
    _problem(4, brown_badly_scaled, 3, [1.0, 1.0], 999998000003.0, Optimum(0.0, (1e6, 2e-6))),
    _problem(5, beale, 3, [1.0, 1.0], 14.203125, Optimum(0.0, (3.0, 0.5))),
    _problem(6, jennrich_sampson, 10, [0.3, 0.4], 4171.31, Optimum(124.362, (0.257825, 0.257825))),
    _problem(7, helical_valley, 3, [-1.0, 0.0, 0.0], 2500.0, Optimum(0.0, (1.0, 0.0, 0.0))),
    _problem(8, bard, 15, [1.0, 1.0, 1.0], 41.6817, Optimum(8.21487e-3), Optimum(17.4286)),
    _problem(9, gaussian, 15, [0.4, 1.0, 0.0], 3.88811e-6, Optimum(1.12793e-8)),
    _problem(10, meyer, 16, [0.02, 4000.0, 250.0], 1.69361e9, Optimum(87.9458)),
    _problem(11, gulf, 99, [5.0, 2.5, 0.15], 12.1107, Optimum(0.0, (50.0, 25.0, 1.5))),
    _problem(12, box, 10, [0.0, 10.0, 20.0], 1031.15, Optimum(0.0, (1.0, 10.0, 1.0)), Optimum(0.0, (10.0, 1.0, -1.0))),
    _problem(13, powell_singular, 4, [3.0, -1.0, 0.0, 1.0], 215.0, Optimum(0.0, (0.0, 0.0, 0.0, 0.0))),
    _problem(14, wood, 6, [-3.0, -1.0, -3.0, -1.0], 19192.0, Optimum(0.0, (1.0, 1.0, 1.0, 1.0))),
    _problem(15, kowalik_osborne, 11, [0.25, 0.39, 0.415, 0.39], 5.31317e-3, Optimum(3.07505e-4), Optimum(1.02734e-3)),
    _problem(16, brown_dennis, 20, [25.0, 5.0, -5.0, -1.0], 7926693.34, Optimum(85822.2)),
    _problem(17, osborne_1, 33, [0.5, 1.5, -1.0, 0.01, 0.02], 0.879026, Optimum(5.46489e-5)),
    _problem(
        18,
        biggs,
        13,
        [1.0, 2.0, 1.0, 1.0, 1.0, 1.0],
        0.779070,
        Optimum(5.65565e-3),
        Optimum(0.0, (1.0, 10.0, 1.0, 5.0, 4.0, 3.0)),
        Optimum(0.0, (4.0, 10.0, 3.0, 5.0, 1.0, 1.0)),
    ),
    _problem(
        19, osborne_2, 65, [1.3, 0.65, 0.65, 0.7, 0.6, 3.0, 5.0, 7.0, 2.0, 4.5, 5.5], 2.09342, Optimum(4.01377e-2)
    ),
)
