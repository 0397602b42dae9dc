"""gmm: the log posterior of a Gaussian mixture with a Wishart prior, and its gradient by all parameters.

Component k has the weight softmax(α)_k, the mean μ_k, and as the root of its inverse covariance the lower triangular
Q_k: exp(q_k) on the diagonal, l_k below it, column by column. Q_k (x_i − μ_k) is Q_k x_i − Q_k μ_k, so that all points
and components together are one matrix product.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from tests.gradbench.task import Functions, Input, Task

import gradwire as gw

PARAMETERS = ("alpha", "mu", "q", "l")


def triangle_places(d: int) -> np.ndarray:
    """For each element of a d x d lower triangular matrix its place in (diagonal, below, one zero)."""
    places = np.full((d, d), d + d * (d - 1) // 2)
    np.fill_diagonal(places, np.arange(d))
    columns, rows = np.triu_indices(d, 1)  # of the transpose: column by column
    places[rows, columns] = d + np.arange(len(rows))
    return places


def objective(alpha: Any, mu: Any, q: Any, below: Any, x: Any, gamma: Any, m: Any, constant: Any) -> Any:
    """The log posterior; `below` are the l, `constant` is what depends on no parameter."""
    (n, d), k = x.shape, alpha.shape[0]
    diagonals = np.exp(q)
    elements = np.concatenate([diagonals, below, np.zeros((k, 1))], axis=1)
    roots = elements[:, triangle_places(d)]
    means = np.einsum("kij,kj->ki", roots, mu)
    points = np.reshape(x @ np.reshape(roots, (k * d, d)).T, (n, k, d))
    log_weights = alpha + np.sum(q, axis=1) - 0.5 * np.sum((points - means) ** 2, axis=2)
    likelihood = np.sum(gw.special.logsumexp(log_weights, axis=1)) - n * gw.special.logsumexp(alpha)
    prior = m * np.sum(q) - 0.5 * gamma**2 * (np.sum(diagonals**2) + np.sum(below**2))
    return likelihood + prior + constant


def constant_part(n: int, d: int, k: int, gamma: float, m: int) -> float:
    """What the log posterior adds up to without any parameter."""
    freedom = d + m + 1
    log_gamma = d * (d - 1) / 4 * math.log(math.pi) + sum(math.lgamma((freedom - j) / 2) for j in range(d))
    wishart = freedom * d * (math.log(gamma) - 0.5 * math.log(2)) - log_gamma
    return k * wishart - 0.5 * n * d * math.log(2 * math.pi)


def arguments(input: Input) -> list[Any]:
    """Those of `objective`."""
    d, k, n = input["d"], input["k"], input["n"]
    shapes = {"alpha": (k,), "mu": (k, d), "q": (k, d), "l": (k, d * (d - 1) // 2), "x": (n, d)}
    gamma, m = float(input["gamma"]), input["m"]
    arrays = [np.reshape(np.asarray(input[name], dtype=np.float64), shape) for name, shape in shapes.items()]
    return [*arrays, gamma, float(m), constant_part(n, d, k, gamma, m)]


VALUE, GRADIENT = gw.remote(objective), gw.grad(objective, argnums=(0, 1, 2, 3))


def _objective(input: Input) -> Task:
    given = arguments(input)
    return Task(lambda: VALUE(*given))


def _jacobian(input: Input) -> Task:
    given = arguments(input)
    return Task(lambda: dict(zip(PARAMETERS, GRADIENT(*given), strict=True)))


FUNCTIONS: Functions = {"objective": _objective, "jacobian": _jacobian}
