"""Derivatives checked against differences, and forward mode against reverse mode.

Along a random direction v and for random weights u of the result: the tangent J v against a central difference, and
⟨u, J v⟩ against ⟨Jᵀ u, v⟩. The second order applies the same to the function x -> ⟨u, J(x) v⟩ of each mode. Everything
is evaluated by the service, the differences too, which are calls of the function itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from gradwire.arrangement import is_floating
from gradwire.errors import CheckError
from gradwire.plans import leaf_type
from gradwire.steps import refuse
from gradwire.transformations import jvp, remote, vjp
from gradwire.trees import Tree, flatten

FORWARD: Final = "forward"
REVERSE: Final = "reverse"
_DIRECTIONS: Final = 2
_SEED: Final = 20_240_229
# cube root of the precision: where a central difference's truncation and rounding errors balance
_STEP: Final = {"float64": 6e-6, "float32": 5e-3}
_TOLERANCE: Final = {"float64": 1e-6, "float32": 2e-2}


def check_grads(
    fun: Callable[..., Any],
    args: Sequence[Any],
    order: int = 2,
    modes: Sequence[str] = (FORWARD, REVERSE),
    *,
    rtol: float | None = None,
    step: float | None = None,
    rng: np.random.Generator | None = None,
) -> None:
    """Check the derivatives of `fun` at `args` up to `order`, in the given modes; CheckError, with the numbers, if
    wrong.

    All arguments and results must be floating point. `rtol`: allowed error relative to the largest of the compared
    numbers and 1 (default 1e-6 in float64, 2e-2 in float32, ten times that for each further order). `step`: how far the
    differences reach, relative to the size of the arguments. `rng`: where directions come from (default: always the
    same).
    """
    chosen = tuple(modes)
    if not chosen or not set(chosen) <= {FORWARD, REVERSE}:
        raise refuse(f"check_grads: modes is {modes!r}; it holds 'forward' and 'reverse'")
    asked: Any = order
    if not (isinstance(asked, int) and asked >= 1):
        raise refuse(f"check_grads: order is {order!r}; it is an integer, at least 1")
    check = _Check(chosen, rtol, step, rng or np.random.default_rng(_SEED))
    check.run(fun, tuple(args), order, getattr(fun, "__name__", "the function"), 1)


class _Check:
    """One call of `check_grads`."""

    def __init__(
        self, modes: tuple[str, ...], rtol: float | None, step: float | None, rng: np.random.Generator
    ) -> None:
        self._modes = modes
        self._rtol = rtol
        self._step = step
        self._rng = rng

    def run(self, fun: Callable[..., Any], args: tuple[Any, ...], order: int, name: str, level: int) -> None:
        """Check the first derivatives of `fun`, then those of its derivatives."""
        leaves, tree = flatten(args)
        points = [self._floating(leaf, path) for leaf, path in zip(leaves, tree.paths("args"), strict=True)]
        for _ in range(_DIRECTIONS):
            direction = self._like(points)
            self._first_order(fun, points, tree, direction, name, level)
        if order == 1:
            return
        direction = self._like(points)
        tangent = tree.build(direction)
        if FORWARD in self._modes:
            self.run(
                lambda *x: jvp(fun, x, tangent)[1], args, order - 1, f"the forward derivative of {name}", level + 1
            )
        if REVERSE in self._modes:
            results, result_tree = flatten(remote(fun)(*args))
            weights = result_tree.build(self._like([np.asarray(one) for one in results]))
            self.run(
                lambda *x: vjp(fun, x, weights)[1], args, order - 1, f"the reverse derivative of {name}", level + 1
            )

    def _first_order(
        self, fun: Callable[..., Any], points: list[np.ndarray], tree: Tree, direction: list[Any], name: str, level: int
    ) -> None:
        args, tangent = tree.build(points), tree.build(direction)
        dtype = min((point.dtype.name for point in points), default="float64")  # float32 < float64
        tolerance = (self._rtol or _TOLERANCE[dtype]) * 10.0 ** (level - 1)
        reach = (self._step or _STEP[dtype]) * max([1.0, *[float(np.max(np.abs(p), initial=0.0)) for p in points]])
        ahead, behind = (
            flatten(
                remote(fun)(
                    *tree.build([p + p.dtype.type(sign * reach) * v for p, v in zip(points, direction, strict=True)])
                )
            )[0]
            for sign in (1.0, -1.0)
        )
        differences = [
            (np.asarray(a, np.float64) - np.asarray(b, np.float64)) / (2 * reach)
            for a, b in zip(ahead, behind, strict=True)
        ]
        weights = self._like(ahead)
        by_differences = _inner(weights, differences)
        found: dict[str, float] = {}
        if FORWARD in self._modes:
            moved = flatten(jvp(fun, args, tangent)[1])[0]
            for got, expected in zip(moved, differences, strict=True):
                self._compare(np.asarray(got), expected, tolerance, f"forward mode of {name}", "central differences")
            found[FORWARD] = _inner(weights, moved)
        if REVERSE in self._modes:
            result_tree = flatten(remote(fun)(*args))[1]
            gradients = flatten(vjp(fun, args, result_tree.build(weights))[1])[0]
            found[REVERSE] = _inner(gradients, direction)
            self._compare(found[REVERSE], by_differences, tolerance, f"reverse mode of {name}", "central differences")
        if len(found) == 2:
            exact = tolerance * 1e-4 if dtype == "float64" else tolerance * 1e-1
            self._compare(found[REVERSE], found[FORWARD], exact, f"reverse mode of {name}", "forward mode")

    @staticmethod
    def _shifted(
        fun: Callable[..., Any], points: list[np.ndarray], tree: Tree, direction: list[Any], distance: float
    ) -> list[np.ndarray]:
        """The leaves of the result at a distance from the point."""
        moved = [p + p.dtype.type(distance) * v for p, v in zip(points, direction, strict=True)]
        return [np.asarray(one, np.float64) for one in flatten(remote(fun)(*tree.build(moved)))[0]]

    def _like(self, arrays: Sequence[np.ndarray]) -> list[Any]:
        """Random arrays of the same types."""
        return [self._rng.standard_normal(one.shape).astype(one.dtype)[()] for one in arrays]

    @staticmethod
    def _floating(leaf: Any, path: str) -> np.ndarray:
        if not is_floating(leaf_type(leaf, path)):
            raise refuse(f"check_grads: {path} is {leaf_type(leaf, path)}; all arguments must be floating point")
        return np.asarray(leaf)

    @staticmethod
    def _compare(got: Any, expected: Any, tolerance: float, what: str, other: str) -> None:
        found, wanted = np.asarray(got, np.float64), np.asarray(expected, np.float64)
        scale = max(1.0, float(np.max(np.abs(wanted), initial=0.0)))
        errors = np.abs(found - wanted) / scale
        if errors.size and not float(np.max(errors)) <= tolerance:
            worst = np.unravel_index(np.argmax(np.where(np.isnan(errors), np.inf, errors)), errors.shape)
            place = f" at {tuple(int(i) for i in worst)}" if worst else ""
            raise CheckError(
                f"{what} does not agree with {other}{place}: got {found[worst]!s}, expected {wanted[worst]!s}, "
                f"relative error {errors[worst]:.2e}, allowed {tolerance:.0e}"
            )


def _inner(first: Sequence[Any], second: Sequence[Any]) -> float:
    return float(
        sum(np.sum(np.asarray(a, np.float64) * np.asarray(b, np.float64)) for a, b in zip(first, second, strict=True))
    )
