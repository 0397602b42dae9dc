"""Derivatives checked against differences, and forward mode against reverse mode.

Along a random direction v and for random weights u of the result: the tangent J v against a central difference, and
⟨u, J v⟩ against ⟨Jᵀ u, v⟩. The second order applies the same to the function x -> ⟨u, J(x) v⟩ of each mode. Everything
is evaluated by the service, the differences too, which are calls of the function itself.

When two numbers disagree, the same is measured along the part of the direction that belongs to each leaf of the
arguments, and the message names the leaves that disagree alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from gradwire.calls.arguments import is_floating, leaf_type, refuse
from gradwire.errors import CheckError
from gradwire.tracing.capture import leaf_names, name_of
from gradwire.tracing.trees import Tree, flatten
from gradwire.transformations.products import jvp, vjp
from gradwire.transformations.remote import remote

FORWARD: Final = "forward"
REVERSE: Final = "reverse"
_DIRECTIONS: Final = 2
_SEED: Final = 20_240_229
# cube root of the precision: where a central difference's truncation and rounding errors balance
_STEP: Final = {"float64": 6e-6, "float32": 5e-3}
_TOLERANCE: Final = {"float64": 1e-6, "float32": 2e-2}
_DIFFERENCES: Final = "central differences"
_WIDEST_DIRECTION: Final = 60


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
    """Check the derivatives of `fun` at `args` up to `order`, in the given modes; CheckError if one is wrong, with the
    direction, both numbers, and the arguments whose derivative it is.

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
    leaves, tree = flatten(tuple(args))
    names = leaf_names(fun, Tree(tuple, (tree, Tree(dict))))
    points = [_floating(leaf, name) for leaf, name in zip(leaves, names, strict=True)]
    check = _Check(chosen, rtol, step, rng or np.random.default_rng(_SEED), tree, names)
    check.run(fun, points, order, name_of(fun), 1)


def _floating(leaf: Any, name: str) -> np.ndarray:
    if not is_floating(leaf_type(leaf, name)):
        raise refuse(f"check_grads: argument {name} is {leaf_type(leaf, name)}; all arguments must be floating point")
    return np.asarray(leaf)


@dataclass(frozen=True)
class _Probe:
    """A function at a point, to be moved from there: each way to the change of its result."""

    function: Callable[..., Any]
    name: str
    points: list[np.ndarray]
    tree: Tree
    reach: float
    """How far differences go to each side."""

    def differences(self, direction: Sequence[Any]) -> list[np.ndarray]:
        """The central difference of each leaf of the result."""
        ahead, behind = [
            flatten(
                remote(self.function)(
                    *self.tree.build(
                        [p + p.dtype.type(distance) * v for p, v in zip(self.points, direction, strict=True)]
                    )
                )
            )[0]
            for distance in (self.reach, -self.reach)
        ]
        return [
            (np.asarray(a, np.float64) - np.asarray(b, np.float64)) / (2 * self.reach)
            for a, b in zip(ahead, behind, strict=True)
        ]

    def tangents(self, direction: Sequence[Any]) -> list[Any]:
        """The tangent of each leaf of the result, by forward mode."""
        return flatten(jvp(self.function, self.tree.build(self.points), self.tree.build(direction))[1])[0]

    def gradients(self, weights: Any) -> list[Any]:
        """The gradient of the weighted result for each leaf of the arguments, by reverse mode."""
        return flatten(vjp(self.function, self.tree.build(self.points), weights)[1])[0]


