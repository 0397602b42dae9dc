"""kmeans as its eval asks: its inputs, and cost and direction in closed form."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

GOLDEN_COST, GOLDEN_NORM = 609.338987589232, 1.210399715751427
"""Of the first input."""


def inputs() -> Iterator[tuple[str, dict[str, Any]]]:
    """All of the eval's, in its order, from one stream of random numbers."""
    rng = np.random.RandomState(31337)
    sizes = [(k, n, d) for k in (10, 100, 1000) for n in (1000, 10000) for d in (8, 16)]
    for k, n, d in sorted(sizes, key=lambda size: size[0] * size[1] * size[2]):
        points = rng.rand(n, d).tolist()
        yield f"k={k},n={n},d={d}", {"points": points, "centroids": points[-k:]}


def expected(function: str, input: dict[str, Any]) -> Any:
    """The golden answer. The direction leads to each centroid from its points' mean."""
    points, centroids = np.array(input["points"]), np.array(input["centroids"])
    squares = np.stack([((points - centroid) ** 2).sum(axis=1) for centroid in centroids], axis=1)
    if function == "cost":
        return float(squares.min(axis=1).sum())
    nearest = squares.argmin(axis=1)
    return [(c - points[nearest == j].mean(axis=0)).tolist() for j, c in enumerate(centroids)]
