"""ht: hand tracking, how far a posed hand's surface is from measured points, and the Jacobian by the pose.

Bones turn about their parents, one level of the skeleton at a time; each vertex is a weighted mean of where the bones
would take it, then the whole hand is turned and moved. A correspondence names a vertex, or (where there are `us`) a
triangle with two coordinates in it, which are unknowns too. Those of one point move no other point, so all points share
two columns of the Jacobian: the derivatives by what is added to all `us` at once. So 28 directions, forward.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
from tests.gradbench.task import Functions, Input, Task

import gradwire as gw

ANGLES = 26
POINTS_A_REQUEST = 50_000
"""So that the Jacobian's rows of one request fit in a message."""
FINGERS = 5
NEARLY_NO_ANGLE = 1e-4

Parents = tuple[int, ...]
Objective = Callable[..., Any]


def angle_places(bones: int) -> np.ndarray:
    """For each bone, where its angles about x, y and z stand in (angles, one zero).

    Of a finger's four bones after the wrist the first is stiff, the second bends and spreads, two more bend.
    """
    places = np.full((bones, 3), ANGLES)
    angle = 6
    for finger in range(FINGERS):
        bone = 2 + 4 * finger
        places[bone] = [angle, ANGLES, angle + 1]
        places[bone + 1, 0], places[bone + 2, 0] = angle + 2, angle + 3
        angle += 4
    return places


def levels(parents: Parents) -> list[list[int]]:
    """The bones by their distance from a root; parents stand before their children."""
    depth: list[int] = []
    for parent in parents:
        depth.append(0 if parent < 0 else depth[parent] + 1)
    return [[bone for bone, at in enumerate(depth) if at == level] for level in range(max(depth) + 1)]


def matrices(rows: list[list[Any]]) -> Any:
    """Stacks of matrices from their elements."""
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def turns(angles: Any) -> Any:
    """(bones, 4, 4): turns about x, then y, then z."""
    (sx, sy, sz), (cx, cy, cz) = np.sin(angles).T, np.cos(angles).T
    zero, one = np.zeros(angles.shape[0]), np.ones(angles.shape[0])
    about_x = matrices([[one, zero, zero, zero], [zero, cx, -sx, zero], [zero, sx, cx, zero], [zero, zero, zero, one]])
    about_y = matrices([[cy, zero, sy, zero], [zero, one, zero, zero], [-sy, zero, cy, zero], [zero, zero, zero, one]])
    about_z = matrices([[cz, -sz, zero, zero], [sz, cz, zero, zero], [zero, zero, one, zero], [zero, zero, zero, one]])
    return about_z @ about_y @ about_x


def turn_about(axis_angle: Any) -> Any:
    """The 3 x 3 rotation about an axis; none for nearly no angle."""
    angle = np.sqrt(np.sum(axis_angle**2))
    x, y, z = axis = axis_angle / angle
    zero = np.zeros_like(x)
    across = matrices([[zero, -z, y], [z, zero, -x], [-y, x, zero]])
    rotation = np.cos(angle) * np.eye(3) + np.sin(angle) * across + (1.0 - np.cos(angle)) * np.outer(axis, axis)
    return np.where(angle < NEARLY_NO_ANGLE, np.eye(3), rotation)


@cache
def objective_for(parents: Parents, by_triangle: bool) -> Objective:
    """The objective of hands with this skeleton."""
    bones = len(parents)
    by_level = levels(parents)
    order = np.argsort([bone for level in by_level for bone in level])

    def absolutes(relatives: Any) -> Any:
        """Where each bone is: its parent's transform, then its own."""
        found = [relatives[np.array(by_level[0])]]
        for above, level in pairwise(by_level):
            place = [above.index(parents[bone]) for bone in level]
            found.append(found[-1][np.array(place)] @ relatives[np.array(level)])
        return np.concatenate(found)[order]

    def surface(theta: Any, relatives: Any, inverses: Any, positions: Any, weights: Any) -> Any:
        """All vertices, (vertices, 3)."""
        angles = np.concatenate([theta, np.zeros(1)])[angle_places(bones)]
        transforms = absolutes(relatives @ turns(angles)) @ inverses
        spread = weights[:, :, None] * positions[:, None, :]
        count = positions.shape[0]
        to_space = np.reshape(np.swapaxes(transforms[:, :3, :], 1, 2), (bones * 4, 3))
        skinned = np.reshape(spread, (count, bones * 4)) @ to_space
        return skinned @ turn_about(theta[0:3]).T + theta[3:6]

    def objective(theta: Any, us: Any, points: Any, corners: Any, *model: Any) -> Any:
        """(3 N): each point minus its place on the hand."""
        vertices = surface(theta, *model)
        if not by_triangle:
            return np.ravel(points - vertices[corners])
        u, v = us[:, 0:1], us[:, 1:2]
        first, second, third = (vertices[corners[:, i]] for i in range(3))
        return np.ravel(points - (u * first + v * second + (1.0 - u - v) * third))

    return objective


@cache
def jacobian_for(parents: Parents, by_triangle: bool) -> gw.Remote:
    """The Jacobian, with the columns of `us` first, where there are any."""
    objective = objective_for(parents, by_triangle)

    def moved(step: Any, theta: Any, us: Any, *data: Any) -> Any:
        if by_triangle:
            return objective(theta + step[2:], us + step[:2], *data)
        return objective(theta + step, us, *data)

    columns = ANGLES + 2 * by_triangle
    return gw.remote(lambda *given: gw.jacfwd(moved)(np.zeros(columns), *given))


def prepared(input: Input) -> tuple[Parents, bool, list[np.ndarray]]:
    """Skeleton, whether correspondences are triangles, and the arguments of `objective`."""
    data, us = input["data"], np.reshape(np.asarray(input["us"], dtype=np.float64), (-1, 2))
    model = data["model"]
    by_triangle = len(us) > 0
    corners = np.asarray(data["correspondences"])
    if by_triangle:
        corners = np.asarray(model["triangles"])[corners]
    names = ("base_relatives", "inverse_base_absolutes", "base_positions", "weights")
    arrays = [np.asarray(model[name], dtype=np.float64) for name in names]
    theta, points = (np.asarray(one, dtype=np.float64) for one in (input["theta"], data["points"]))
    return tuple(model["parents"]), by_triangle, [theta, us, points, corners, *arrays]


def in_parts(function: gw.Remote, theta: Any, us: Any, points: Any, corners: Any, *model: Any) -> np.ndarray:
    """The function's rows for all points, from as many requests as messages need."""
    starts = range(0, max(len(points), 1), POINTS_A_REQUEST)
    parts = [slice(start, start + POINTS_A_REQUEST) for start in starts]
    return np.concatenate([function(theta, us[part], points[part], corners[part], *model) for part in parts])


def _objective(input: Input) -> Task:
    parents, by_triangle, given = prepared(input)
    function = gw.remote(objective_for(parents, by_triangle))
    return Task(lambda: in_parts(function, *given))


def _jacobian(input: Input) -> Task:
    parents, by_triangle, given = prepared(input)
    function = jacobian_for(parents, by_triangle)
    return Task(lambda: in_parts(function, *given))


FUNCTIONS: Functions = {"objective": _objective, "jacobian": _jacobian}
