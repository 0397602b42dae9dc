"""Branches and loops through the service: rows of one batch go their own ways, and fail alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gradwire as gw

TABLE = np.random.default_rng(3).normal(size=(12, 12)) / 4


def root(x: Any) -> Any:
    """The square root by Newton's method, from x on; for most x < 0 it never settles."""

    def unsettled(state: Any) -> Any:
        return np.abs(state[0] - state[1]) > 1e-15 * np.abs(state[0])

    def step(state: Any) -> Any:
        return 0.5 * (state[0] + x / state[0]), state[0]

    return gw.while_loop(unsettled, step, (x, x + 1.0), max_steps=60)[0]


def settled(x: Any) -> Any:
    """A state of 12 after 30 steps, half of which go another way."""

    def step(state: Any, n: Any) -> Any:
        state = gw.cond(n % 2 == 0, lambda: np.tanh(TABLE @ state), lambda: state + 0.1 * np.sin(TABLE @ state) * x)
        return state, np.sum(state)

    state, sums = gw.scan(step, np.full(12, 0.5) * x, np.arange(30))
    return np.sum(state) + np.sum(sums**2)


def test_each_row_makes_its_own_number_of_steps() -> None:
    points = np.array([1e-6, 0.25, 1.5, 9.0, 1e6])
    values, gradients = gw.vmap(gw.value_and_grad(root))(points)
    np.testing.assert_allclose(values, np.sqrt(points), rtol=1e-14)
    np.testing.assert_allclose(gradients, 0.5 / np.sqrt(points), rtol=1e-12)
    np.testing.assert_allclose(gw.vmap(gw.hessian(root))(points), -0.25 * points**-1.5, rtol=1e-10)


def test_a_loop_gives_what_python_gives_and_its_derivatives_those_of_differences() -> None:
    for x in (0.3, 1.2):
        np.testing.assert_allclose(gw.remote(settled)(x), settled(x), rtol=1e-13)
    gw.check_grads(settled, (0.7,))


def test_of_many_requests_in_one_batch_only_those_fail_whose_loop_does_not_end() -> None:
    derivative = gw.grad(root)
    derivative(4.0)
    points = [float(n) if n % 7 else -float(n + 2) for n in range(70)]
    waiting = [derivative.submit(x) for x in points]
    for x, pending in zip(points, waiting, strict=True):
        if x > 0:
            np.testing.assert_allclose(pending.result(), 0.5 / np.sqrt(x), rtol=1e-12)
        else:
            with pytest.raises(gw.RowError, match="max_steps = 60") as caught:
                pending.result()
            assert (caught.value.rows, caught.value.reason) == ((0,), "MAX_STEPS_EXCEEDED")
            assert "return gw.while_loop(unsettled" in str(caught.value)


def test_rows_that_fail_are_named_and_the_others_are_there() -> None:
    points = np.array([4.0, -3.0, 9.0, -2.0])
    with pytest.raises(gw.RowError, match="no result for row 1, 3: ") as caught:
        gw.vmap(gw.value_and_grad(root))(points)
    assert caught.value.rows == (1, 3)
    np.testing.assert_allclose(caught.value.result[0], [2.0, np.nan, 3.0, np.nan], rtol=1e-14)
    np.testing.assert_allclose(caught.value.result[1], [0.25, np.nan, 1 / 6, np.nan], rtol=1e-12)
    with pytest.raises(gw.RowError) as caught:
        gw.vmap(root, reduce="sum")(points)
    assert caught.value.result is None


def test_a_budget_for_snapshots_saves_memory_and_changes_no_number(client: gw.Client) -> None:
    def f(x: Any) -> Any:
        return np.sum(gw.scan(lambda c, _: (np.tanh(TABLE @ c) + 0.1 * x, None), np.sin(x), length=2_000)[0])

    x = np.linspace(-1.0, 1.0, 12)
    plain, kept = gw.grad(f)(x), gw.cost(gw.grad(f), x)
    with gw.connect(client.target, snapshot_bytes=8 << 10):
        np.testing.assert_allclose(gw.grad(f)(x), plain, rtol=1e-13)
        found = gw.cost(gw.grad(f), x)
    assert found.bytes < kept.bytes / 5
    assert kept.flops < found.flops < 10 * kept.flops


# what a call is expected to take


def test_what_a_call_takes_is_expected_from_its_operations_and_then_from_what_calls_took() -> None:
    def slow(x: Any) -> Any:
        last, _ = gw.scan(lambda c, _: (np.sin(c), None), x, None, length=20_000)
        return last

    guessed = gw.cost(slow, 1.0)
    assert not guessed.open_ended
    with gw.reports() as reports:
        for _ in range(3):
            gw.remote(slow)(1.0)
    took = min(report.compute_seconds for report in reports)
    learnt = gw.cost(slow, 1.0)
    assert (learnt.flops, learnt.bytes) == (guessed.flops, guessed.bytes)
    assert learnt.seconds != guessed.seconds
    assert learnt.seconds >= 0.99 * took


def test_a_loop_that_ends_by_itself_is_expected_to_take_less_than_its_bound() -> None:
    def loop(x: Any) -> Any:
        return gw.while_loop(lambda x: x > 1.0, lambda x: x * 0.5, x, max_steps=1_000_000_000)

    found = gw.cost(loop, 1e6)
    assert found.open_ended
    assert found.flops >= 1_000_000_000
    assert found.seconds < 1.0
