"""det as its eval asks: its inputs, and determinant and cofactors by LU factorisations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

GOLDEN = 0.004911350094511795
"""Of the first input."""


def inputs() -> Iterator[tuple[str, dict[str, Any]]]:
    """All of the eval's, in its order, from one stream of random numbers."""
    rng = np.random.RandomState(31337)
    for size in range(5, 12):
        yield f"{size}", {"A": rng.rand(size * size).tolist(), "ell": size}


def expected(function: str, input: dict[str, Any]) -> Any:
    """The golden answer."""
    size = input["ell"]
    matrix = np.reshape(input["A"], (size, size))
    if function == "primal":
        return float(np.linalg.det(matrix))
    others = [[other for other in range(size) if other != one] for one in range(size)]
    minors = [[np.linalg.det(matrix[np.ix_(rows, columns)]) for columns in others] for rows in others]
    signs = (-1.0) ** np.add.outer(np.arange(size), np.arange(size))
    return (signs * minors).ravel().tolist()
