"""ode: a chain of linear differential equations by the classical Runge-Kutta method, and its last value's gradient."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from tests.gradbench.task import Functions, Input, Task

import gradwire as gw

END = 2.0


@cache
def solution(steps: int) -> Any:
    """x ↦ y(2), where y'_0 = x_0, y'_i = x_i y_{i−1}, y(0) = 0, in so many steps."""
    h = END / steps

    def solve(x: Any) -> Any:
        def slope(y: Any) -> Any:
            return x * np.concatenate([np.ones(1), y[:-1]])

        def step(_: Any, y: Any) -> Any:
            first = slope(y)
            second = slope(y + 0.5 * h * first)
            third = slope(y + 0.5 * h * second)
            fourth = slope(y + h * third)
            return y + h / 6.0 * (first + 2.0 * second + 2.0 * third + fourth)

        return gw.fori_loop(0, steps, step, np.zeros_like(x))

    return solve


@cache
def last(steps: int) -> Any:
    """x ↦ y_{n−1}(2)."""
    solve = solution(steps)
    return lambda x: solve(x)[-1]


def _primal(input: Input) -> Task:
    x, function = np.asarray(input["x"], dtype=np.float64), gw.remote(solution(input["s"]))
    return Task(lambda: function(x))


def _gradient(input: Input) -> Task:
    x, function = np.asarray(input["x"], dtype=np.float64), gw.grad(last(input["s"]))
    return Task(lambda: function(x))


FUNCTIONS: Functions = {"primal": _primal, "gradient": _gradient}
