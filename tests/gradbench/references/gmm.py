"""gmm as its eval asks: its inputs, and value and gradient component by component, differentiated by hand."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

DIMENSIONS = (2, 10, 20, 32, 64)
COMPONENTS = (5, 10, 25, 50, 100)
GOLDEN = {"2_5_1000": -3916.464821054467, "2_10_1000": -3449.1180168256496, "10_5_1000": -42572.68497551607}


def made_up(d: int, k: int, n: int, gamma: float = 1.0, m: int = 0) -> dict[str, Any]:
    """An input as the eval draws it."""
    rng = np.random.default_rng(31337)
    x = [rng.normal(size=d).tolist() for _ in range(n)]
    alpha = rng.normal(size=k).tolist()
    mu = [rng.uniform(size=d).tolist() for _ in range(k)]
    q = [rng.normal(size=d).tolist() for _ in range(k)]
    below = [rng.normal(size=d * (d - 1) // 2).tolist() for _ in range(k)]
    return {"d": d, "k": k, "n": n, "x": x, "m": m, "gamma": gamma, "alpha": alpha, "mu": mu, "q": q, "l": below}


def inputs() -> Iterator[tuple[str, dict[str, Any]]]:
    """All of the eval's, in its order."""
    for d, k in sorted([(d, k) for d in DIMENSIONS for k in COMPONENTS], key=lambda size: size[0] * size[1]):
        yield f"{d}_{k}_1000", made_up(d, k, 1000)


def _root(q: np.ndarray, below: np.ndarray) -> np.ndarray:
    root, place = np.diag(np.exp(q)), 0
    for column in range(len(q)):
        for row in range(column + 1, len(q)):
            root[row, column] = below[place]
            place += 1
    return root


def _entries_below(matrix: np.ndarray) -> list[float]:
    return [float(matrix[row, column]) for column in range(len(matrix)) for row in range(column + 1, len(matrix))]


def _log_sum_exp(x: np.ndarray) -> np.ndarray:
    largest = x.max(axis=-1)
    return largest + np.log(np.exp(x - largest[..., None]).sum(axis=-1))


def expected(function: str, input: dict[str, Any]) -> Any:
    """The golden answer."""
    d, k, n, m, gamma = (input[name] for name in ("d", "k", "n", "m", "gamma"))
    x, alpha, mu, q, below = (np.array(input[name], dtype=float) for name in ("x", "alpha", "mu", "q", "l"))
    roots = [_root(*one) for one in zip(q, below, strict=True)]
    centred = [x - mean for mean in mu]
    turned = [points @ root.T for points, root in zip(centred, roots, strict=True)]
    beta = np.stack([a + one.sum() - 0.5 * (z**2).sum(1) for a, one, z in zip(alpha, q, turned, strict=True)], axis=1)
    if function == "objective":
        freedom = d + m + 1
        log_gamma = d * (d - 1) / 4 * math.log(math.pi)
        log_gamma += sum(math.lgamma(freedom / 2 + (1 - j) / 2) for j in range(1, d + 1))
        prior = k * (freedom * d * (math.log(gamma) - 0.5 * math.log(2)) - log_gamma)
        prior += -(gamma**2) / 2 * ((np.exp(q) ** 2).sum() + (below**2).sum()) + m * q.sum()
        value = -0.5 * n * d * math.log(2 * math.pi) - n * _log_sum_exp(alpha) + _log_sum_exp(beta).sum() + prior
        return float(value)
    share = np.exp(beta - _log_sum_exp(beta)[:, None])
    by_mu, by_q, by_below = [], [], []
    for c in range(k):
        weighted = share[:, c : c + 1] * turned[c]
        by_root = -weighted.T @ centred[c]
        by_mu.append((weighted @ roots[c]).sum(0).tolist())
        by_q.append((np.diag(by_root) * np.exp(q[c]) + share[:, c].sum() - gamma**2 * np.exp(2 * q[c]) + m).tolist())
        by_below.append((np.array(_entries_below(by_root)) - gamma**2 * below[c]).tolist())
    by_alpha = share.sum(0) - n * np.exp(alpha - _log_sum_exp(alpha))
    return {"alpha": by_alpha.tolist(), "mu": by_mu, "q": by_q, "l": by_below}
