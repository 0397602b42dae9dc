"""particle: where to put a charge so that a particle, pushed by it, crosses the x-axis at the origin.

The particle's path is a loop that ends when it is about to cross; its acceleration is itself a derivative. So the
derivative that the outer descent follows is one of a loop with a derivative inside, each in either mode: `rf` is
reverse outside, forward inside.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from tests.gradbench.evals.descent import argmin
from tests.gradbench.task import Functions, Input, Task

import gradwire as gw

START, VELOCITY = np.array([0.0, 8.0]), np.array([0.75, 0.0])
TIME_STEP = 0.1
MOST_STEPS = 10_000


def charges(w: Any) -> Any:
    """Where the two unit charges are: (10, 0) and (10, 10 − w)."""
    return np.array([[10.0, 0.0], [10.0, 10.0]]) - w * np.array([[0.0, 0.0], [0.0, 1.0]])


def potential(x: Any, places: Any) -> Any:
    """The sum of the reciprocal distances."""
    return np.sum(np.sum((x - places) ** 2, axis=1) ** -0.5)


DERIVATIVES: dict[str, Callable[[Any], Any]] = {"f": gw.jacfwd, "r": gw.grad}


def missed_by(inner: str) -> Callable[[Any], Any]:
    """w ↦ the square of where the particle crosses the x-axis; the acceleration by the mode `inner`."""
    slope = DERIVATIVES[inner](potential)

    def crossing(w: Any) -> Any:
        places = charges(w)

        def is_above(state: Any) -> Any:
            x, v = state
            return x[1] + TIME_STEP * v[1] > 0.0

        def step(state: Any) -> Any:
            x, v = state
            return x + TIME_STEP * v, v - TIME_STEP * slope(x, places)

        x, v = gw.while_loop(is_above, step, (START, VELOCITY), max_steps=MOST_STEPS)
        time = -x[1] / v[1]
        return (x[0] + time * v[0]) ** 2

    return crossing


def value_and_slope(modes: str) -> gw.Remote:
    """w ↦ (the square, its derivative), the derivative by the first mode, the accelerations by the second."""
    outer, inner = modes
    function = missed_by(inner)
    if outer == "r":
        return gw.value_and_grad(function)
    return gw.remote(lambda w: gw.jvp(function, (w,), (1.0,)))


CALLS = {modes: value_and_slope(modes) for modes in ("ff", "fr", "rf", "rr")}


def _best(modes: str) -> Callable[[Input], Task]:
    return lambda input: Task(lambda: argmin(CALLS[modes], float(input["w"])))


FUNCTIONS: Functions = {modes: _best(modes) for modes in CALLS}