class _Check:
    """One call of `check_grads`."""

    def __init__(
        self,
        modes: tuple[str, ...],
        rtol: float | None,
        step: float | None,
        rng: np.random.Generator,
        tree: Tree,
        names: Sequence[str],
    ) -> None:
        self._modes = modes
        self._rtol = rtol
        self._step = step
        self._rng = rng
        self._tree = tree
        self._names = names

    def run(self, fun: Callable[..., Any], points: list[np.ndarray], order: int, name: str, level: int) -> None:
        """Check the first derivatives of `fun`, then those of its derivatives."""
        dtype = min((point.dtype.name for point in points), default="float64")  # float32 < float64
        size = max([1.0, *[float(np.max(np.abs(p), initial=0.0)) for p in points]])
        probe = _Probe(fun, name, points, self._tree, (self._step or _STEP[dtype]) * size)
        tolerance = (self._rtol or _TOLERANCE[dtype]) * 10.0 ** (level - 1)
        for _ in range(_DIRECTIONS):
            self._first_order(probe, self._like(points), tolerance, dtype)
        if order == 1:
            return
        tangent = self._tree.build(self._like(points))
        if FORWARD in self._modes:
            self.run(
                lambda *x: jvp(fun, x, tangent)[1], points, order - 1, f"the forward derivative of {name}", level + 1
            )
        if REVERSE in self._modes:
            results, result_tree = flatten(remote(fun)(*self._tree.build(points)))
            weights = result_tree.build(self._like([np.asarray(result) for result in results]))
            self.run(
                lambda *x: vjp(fun, x, weights)[1], points, order - 1, f"the reverse derivative of {name}", level + 1
            )

    def _first_order(self, probe: _Probe, direction: list[Any], tolerance: float, dtype: str) -> None:
        results, result_tree = flatten(remote(probe.function)(*self._tree.build(probe.points)))
        weights = self._like([np.asarray(result) for result in results])
        differences = probe.differences(direction)
        blame = _Blame(probe, direction, weights, self._names)
        by_mode: dict[str, float] = {}
        if FORWARD in self._modes:
            tangents = probe.tangents(direction)
            for tangent, difference, path in zip(tangents, differences, result_tree.paths("result"), strict=True):
                failure = _disagreement(np.asarray(tangent), difference, tolerance, path)
                if failure:
                    raise blame.error(f"forward mode of {probe.name}", _DIFFERENCES, failure, tolerance)
            by_mode[FORWARD] = _inner(weights, tangents)
        if REVERSE in self._modes:
            gradients = probe.gradients(result_tree.build(weights))
            blame.gradients = gradients
            by_mode[REVERSE] = _inner(gradients, direction)
            failure = _disagreement(by_mode[REVERSE], _inner(weights, differences), tolerance)
            if failure:
                raise blame.error(f"reverse mode of {probe.name}", _DIFFERENCES, failure, tolerance)
        if len(by_mode) == 2:
            exact = tolerance * 1e-4 if dtype == "float64" else tolerance * 1e-1
            failure = _disagreement(by_mode[REVERSE], by_mode[FORWARD], exact)
            if failure:
                raise blame.error(f"reverse mode of {probe.name}", "forward mode", failure, exact)

    def _like(self, arrays: Sequence[np.ndarray]) -> list[Any]:
        """Random arrays of the same types."""
        return [self._rng.standard_normal(array.shape).astype(array.dtype)[()] for array in arrays]


@dataclass
class _Blame:
    """What is known when two derivatives disagree: enough to measure them again for each leaf of the arguments."""

    probe: _Probe
    direction: list[Any]
    weights: list[Any]
    names: Sequence[str]
    gradients: list[Any] | None = None
    """By reverse mode, where that is what disagrees."""

    def error(self, what: str, other: str, failure: str, tolerance: float) -> CheckError:
        """The message: both numbers, the direction, and the arguments that disagree alone."""
        lines = [f"{what} does not agree with {other}{failure}", f"  along {self._direction_text()}"]
        alone = [self._alone(index, other, tolerance) for index in range(len(self.names))]
        blamed = [f"argument {name}{fault}" for name, fault in zip(self.names, alone, strict=True) if fault]
        if not blamed:
            lines.append("  along each argument alone they agree: it is the sum that does not")
        else:
            lines.append(f"  likely operand: {'; '.join(blamed)}")
        if 0 < len(blamed) < len(self.names):
            lines.append(
                f"  no fault along {', '.join([n for n, fault in zip(self.names, alone, strict=True) if not fault])}"
            )
        return CheckError("\n".join(lines))

    def _alone(self, index: int, other: str, tolerance: float) -> str:
        """How the two disagree along one leaf's part of the direction; nothing where they agree."""
        direction = [v if i == index else np.zeros_like(v) for i, v in enumerate(self.direction)]
        by_other = (self.probe.differences if other == _DIFFERENCES else self.probe.tangents)(direction)
        if self.gradients is not None:
            got = _inner([self.gradients[index]], [self.direction[index]])
            return _disagreement(got, _inner(self.weights, by_other), tolerance)
        pairs = zip(self.probe.tangents(direction), by_other, strict=True)
        return next((fault for pair in pairs if (fault := _disagreement(*pair, tolerance))), "")

    def _direction_text(self) -> str:
        parts = []
        for name, part in zip(self.names, self.direction, strict=True):
            text = np.array2string(np.asarray(part), precision=4, threshold=8, edgeitems=2, separator=", ")
            text = " ".join(text.split())
            parts.append(f"{name} = {text if len(text) <= _WIDEST_DIRECTION else text[: _WIDEST_DIRECTION - 1] + '…'}")
        return ", ".join(parts)


def _disagreement(got: Any, expected: Any, tolerance: float, path: str = "") -> str:
    """The worst pair of numbers, as the end of a message; nothing where all are close enough."""
    first, second = np.asarray(got, np.float64), np.asarray(expected, np.float64)
    scale = max(1.0, float(np.max(np.abs(second), initial=0.0)))
    with np.errstate(invalid="ignore"):
        errors = np.abs(first - second) / scale
    if not errors.size or float(np.max(errors)) <= tolerance:
        return ""
    worst = np.unravel_index(np.argmax(np.where(np.isnan(errors), np.inf, errors)), errors.shape)
    where = path + (f"[{', '.join(str(int(i)) for i in worst)}]" if worst else "")
    return (
        f"{f' at {where}' if where else ''}: got {first[worst]!s}, expected {second[worst]!s}, "
        f"relative error {errors[worst]:.2e}, allowed {tolerance:.0e}"
    )


def _inner(first: Sequence[Any], second: Sequence[Any]) -> float:
    return float(
        sum(np.sum(np.asarray(a, np.float64) * np.asarray(b, np.float64)) for a, b in zip(first, second, strict=True))
    )
