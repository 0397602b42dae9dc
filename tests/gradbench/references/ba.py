"""ba as its eval asks: its inputs, and errors and derivatives observation by observation, with imaginary steps."""

from __future__ import annotations

from typing import Any

import numpy as np
from tests.gradbench.references.data import data_file
from tests.gradbench.references.rotations import STEP, rotation

GOLDEN_ERRORS = {
    "reproj_error": {"elements": [0.10133583791443775, -0.06896776592448106], "repeated": 31843},
    "w_err": {"element": 0.826092651516, "repeated": 31843},
}
GOLDEN_LAST = {"rows": 987133, "cols": 55709}


def input_of_file(name: str) -> dict[str, Any]:
    """An instance of the benchmark: five lines."""
    sizes, camera, point, weight, feature = (line.split() for line in data_file(name).read_text().splitlines()[:5])
    n, m, p = map(int, sizes)
    cam, x, feat = (list(map(float, part)) for part in (camera, point, feature))
    return {"n": n, "m": m, "p": p, "cam": cam, "x": x, "w": float(weight[0]), "feat": feat}


def made_up(seed: int, n: int, m: int, p: int) -> dict[str, Any]:
    """A random camera that looks at a point in front of it."""
    rng = np.random.default_rng(seed)
    camera = [*rng.normal(size=3), *rng.normal(size=3), *(1.0 + rng.random(3)), *(0.1 * rng.random(2))]
    point = [*rng.normal(size=2), 5.0 + rng.random()]
    feature = rng.normal(size=2).tolist()
    camera, point = [float(one) for one in camera], [float(one) for one in point]
    return {"n": n, "m": m, "p": p, "cam": camera, "x": point, "w": float(rng.random()), "feat": feature}


def reprojection_error(parameters: Any, feature: Any) -> Any:
    """Of one observation, by (camera 11, point 3, weight 1)."""
    camera, point, weight = parameters[:11], parameters[11:14], parameters[14]
    x, y, z = rotation(camera[:3]) @ (point - camera[3:6])
    x, y = x / z, y / z
    radius = x * x + y * y
    distortion = 1 + camera[9] * radius + camera[10] * radius * radius
    seen = np.array([camera[6] * x * distortion + camera[7], camera[6] * y * distortion + camera[8]])
    return weight * (seen - feature)


def block(parameters: Any, feature: Any) -> np.ndarray:
    """The 2 x 15 derivatives."""
    steps = 1j * STEP * np.eye(15)
    return np.stack([reprojection_error(parameters + step, feature).imag / STEP for step in steps], axis=1)


def expected(function: str, input: dict[str, Any]) -> Any:
    """The golden answer: every observation is the same, and the eval sees the first and the last entries."""
    n, m, p, weight = (input[name] for name in ("n", "m", "p", "w"))
    parameters = np.array([*input["cam"], *input["x"], weight], dtype=complex)
    feature = np.array(input["feat"])
    if function == "objective":
        error = reprojection_error(parameters, feature).real.tolist()
        return {
            "reproj_error": {"elements": error, "repeated": p},
            "w_err": {"element": 1 - weight**2, "repeated": p},
        }
    columns = [*range(11), *range(11 * n, 11 * n + 3), 11 * n + 3 * m]
    row_ends = [15 * row if row <= 2 * p else 30 * p + row - 2 * p for row in range(30)]
    return {
        "rows": [*row_ends, 31 * p],
        "cols": [*columns, *columns, 11 * n + 3 * m + p - 1],
        "vals": [*block(parameters, feature).ravel().tolist(), -2 * weight],
    }
