"""cond: types of the branches, predicates, and what a branch computes."""

from __future__ import annotations

from typing import Any

import numpy as np
from tests.kit.client.evaluating import assert_same

import gradwire as gw

X = np.array([0.5, -1.0, 2.0])


def test_python_numbers_of_a_branch_take_the_type_of_the_other() -> None:
    def f(x: Any) -> Any:
        return gw.cond(np.sum(x) > 0, lambda: (np.sum(x), 0), lambda: (0, 1.5))

    assert_same(gw.remote(f)(X.astype(np.float32)), (np.float32(1.5), np.float64(0.0)))
    assert_same(gw.remote(f)(-X.astype(np.float32)), (np.float32(0.0), np.float64(1.5)))


def test_the_branches_may_list_the_keys_of_a_dict_in_any_order() -> None:
    def f(x: Any) -> Any:
        return gw.cond(x > 0, lambda: {"a": x, "b": 2 * x}, lambda: {"b": x, "a": 2 * x})

    assert_same(gw.remote(f)(1.0), {"a": np.float64(1.0), "b": np.float64(2.0)})
    assert_same(gw.remote(f)(-1.0), {"a": np.float64(-2.0), "b": np.float64(-1.0)})


def test_a_predicate_that_is_known_calls_one_branch_only() -> None:
    def never() -> Any:
        raise AssertionError

    def f(x: Any) -> Any:
        return gw.cond(x.ndim == 1, lambda: np.sum(x), never) + gw.cond(0, never, lambda: 1.0)

    assert gw.remote(f)(X) == np.sum(X) + 1.0
    assert "cond" not in str(gw.trace(f, X))


def test_numbers_are_predicates_that_are_true_unless_they_are_zero() -> None:
    def f(n: Any) -> Any:
        return gw.cond(n, lambda: 1.0, lambda: 2.0)

    assert [gw.remote(f)(n) for n in (0, 3, -1)] == [f(n) for n in (0, 3, -1)] == [2.0, 1.0, 1.0]


def test_a_branch_that_is_not_taken_does_not_hurt() -> None:
    def f(x: Any) -> Any:
        return gw.cond(x > 0, lambda: np.sqrt(x), lambda: 0.0 * x)

    assert_same(gw.vmap(gw.grad(f))(np.array([4.0, 0.0, -1.0])), np.array([0.25, 0.0, 0.0]))

    def endless(x: Any) -> Any:
        loop = lambda: gw.while_loop(lambda v: v < 10.0, lambda v: v * x, 1.0, max_steps=100)  # noqa: E731
        return gw.cond(x > 1.0, loop, lambda: x)

    assert_same(gw.vmap(gw.grad(endless))(np.array([0.5, 4.0])), np.array([1.0, 8.0]))


def test_what_a_branch_computes_is_inside_of_it_even_of_values_from_around_it() -> None:
    def f(x: Any) -> Any:
        def longer() -> Any:
            y = np.where(x > 1, np.sin(x) ** 2, -x).T[::2] + np.pad(x, 1)[1:3]
            return np.sum(np.concatenate([y, gw.special.expit(x)])) + np.linalg.norm(gw.stop_gradient(x))

        return gw.checkpoint(lambda: gw.cond(x[0] > 0, longer, lambda: np.max(x)))()

    lines = [line for line in str(gw.trace(f, X)).splitlines() if line.startswith("  v")]
    assert len(lines) == 1
    assert "checkpoint(x)" in lines[0]
    for x in (X, -X):
        np.testing.assert_allclose(gw.remote(f)(x), f(x), rtol=1e-14)


def never(x: Any) -> Any:
    return gw.while_loop(lambda v: v > 0, lambda v: v + x, x, max_steps=7)
