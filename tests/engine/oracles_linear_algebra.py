"""The ops of linear algebra for independent engines.

Matrices that are symmetric to an op are made symmetric here too, so that gradients agree. Where an engine has no
function of its own, the result is built from others: a triangular system is solved as a general one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Function = Callable[..., Any]


def numpy_like(xp: Any) -> dict[str, Function]:
    """In a namespace like numpy's, with its `linalg`."""

    def symmetric(a: Any) -> Any:
        return (a + xp.swapaxes(a, -1, -2)) / 2.0

    def triangular_solve(attributes: Any, a: Any, b: Any) -> Any:
        ones = np.ones(a.shape)
        offset = int(attributes.unit_diagonal)
        triangle = a * (np.tril(ones, -offset) if attributes.lower else np.triu(ones, offset))
        if attributes.unit_diagonal:
            triangle = triangle + np.eye(a.shape[-1])
        return xp.linalg.solve(xp.swapaxes(triangle, -1, -2) if attributes.transposed else triangle, b)

    return {
        "cholesky": lambda _, a: xp.linalg.cholesky(symmetric(a)),
        "triangular_solve": triangular_solve,
        "solve": lambda _, a, b: xp.linalg.solve(a, b),
    }


def torch_functions(torch: Any) -> dict[str, Function]:
    """In torch."""

    def symmetric(a: Any) -> Any:
        return (a + a.mT) / 2.0

    def triangular_solve(attributes: Any, a: Any, b: Any) -> Any:
        matrix = a.mT if attributes.transposed else a
        return torch.linalg.solve_triangular(
            matrix, b, upper=attributes.lower is attributes.transposed, unitriangular=attributes.unit_diagonal
        )

    return {
        "cholesky": lambda _, a: torch.linalg.cholesky(symmetric(a)),
        "triangular_solve": triangular_solve,
        "solve": lambda _, a, b: torch.linalg.solve(a, b),
    }
