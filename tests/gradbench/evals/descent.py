"""The gradient descent that GradBench prescribes for particle and saddle, as a loop in Python and as one in a program.

The step length doubles after ten steps that went down, and halves after one that did not. It ends where the gradient or
the step is no longer than 1e-5.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import gradwire as gw

FIRST_LENGTH = 1e-5
SHORT = 1e-5
PATIENCE = 10
MOST_STEPS = 2_000


def argmin(value_and_gradient: Callable[[Any], tuple[Any, Any]], start: Any) -> Any:
    """Where the value is least, each value and gradient being a call."""
    x, length, good = start, FIRST_LENGTH, 0
    value, gradient = value_and_gradient(x)
    while np.linalg.norm(gradient) > SHORT:
        if good == PATIENCE:
            length, good = 2.0 * length, 0
        tried = x - length * gradient
        if np.linalg.norm(x - tried) <= SHORT:
            return x
        tried_value, tried_gradient = value_and_gradient(tried)
        if tried_value < value:
            x, value, gradient, good = tried, tried_value, tried_gradient, good + 1
        else:
            length, good = length / 2.0, 0
    return x


def traced_argmin(objective: Callable[[Any], Any], gradient: Callable[[Any], Any], start: Any) -> Any:
    """The same inside a program: a while loop that can itself be differentiated."""

    def length_of(x: Any) -> Any:
        return np.sqrt(np.sum(x**2))

    def goes_on(state: Any) -> Any:
        _, _, slope, _, _, is_short = state
        return np.logical_and(np.logical_not(is_short), length_of(slope) > SHORT)

    def step(state: Any) -> Any:
        x, value, slope, length, good, _ = state
        is_patient = good == PATIENCE
        length, good = np.where(is_patient, 2.0 * length, length), np.where(is_patient, 0, good)
        tried = x - length * slope
        tried_value = objective(tried)
        is_short = length_of(x - tried) <= SHORT
        is_down = np.logical_and(np.logical_not(is_short), tried_value < value)
        return (
            np.where(is_down, tried, x),
            np.where(is_down, tried_value, value),
            np.where(is_down, gradient(tried), slope),
            np.where(is_down, length, length / 2.0),
            np.where(is_down, good + 1, 0),
            is_short,
        )

    state = (start, objective(start), gradient(start), np.float64(FIRST_LENGTH), np.int64(0), np.bool_(False))
    return gw.while_loop(goes_on, step, state, max_steps=MOST_STEPS)[0]
