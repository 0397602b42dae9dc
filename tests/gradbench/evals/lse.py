"""lse: the logarithm of a sum of exponentials, made of its parts as the eval wants it, and its gradient."""

from __future__ import annotations

from typing import Any

import numpy as np
from tests.gradbench.task import Functions, Input, Task

import gradwire as gw


def log_sum_exp(x: Any) -> Any:
    """log Σ exp(x), shifted by the largest."""
    largest = np.max(x)
    return largest + np.log(np.sum(np.exp(x - largest)))


VALUE, GRADIENT = gw.remote(log_sum_exp), gw.grad(log_sum_exp)


def _primal(input: Input) -> Task:
    x = np.asarray(input["x"], dtype=np.float64)
    return Task(lambda: VALUE(x))


def _gradient(input: Input) -> Task:
    x = np.asarray(input["x"], dtype=np.float64)
    return Task(lambda: GRADIENT(x))


FUNCTIONS: Functions = {"primal": _primal, "gradient": _gradient}
