"""ode as its eval asks: its inputs, and the method's result in closed form.

One step of the method multiplies by the polynomial R(z) = 1 + z + z²/2 + z³/6 + z⁴/24 of h times the system's matrix,
which shifts by one place and scales by x. So after s steps y_k is x_0 … x_k times the coefficient of zᵏ⁺¹ in R(hz)ˢ;
beyond 4s it is zero. All of the eval's own inputs have more values than that: their gradients are zeros.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

SIZES = ((4, 1), (4, 3), (8, 2), (40, 10), (100, 25), (120, 100))
"""(values, steps) whose gradients are not zero: no more values than four a step."""


def inputs() -> Iterator[tuple[str, dict[str, Any]]]:
    """All of the eval's, in its order, from one stream of random numbers."""
    rng = np.random.RandomState(31337)
    sizes = [(n, s) for n in (1000, 10_000, 100_000) for s in (1, 10, 100)]
    for n, s in sorted(sizes, key=lambda size: size[0] * size[1]):
        yield f"n={n},s={s}", {"x": rng.rand(n).tolist(), "s": s}


def not_zero(n: int, s: int) -> dict[str, Any]:
    """An input whose gradient is of order one: x so large that the values neither grow nor vanish."""
    growth = coefficients(s)[:n]
    scale = np.concatenate([[1.0], growth[:-1]]) / growth
    return {"x": (scale * np.random.default_rng(n).uniform(0.99, 1.01, n)).tolist(), "s": s}


def coefficients(s: int) -> np.ndarray:
    """Those of z, z², … in R(hz)ˢ."""
    h = 2.0 / s
    one_step = np.array([1.0, h, h**2 / 2, h**3 / 6, h**4 / 24])
    total = np.ones(1)
    for _ in range(s):
        total = np.convolve(total, one_step)
    return total[1:]


def expected(function: str, input: dict[str, Any]) -> Any:
    """The golden answer."""
    x = np.array(input["x"])
    found = coefficients(input["s"])[: len(x)]
    values = np.cumprod(x) * np.pad(found, (0, len(x) - len(found)))
    return values.tolist() if function == "primal" else (values[-1] / x).tolist()
