"""llsq as its eval asks: its inputs, and value and gradient by the normal equations' terms."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

GOLDEN = 1970.5168637678776
"""Of the first input."""


def inputs() -> Iterator[tuple[str, dict[str, Any]]]:
    """All of the eval's, in its order, from one stream of random numbers."""
    rng = np.random.RandomState(31337)
    for n in (16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8196, 16392):
        yield f"n={n},m=128", {"x": rng.rand(128).tolist(), "n": n}


def expected(function: str, input: dict[str, Any]) -> Any:
    """The golden answer."""
    x, t = np.array(input["x"]), np.linspace(-1.0, 1.0, input["n"])
    powers = t[:, None] ** np.arange(len(x))
    rest = np.sign(t) - powers @ x
    return float(0.5 * rest @ rest) if function == "primal" else (-powers.T @ rest).tolist()
