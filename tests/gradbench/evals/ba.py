"""ba: bundle adjustment, the reprojection errors of p observations and their sparse Jacobian.

A camera is (axis-angle rotation 3, centre 3, focal length, principal point 2, radial distortion 2). The Jacobian of one
observation is 2 x 15: the service maps it over all observations, in as many requests as messages need, and the columns
are put in their places here. The eval sends one camera, point, weight and feature, to be repeated; all are computed.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from tests.gradbench.task import Functions, Input, Task

import gradwire as gw

CAMERA, POINT = 11, 3
WIDTH = CAMERA + POINT + 1
SHOWN = 2 * WIDTH
"""Entries of each array of the sparse Jacobian that the eval looks at, besides the last."""


def rotate(axis_angle: Any, point: Any) -> Any:
    """Rodrigues' formula; at no angle its limit to first order."""
    square = np.sum(axis_angle**2)
    angle = np.sqrt(square)
    axis = axis_angle / angle
    turned = (
        point * np.cos(angle)
        + np.cross(axis, point) * np.sin(angle)
        + axis * np.sum(axis * point) * (1.0 - np.cos(angle))
    )
    return np.where(square == 0.0, point + np.cross(axis_angle, point), turned)


def reprojection_error(camera: Any, point: Any, weight: Any, feature: Any) -> Any:
    """Where the camera sees the point, against where the feature is; weighted."""
    seen = rotate(camera[0:3], point - camera[3:6])
    flat = seen[0:2] / seen[2]
    radius = np.sum(flat**2)
    distortion = 1.0 + camera[9] * radius + camera[10] * radius**2
    return weight * (flat * distortion * camera[6] + camera[7:9] - feature)


def weight_error(weight: Any) -> Any:
    """1 − w²."""
    return 1.0 - weight**2


def errors(camera: Any, point: Any, weight: Any, feature: Any) -> tuple[Any, Any]:
    """Both errors of an observation."""
    return reprojection_error(camera, point, weight, feature), weight_error(weight)


def derivatives(camera: Any, point: Any, weight: Any, feature: Any) -> tuple[Any, Any]:
    """The 2 x 15 derivatives of the reprojection error, and that of the weight error."""
    by_camera, by_point, by_weight = gw.jacrev(reprojection_error, argnums=(0, 1, 2))(camera, point, weight, feature)
    block = np.concatenate([by_camera, by_point, by_weight[:, None]], axis=1)
    return block, gw.grad(weight_error)(weight)


ERRORS, DERIVATIVES = gw.vmap(errors), gw.vmap(derivatives)


class Problem(NamedTuple):
    """All cameras, points and observations."""

    cameras: np.ndarray
    points: np.ndarray
    weights: np.ndarray
    features: np.ndarray
    camera_of: np.ndarray
    point_of: np.ndarray

    @property
    def rows(self) -> tuple[np.ndarray, ...]:
        """One row of each argument for each observation."""
        return self.cameras[self.camera_of], self.points[self.point_of], self.weights, self.features


def problem(input: Input) -> Problem:
    """The input's one of each, repeated."""
    n, m, p = input["n"], input["m"], input["p"]
    observations = np.arange(p)
    return Problem(
        cameras=np.tile(np.asarray(input["cam"], dtype=np.float64), (n, 1)),
        points=np.tile(np.asarray(input["x"], dtype=np.float64), (m, 1)),
        weights=np.full(p, float(input["w"])),
        features=np.tile(np.asarray(input["feat"], dtype=np.float64), (p, 1)),
        camera_of=observations % n,
        point_of=observations % m,
    )


class SparseMatrix(NamedTuple):
    """Compressed sparse rows: row r has the entries from rows[r] up to rows[r + 1]."""

    rows: np.ndarray
    cols: np.ndarray
    vals: np.ndarray


def assemble(given: Problem, blocks: np.ndarray, by_weight: np.ndarray) -> SparseMatrix:
    """The Jacobian of all errors by (cameras, points, weights): two rows an observation, then one a weight."""
    count = len(given.weights)
    first_point = CAMERA * len(given.cameras)
    of_weight = first_point + POINT * len(given.points) + np.arange(count)
    columns = np.concatenate(
        [
            CAMERA * given.camera_of[:, None] + np.arange(CAMERA),
            first_point + POINT * given.point_of[:, None] + np.arange(POINT),
            of_weight[:, None],
        ],
        axis=1,
    )
    ends = np.concatenate([np.full(2 * count, WIDTH), np.ones(count, dtype=np.int64)]).cumsum()
    return SparseMatrix(
        rows=np.concatenate([[0], ends]),
        cols=np.concatenate([np.repeat(columns[:, None], 2, axis=1).ravel(), of_weight]),
        vals=np.concatenate([blocks.ravel(), by_weight]),
    )


def _objective(input: Input) -> Task:
    given = problem(input)

    def answer(result: tuple[np.ndarray, np.ndarray]) -> Any:
        projected, weights = result
        return {
            "reproj_error": {"elements": projected[0].tolist(), "repeated": len(projected)},
            "w_err": {"element": float(weights[0]), "repeated": len(weights)},
        }

    return Task(lambda: ERRORS.map(*given.rows), answer)


def _jacobian(input: Input) -> Task:
    given = problem(input)

    def answer(jacobian: SparseMatrix) -> Any:
        return {name: [*part[:SHOWN].tolist(), part[-1].item()] for name, part in jacobian._asdict().items()}

    return Task(lambda: assemble(given, *DERIVATIVES.map(*given.rows)), answer)


FUNCTIONS: Functions = {"objective": _objective, "jacobian": _jacobian}
