"""Rotations by the exponential series of their generators, for real and complex axis-angles."""

from __future__ import annotations

from typing import Any

import numpy as np

TERMS = 60
STEP = 1e-30
"""The length of an imaginary step: derivatives are what becomes imaginary, over the length, and exact to rounding."""


def generator(axis_angle: Any) -> Any:
    """The matrix whose product with a vector is the cross product."""
    x, y, z = axis_angle
    return np.array([[0 * x, -z, y], [z, 0 * x, -x], [-y, x, 0 * x]])


def rotation(axis_angle: Any) -> Any:
    """exp of the generator."""
    total = term = np.eye(3, dtype=complex)
    for power in range(1, TERMS):
        term = term @ generator(axis_angle) / power
        total = total + term
    return total
