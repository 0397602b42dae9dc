"""The two examples that every introduction to automatic differentiation begins with, step by step."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import gradwire as gw
from gradwire.demo.report import Report


def sine_and_product(x: Any, y: Any) -> Any:
    """f(x, y) = sin(x) + x y."""
    return np.sin(x) + x * y


def sum_times_second(x1: Any, x2: Any) -> Any:
    """f(x1, x2) = (x1 + x2) x2."""
    return (x1 + x2) * x2


def run(report: Report) -> None:
    """Show and check both trace tables."""
    x, y = 1.5, 2.0
    report.heading("Forward mode: f(x, y) = sin(x) + x*y at (1.5, 2)")
    report.say("Each value travels with its tangents: what happens to it when x, or y, moves by one.\n")
    table = gw.explain(sine_and_product, x, y, mode="forward")
    report.say(str(table))
    expected = [
        (x, 1.0, 0.0),
        (y, 0.0, 1.0),
        (math.sin(x), math.cos(x), 0.0),
        (x * y, y, x),
        (math.sin(x) + x * y, math.cos(x) + y, x),
    ]
    report.check("the forward table", [(r.result, *r.derivatives) for r in table.rows], expected, 1e-15)
    report.check("jvp", gw.jvp(sine_and_product, (x, y), (1.0, 0.0)), (math.sin(x) + x * y, math.cos(x) + y), 1e-15)

    x1, x2 = 3.0, 2.0
    report.heading("Reverse mode: f(x1, x2) = (x1 + x2)*x2 at (3, 2)")
    report.say("The values first, downwards; then the adjoints, from the last line up: how f moves with each value.\n")
    table = gw.explain(sum_times_second, x1, x2, mode="reverse")
    report.say(str(table))
    expected_adjoints = [(x1, x2), (x2, x2 + (x1 + x2)), (x1 + x2, x2), ((x1 + x2) * x2, 1.0)]
    report.check("the reverse table", [(r.result, r.derivatives[0]) for r in table.rows], expected_adjoints, 1e-15)
    value, gradient = gw.value_and_grad(sum_times_second, argnums=(0, 1))(x1, x2)
    report.check("value_and_grad", (value, *gradient), ((x1 + x2) * x2, x2, x1 + 2 * x2), 1e-15)
