"""Branches and loops: Python's own outside of a trace, one operation inside, with the derivatives of the unrolled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tests.kit.client.local import LocalClient

import gradwire as gw

X = np.array([0.5, -1.0, 2.0])


def piecewise(x: Any, y: Any) -> Any:
    return gw.cond(x > 0.0, lambda a: np.sin(a) * y, lambda a: a * a * y + 1.0, x)


def recurrence(x: Any, u: Any) -> Any:
    def step(state: Any, entry: Any) -> Any:
        moved = np.tanh(state["s"] * 1.5 + entry["u"] * x)
        return {"s": moved, "n": state["n"] + 1}, (moved * entry["u"], state["n"])

    last, (products, counts) = gw.scan(step, {"s": x * 0.5, "n": 0}, {"u": u})
    return last["s"] + np.sum(products**2) + np.sum(counts) + last["n"]


def unrolled_recurrence(x: Any, u: Any) -> Any:
    state, total = x * 0.5, 0.0
    for n in range(len(u)):
        state = np.tanh(state * 1.5 + u[n] * x)
        total = total + (state * u[n]) ** 2 + n
    return state + total + len(u)


def grown(x: Any, limit: Any) -> Any:
    return gw.while_loop(lambda v: np.sum(v) < limit, lambda v: v * x + 0.25, x * 0.5, max_steps=40)


def unrolled_growth(x: Any, limit: float, steps: int) -> Any:
    v = x * 0.5
    for _ in range(steps):
        v = v * x + 0.25
    return v


def horner(x: Any) -> Any:
    return gw.fori_loop(1, 6, lambda i, value: value * x + i, 0.0)


def unrolled_horner(x: Any) -> Any:
    value = 0.0
    for i in range(1, 6):
        value = value * x + i
    return value


FUNCTIONS: list[tuple[Callable[..., Any], Callable[..., Any], tuple[Any, ...]]] = [
    (piecewise, lambda x, y: np.sin(x) * y, (0.5, 2.0)),
    (piecewise, lambda x, y: x * x * y + 1.0, (-0.5, 2.0)),
    (recurrence, unrolled_recurrence, (0.7, X)),
    (grown, lambda x, limit: unrolled_growth(x, limit, 4), (1.5, 5.0)),
    (horner, unrolled_horner, (1.25,)),
]
IDS = ["cond, true", "cond, false", "scan", "while_loop", "fori_loop"]


@pytest.mark.parametrize(("function", "unrolled", "point"), FUNCTIONS, ids=IDS)
def test_values_are_those_of_the_code_as_python_runs_it(
    function: Callable[..., Any], unrolled: Callable[..., Any], point: tuple[Any, ...], service: LocalClient
) -> None:
    plain = function(*point)
    assert service.requests == []
    np.testing.assert_allclose(plain, unrolled(*point), rtol=1e-14)
    np.testing.assert_allclose(gw.remote(function)(*point), plain, rtol=1e-14)
    assert np.asarray(plain).dtype == gw.remote(function)(*point).dtype


@pytest.mark.parametrize(("function", "unrolled", "point"), FUNCTIONS, ids=IDS)
def test_derivatives_are_those_of_the_unrolled_code(
    function: Callable[..., Any], unrolled: Callable[..., Any], point: tuple[Any, ...]
) -> None:
    for transform in (gw.grad, gw.jacfwd, gw.hessian, lambda f: gw.jacrev(gw.jacrev(f)), lambda f: gw.grad(gw.grad(f))):
        found, expected = transform(function)(*point), transform(unrolled)(*point)
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("function", "unrolled", "point"), FUNCTIONS, ids=IDS)
def test_derivatives_agree_with_differences(
    function: Callable[..., Any], unrolled: Callable[..., Any], point: tuple[Any, ...]
) -> None:
    gw.check_grads(function, point)


@pytest.mark.parametrize(("function", "unrolled", "point"), FUNCTIONS, ids=IDS)
def test_batches_are_loops_over_the_rows(
    function: Callable[..., Any], unrolled: Callable[..., Any], point: tuple[Any, ...]
) -> None:
    rows = np.array([1.25, 1.5, 2.5, 1.75]) if function is grown else np.array([-1.25, 0.5, 1.5, -0.25])
    others = point[1:]
    axes = (0, *[None] * len(others))
    for f in (gw.remote(function), gw.value_and_grad(function), gw.hessian(function)):
        one_by_one = [f(row, *others) for row in rows]
        inside = gw.remote(lambda xs, f=f: gw.vmap(f, in_axes=axes)(xs, *others))
        for together in (gw.vmap(f, in_axes=axes)(rows, *others), inside(rows)):
            parts = zip(*one_by_one, strict=True) if isinstance(together, tuple) else [one_by_one]
            wholes = together if isinstance(together, tuple) else (together,)
            for whole, part in zip(wholes, parts, strict=True):
                np.testing.assert_allclose(whole, np.stack(part), rtol=1e-12, atol=1e-14)
