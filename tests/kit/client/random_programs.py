"""Random programs with branches and loops, nested in each other and in transformations, written once for any library.

A program is a function of the library's names (`m.np`, `m.cond`, `m.scan`, …) and of a list of vectors of length 3, the
variables in scope, to another such vector.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np

_RNG = np.random.default_rng(1)
SQUARE = _RNG.normal(size=(3, 3)) / 2
ENTRIES = _RNG.normal(size=(4, 3))
LARGE = _RNG.normal(size=(3, 90)) / 10
"""More than 64 elements: not a constant of the graph."""

Program = Callable[[Any, list[Any]], Any]


def simple(rng: Random, scope: int) -> Program:
    """One operation on the variables."""
    i, j, c = rng.randrange(scope), rng.randrange(scope), rng.uniform(-1.0, 1.0)
    choices: list[Program] = [
        lambda m, e: m.np.sin(e[i] * (1.0 + c)) + c,
        lambda m, e: m.np.tanh(e[i] * e[j]),
        lambda m, e: SQUARE @ e[i] - c,
        lambda m, e: m.np.tanh(LARGE @ m.np.sin(LARGE.T @ e[i])),
        lambda m, e: m.np.where(e[i] > c / 4, e[j] * 0.5, m.np.cos(e[i])),
        lambda m, e: e[i] - e[j] * c,
    ]
    return rng.choice(choices)


def program(rng: Random, depth: int, scope: int = 1) -> Program:
    """A random program of `scope` variables."""
    if depth == 0 or rng.random() < 0.3:
        return simple(rng, scope)
    i, j, c = rng.randrange(scope), rng.randrange(scope), rng.uniform(-1.0, 1.0)
    one, two = program(rng, depth - 1, scope + 1), program(rng, depth - 1, scope + 1)
    step = program(rng, depth - 1, scope + 2)

    def branching(m: Any, e: list[Any]) -> Any:
        return m.cond(m.np.sum(e[i]) > c / 3, lambda v: one(m, [*e, v]), lambda v: two(m, [*e, v]), e[j])

    def scanning(m: Any, e: list[Any]) -> Any:
        def moved(h: Any, u: Any) -> Any:
            return m.np.tanh(step(m, [*e, h, u])), h[0]

        last, ys = m.scan(moved, e[i], ENTRIES, reverse=c > 0)
        return last + ys[0] * ys[-1]

    def collecting(m: Any, e: list[Any]) -> Any:
        def moved(s: Any, u: Any) -> Any:
            return (m.np.tanh(one(m, [*e, s[0]])), s[1] + 1), {"y": two(m, [*e, s[0] * u]), "n": s[1]}

        (last, n), ys = m.scan(moved, (e[i], 0), ENTRIES)
        return m.np.tanh(last * n + m.np.sum(ys["y"], axis=0) * ys["n"][2])

    def mapping(m: Any, e: list[Any]) -> Any:
        return m.np.sum(m.scan(lambda _, u: (None, one(m, [*e, u])), None, ENTRIES)[1], axis=0) / 4

    def counting(m: Any, e: list[Any]) -> Any:
        return m.fori_loop(0, 3, lambda n, v: m.np.tanh(one(m, [*e, v])) * (1.0 + n * 0.1), e[i])

    def searching(m: Any, e: list[Any]) -> Any:
        def goes_on(s: Any) -> Any:
            return (m.np.sum(s[0] ** 2) > 0.3 + 0.1 * c) & (s[1] < 4)

        last, n = m.while_loop(
            goes_on, lambda s: (m.np.tanh(one(m, [*e, s[0]])) * 0.8, s[1] + 1), (e[i], 0), max_steps=9
        )
        return last * (1 + n)

    def checkpointed(m: Any, e: list[Any]) -> Any:
        return m.checkpoint(lambda v, u: one(m, [*e, v]) * u)(e[i], e[j])

    def differentiated(m: Any, e: list[Any]) -> Any:
        return m.np.tanh(m.jvp(lambda v: one(m, [*e, v]), (e[i],), (m.np.cos(e[j]),))[1])

    def batched(m: Any, e: list[Any]) -> Any:
        return m.np.sum(m.vmap(lambda u: one(m, [*e, u]))(e[i] * ENTRIES), axis=0) / 4

    return rng.choice(
        [
            branching, scanning, scanning, collecting, mapping, counting, searching, searching, checkpointed,
            differentiated, batched,
        ]
    )  # fmt: skip


def scalar_program(seed: int) -> Callable[[Any, Any], Any]:
    """A random scalar function of one vector: ``f(m, x)``."""
    rng = Random(seed)
    vector = program(rng, rng.choice([1, 2, 2, 3]))

    def function(m: Any, x: Any) -> Any:
        v = vector(m, [x])
        return m.np.sum(m.np.sin(v) * v)

    return function
