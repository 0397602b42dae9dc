"""ht as its eval asks: inputs from the model's files and made up, objective and Jacobian bone by bone.

The objective works on complex numbers: its Jacobian is what an imaginary step leaves in it, over the step's length, and
no difference is taken.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from tests.gradbench.references.data import data_file
from tests.gradbench.references.rotations import STEP, rotation

GOLDEN = {"simple_small_hand1": 0.19224339453588057, "complicated_small_hand1": -0.1068942946287946}
"""The first error."""
GOLDEN_NORMS = (1.7676933752602264, 17.381328354735807)
"""Of the errors and of the Jacobian of simple_small_hand1."""


def model_of_files() -> dict[str, Any]:
    """The hand: 22 bones, 544 vertices, 1084 triangles."""
    bones = [line.split(":") for line in data_file("hand/bones.txt").read_text().split()]
    vertices = [line.split(":") for line in data_file("hand/vertices.txt").read_text().split()]
    triangles = [line.split(":") for line in data_file("hand/triangles.txt").read_text().split()]
    numbers = np.array([[float(one) for one in bone[2:]] for bone in bones])
    weights = np.zeros((len(vertices), len(bones)))
    for row, vertex in zip(weights, vertices, strict=True):
        for entry in range(int(vertex[8])):
            row[int(vertex[9 + 2 * entry])] = float(vertex[10 + 2 * entry])
    return {
        "bone_count": len(bones),
        "bone_names": [bone[0] for bone in bones],
        "parents": [int(bone[1]) for bone in bones],
        "base_relatives": numbers[:, :16].reshape(-1, 4, 4).tolist(),
        "inverse_base_absolutes": numbers[:, 16:].reshape(-1, 4, 4).tolist(),
        "base_positions": [[*map(float, vertex[:3]), 1.0] for vertex in vertices],
        "weights": weights.tolist(),
        "triangles": [[int(corner) for corner in triangle] for triangle in triangles],
        "is_mirrored": False,
    }


def input_of_file(name: str, *, by_triangle: bool) -> dict[str, Any]:
    """An instance of the benchmark."""
    lines = [line.split() for line in data_file(f"hand/{name}.txt").read_text().splitlines()]
    count, angles = map(int, lines[0])
    points, rest = lines[1 : 1 + count], lines[1 + count :]
    us = rest[:count] if by_triangle else []
    theta = rest[len(us) : len(us) + angles]
    return {
        "theta": [float(one) for (one,) in theta],
        "data": {
            "model": model_of_files(),
            "correspondences": [int(point[0]) for point in points],
            "points": [[float(one) for one in point[1:]] for point in points],
        },
        "us": [[float(one) for one in u] for u in us],
    }


def made_up(seed: int, *, by_triangle: bool, vertices: int = 12, points: int = 5) -> dict[str, Any]:
    """A random small hand with the skeleton's 22 bones."""
    rng = np.random.default_rng(seed)
    parents = [-1, *[0 if bone % 4 == 1 else bone - 1 for bone in range(1, 21)], 0]
    bottom = np.zeros((22, 1, 4))
    bottom[..., 3] = 1.0
    weights = rng.random((vertices, 22)) * (rng.random((vertices, 22)) < 0.3)
    model = {
        "bone_count": 22,
        "bone_names": [f"bone{bone}" for bone in range(22)],
        "parents": parents,
        "base_relatives": np.concatenate([0.6 * rng.normal(size=(22, 3, 4)), bottom], axis=1).tolist(),
        "inverse_base_absolutes": np.concatenate([0.6 * rng.normal(size=(22, 3, 4)), bottom], axis=1).tolist(),
        "base_positions": np.concatenate([rng.normal(size=(vertices, 3)), np.ones((vertices, 1))], axis=1).tolist(),
        "weights": weights.tolist(),
        "triangles": rng.integers(0, vertices, size=(8, 3)).tolist(),
        "is_mirrored": False,
    }
    limit = 8 if by_triangle else vertices
    data = {
        "model": model,
        "correspondences": rng.integers(0, limit, size=points).tolist(),
        "points": rng.normal(size=(points, 3)).tolist(),
    }
    us = rng.random((points, 2)).tolist() if by_triangle else []
    return {"theta": rng.normal(size=26).tolist(), "data": data, "us": us}


def _rotation(axis: int, angle: Any) -> Any:
    """The turn about a coordinate axis, 4 x 4."""
    one, other = [(1, 2), (2, 0), (0, 1)][axis]
    matrix = np.eye(4, dtype=complex)
    matrix[one, one] = matrix[other, other] = np.cos(angle)
    matrix[other, one] = np.sin(angle)
    matrix[one, other] = -np.sin(angle)
    return matrix


def _pose(theta: Any) -> Any:
    """The 25 columns of pose parameters: whole hand, then (x, z, y) angles of each bone."""
    pose = np.zeros((25, 3), dtype=complex)
    pose[0], pose[1], pose[2] = theta[0:3], 1.0, theta[3:6]
    column, angle = 5, 6
    for _ in range(5):
        pose[column, 0], pose[column, 1] = theta[angle], theta[angle + 1]
        pose[column + 1, 0], pose[column + 2, 0] = theta[angle + 2], theta[angle + 3]
        column, angle = column + 4, angle + 4
    return pose


def _errors(theta: Any, us: Any, data: dict[str, Any]) -> Any:
    """All errors, for real or complex parameters."""
    model = data["model"]
    pose = _pose(theta)
    absolutes: list[Any] = []
    for bone, parent in enumerate(model["parents"]):
        x, z, y = pose[3 + bone]
        own = np.array(model["base_relatives"][bone]) @ _rotation(2, z) @ _rotation(1, y) @ _rotation(0, x)
        absolutes.append(own if parent == -1 else absolutes[parent] @ own)
    transforms = np.array(absolutes) @ np.array(model["inverse_base_absolutes"])
    turn = rotation(pose[0]) if np.linalg.norm(pose[0].real) >= 1e-4 else np.eye(3)
    weights, positions = np.array(model["weights"]), np.array(model["base_positions"])
    skinned = sum(weights[:, bone, None] * (positions @ one.T) for bone, one in enumerate(transforms))
    vertices = (skinned[:, :3] * pose[1]) @ turn.T + pose[2]
    points, where = np.array(data["points"]), data["correspondences"]
    if not len(us):
        return (points - vertices[where]).ravel()
    first, second, third = vertices[np.array(model["triangles"])[where].T]
    u, v = us[:, :1], us[:, 1:]
    return (points - (u * first + v * second + (1 - u - v) * third)).ravel()


def expected(function: str, input: dict[str, Any]) -> Any:
    """The golden answer."""
    theta, data = np.array(input["theta"], dtype=complex), input["data"]
    us = np.array(input["us"], dtype=complex)
    if function == "objective":
        return _errors(theta, us, data).real.tolist()
    columns = []
    for axis in range(2 if len(us) else 0):
        step = np.zeros(2, dtype=complex)
        step[axis] = 1j * STEP
        columns.append(_errors(theta, us + step, data).imag / STEP)
    for angle in range(26):
        moved = theta.copy()
        moved[angle] += 1j * STEP
        columns.append(_errors(moved, us, data).imag / STEP)
    return np.stack(columns, axis=1).tolist()
