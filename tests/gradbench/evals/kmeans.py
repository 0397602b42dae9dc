"""kmeans: the cost of a clustering, and Newton's step for its centroids: the gradient over the Hessian's diagonal.

The Hessian is diagonal, so its product with ones is its diagonal: one sweep, forward over reverse.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from tests.gradbench.task import Functions, Input, Task

import gradwire as gw


def cost(centroids: Any, points: Any) -> Any:
    """The sum over the points of the squared distance to the nearest centroid.

    Which is nearest needs no derivative, and is seen from |c|² − 2 c·p, which is one matrix product.
    """
    nearest = np.argmin(np.sum(centroids**2, axis=1) - 2.0 * points @ centroids.T, axis=1)
    return np.sum((centroids[nearest] - points) ** 2)


def direction(centroids: Any, points: Any) -> Any:
    """The gradient over the Hessian's diagonal."""
    (gradient, _), (diagonal, _) = gw.hvp(cost, (centroids, points), (np.ones(centroids.shape), None))
    return gradient / diagonal


COST, DIRECTION = gw.remote(cost), gw.remote(direction)


def _arguments(input: Input) -> list[np.ndarray]:
    return [np.asarray(input[name], dtype=np.float64) for name in ("centroids", "points")]


def _cost(input: Input) -> Task:
    given = _arguments(input)
    return Task(lambda: COST(*given))


def _direction(input: Input) -> Task:
    given = _arguments(input)
    return Task(lambda: DIRECTION(*given))


FUNCTIONS: Functions = {"cost": _cost, "dir": _direction}
