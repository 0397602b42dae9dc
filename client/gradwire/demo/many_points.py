"""Many points in one call: value and gradient of a function at 100,000 points, in chunks, with a progress bar."""

from __future__ import annotations

import time

import numpy as np

import gradwire as gw
from gradwire.demo.report import Report
from gradwire.demo.worked_examples import sine_and_product

POINTS = 100_000
CHUNK = 10_000


def run(report: Report) -> None:
    """Evaluate, check against the formulas, and say how fast it was."""
    report.heading(f"{POINTS:,} points of f(x, y) = sin(x) + x*y, value and gradient")
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(2, POINTS))
    batched = gw.vmap(gw.value_and_grad(sine_and_product, argnums=(0, 1)))
    batched(x[:CHUNK], y[:CHUNK])  # the program is prepared when the clock starts
    start = time.perf_counter()
    values, (by_x, by_y) = batched.map(x, y, chunk=CHUNK, progress=True)
    seconds = time.perf_counter() - start
    report.check("values", values, np.sin(x) + x * y, 1e-15)
    report.check("gradient by x", by_x, np.cos(x) + y, 1e-15)
    report.check("gradient by y", by_y, x, 0.0)
    report.say(f"  {seconds:.3f} s: {POINTS / seconds:,.0f} points a second, wire included.")
