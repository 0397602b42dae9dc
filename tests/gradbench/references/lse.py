"""lse as its eval asks: its inputs, and value and gradient by scipy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy import special

GOLDEN = 8.367846526577088
"""Of the first input."""


def inputs() -> Iterator[tuple[str, dict[str, Any]]]:
    """All of the eval's, in its order, from one stream of random numbers."""
    rng = np.random.RandomState(31337)
    for doubling in range(10):
        n = 2500 * 2**doubling
        yield f"n={n}", {"x": rng.rand(n).tolist()}


def expected(function: str, input: dict[str, Any]) -> Any:
    """The golden answer."""
    x = np.array(input["x"])
    return float(special.logsumexp(x)) if function == "primal" else special.softmax(x).tolist()
