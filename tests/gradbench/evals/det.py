"""det: a determinant by expansion along the first row, and its gradient.

The minor that is left after the first rows depends only on which columns are left. So there are ℓ 2^(ℓ−1) − ℓ products,
11,253 at ℓ = 11, where the recursion as it is written has ℓ! terms. As in a table each minor is computed once.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from tests.gradbench.task import Functions, Input, Task

import gradwire as gw


def determinant(matrix: Any) -> Any:
    """By minors, each from those with one column less."""
    size = matrix.shape[0]

    @cache
    def minor(columns: tuple[int, ...]) -> Any:
        row = size - len(columns)
        if len(columns) == 1:
            return elements[row][columns[0]]
        total: Any = None
        for place, column in enumerate(columns):
            term = elements[row][column] * minor(columns[:place] + columns[place + 1 :])
            total = term if total is None else total - term if place % 2 else total + term
        return total

    elements = [[matrix[row, column] for column in range(size)] for row in range(size)]
    return minor(tuple(range(size)))


VALUE, GRADIENT = gw.remote(determinant), gw.grad(determinant)


def _argument(input: Input) -> np.ndarray:
    return np.reshape(np.asarray(input["A"], dtype=np.float64), (input["ell"], input["ell"]))


def _primal(input: Input) -> Task:
    matrix = _argument(input)
    return Task(lambda: VALUE(matrix))


def _gradient(input: Input) -> Task:
    matrix = _argument(input)
    return Task(lambda: GRADIENT(matrix).ravel())


FUNCTIONS: Functions = {"primal": _primal, "gradient": _gradient}
