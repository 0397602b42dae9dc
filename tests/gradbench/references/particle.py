"""particle as its eval asks, and the particle's path with the force written by hand."""

from __future__ import annotations

from typing import Any

import numpy as np

INPUT = {"w": 0.0}
GOLDEN = 0.2071918746486116


def expected(function: str, input: Any) -> float:
    """The golden answer, the same for all modes."""
    return GOLDEN


def missed_by(w: Any) -> Any:
    """The square of where the particle crosses the x-axis, for real and complex w."""
    x, v = np.array([0.0, 8.0], dtype=complex), np.array([0.75, 0.0], dtype=complex)
    charges = np.array([[10.0, 0.0], [10.0, 10.0 - w]], dtype=complex)
    while (x + 0.1 * v)[1].real > 0:
        away = x - charges
        force = np.sum(away / np.sqrt(np.sum(away**2, axis=1, keepdims=True)) ** 3, axis=0)
        x, v = x + 0.1 * v, v + 0.1 * force
    return (x[0] - x[1] / v[1] * v[0]) ** 2
