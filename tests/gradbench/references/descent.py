"""The prescribed gradient descent as the benchmark writes it, with complex numbers.

Decisions are taken on real parts, so that an imaginary step passes through a whole search (complex-step
differentiation).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


def magnitude(x: Any) -> float:
    """The Euclidean length of the real part."""
    return float(np.sqrt(np.sum(np.real(x) ** 2)))


def argmin(objective: Callable[[Any], Any], gradient: Callable[[Any], Any], start: Any) -> Any:
    """Where the descent ends."""
    x, value, slope, eta, i = start, objective(start), gradient(start), 1e-5, 0
    while True:
        if magnitude(slope) <= 1e-5:
            return x
        if i == 10:
            eta, i = 2 * eta, 0
            continue
        tried = x - eta * slope
        if magnitude(x - tried) <= 1e-5:
            return x
        if np.real(objective(tried)) < np.real(value):
            x, value, slope, i = tried, objective(tried), gradient(tried), i + 1
        else:
            eta, i = eta / 2, 0
