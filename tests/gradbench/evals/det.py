"""det: a determinant by expansion along the first row, and its gradient.

The minor that is left after the first rows depends only on which columns are left. So there are ℓ 2^(ℓ−1) − ℓ products,
11,253 at ℓ = 11, where the recursion as it is written has ℓ! terms. `by_minors` is that recursion with a table, number
by number. `determinant` computes the same minors, all of one size at once.
"""

from __future__ import annotations

from functools import cache
from itertools import combinations
from typing import Any

import numpy as np
from tests.gradbench.task import Functions, Input, Task

import gradwire as gw

Columns = tuple[int, ...]


def by_minors(matrix: Any) -> Any:
    """The determinant as a graph of numbers, each minor made of those with one column less."""
    size = matrix.shape[0]
    elements = [[matrix[row, column] for column in range(size)] for row in range(size)]

    @cache
    def minor(columns: Columns) -> Any:
        row = elements[size - len(columns)]
        if len(columns) == 1:
            return row[columns[0]]
        total: Any = None
        for place, column in enumerate(columns):
            term = row[column] * minor(columns[:place] + columns[place + 1 :])
            total = term if total is None else total - term if place % 2 else total + term
        return total

    return minor(tuple(range(size)))


def determinant(matrix: Any) -> Any:
    """The determinant from the minors of the last row, of the last two, and so on."""
    size = matrix.shape[0]
    minors = matrix[size - 1]
    left: list[Columns] = [(column,) for column in range(size)]
    for count in range(2, size + 1):
        place_of = {columns: place for place, columns in enumerate(left)}
        left = list(combinations(range(size), count))
        smaller = [[place_of[columns[:i] + columns[i + 1 :]] for i in range(count)] for columns in left]
        terms = matrix[size - count][np.array(left)] * minors[np.array(smaller)]
        minors = np.sum(terms[:, 0::2], axis=1) - np.sum(terms[:, 1::2], axis=1)
    return minors[0]


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
