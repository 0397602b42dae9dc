"""saddle: min over x of max over y of a function with a saddle point, by a descent inside a descent.

The inner one is a while loop in the program, led by a derivative of its own; the outer one follows the derivative of
the whole inner search. Each derivative in either mode: `rf` is reverse outside, forward inside.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from tests.gradbench.evals.descent import argmin, traced_argmin
from tests.gradbench.task import Functions, Input, Task

import gradwire as gw

DERIVATIVES: dict[str, Callable[..., Any]] = {"f": gw.jacfwd, "r": gw.grad}


def height(x: Any, y: Any) -> Any:
    """x₁² + x₂² − y₁² − y₂²."""
    return np.sum(x**2) - np.sum(y**2)


def argmax_by(inner: str) -> Callable[[Any, Any], Any]:
    """(x, start) ↦ the y that is highest, led by derivatives of the mode `inner`."""
    slope = DERIVATIVES[inner](height, argnums=1)

    def argmax(x: Any, start: Any) -> Any:
        return traced_argmin(lambda y: -height(x, y), lambda y: -slope(x, y), start)

    return argmax


def highest_by(inner: str) -> Callable[[Any, Any], Any]:
    """(x, start) ↦ the largest height over y."""
    argmax = argmax_by(inner)
    return lambda x, start: height(x, argmax(x, start))


def value_and_slope(modes: str) -> gw.Remote:
    """(x, start) ↦ (largest height, its gradient by x): the gradient by the first mode, the search by the second."""
    outer, inner = modes
    function = highest_by(inner)
    if outer == "r":
        return gw.value_and_grad(function)
    return gw.remote(lambda x, start: (function(x, start), gw.jacfwd(function)(x, start)))


CALLS = {modes: (value_and_slope(modes), gw.remote(argmax_by(modes[1]))) for modes in ("ff", "fr", "rf", "rr")}


def solve(modes: str, start: np.ndarray) -> np.ndarray:
    """(x, y) of the saddle point."""
    highest, argmax = CALLS[modes]
    x = argmin(lambda x: highest(x, start), start)
    return np.concatenate([x, argmax(x, start)])


def _saddle(modes: str) -> Callable[[Input], Task]:
    return lambda input: Task(lambda: solve(modes, np.asarray(input["start"], dtype=np.float64)))


FUNCTIONS: Functions = {modes: _saddle(modes) for modes in CALLS}
