"""What a problem of the corpus is: residuals whose sum of squares is minimised."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class Optimum(NamedTuple):
    """A local minimum of the sum of squares, with the digits that were published."""

    value: float
    at: tuple[float, ...] | None = None
    """Where it is attained; None where that was not published, or where it is approached at infinity."""


class Problem(NamedTuple):
    """A sum of `m` squares in as many variables as `start` has."""

    number: int
    """Its number in the paper."""
    residuals: Callable[[Any, Any], Any]
    """(namespace, x) -> the m residuals; the namespace is numpy, or another one with numpy's functions."""
    m: int
    start: np.ndarray
    start_value: float
    """The sum of squares at the start."""
    optima: tuple[Optimum, ...]

    @property
    def name(self) -> str:
        return f"{self.residuals.__name__}-{len(self.start)}"
