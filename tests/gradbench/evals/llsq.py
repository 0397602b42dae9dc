"""llsq: how badly a polynomial fits the sign function at n points of [−1, 1], and the gradient by its coefficients."""

from __future__ import annotations

from typing import Any

import numpy as np
from tests.gradbench.task import Functions, Input, Task

import gradwire as gw


def powers(t: Any, count: int) -> Any:
    """(count, n): tʲ for each j, twice as many with each product."""
    found, power = np.ones((1, t.shape[0])), t
    while found.shape[0] < count:
        found = np.concatenate([found, found * power])
        power = power * power
    return found[:count]


def misfit(x: Any, t: Any) -> Any:
    """½ Σ_i (sign(t_i) − Σ_j x_j t_iʲ)²."""
    return 0.5 * np.sum((np.sign(t) - x @ powers(t, x.shape[0])) ** 2)


VALUE, GRADIENT = gw.remote(misfit), gw.grad(misfit)


def _arguments(input: Input) -> tuple[np.ndarray, np.ndarray]:
    n = input["n"]
    return np.asarray(input["x"], dtype=np.float64), -1.0 + 2.0 * np.arange(n) / (n - 1)


def _primal(input: Input) -> Task:
    given = _arguments(input)
    return Task(lambda: VALUE(*given))


def _gradient(input: Input) -> Task:
    given = _arguments(input)
    return Task(lambda: GRADIENT(*given))


FUNCTIONS: Functions = {"primal": _primal, "gradient": _gradient}
