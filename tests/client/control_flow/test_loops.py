"""scan, while_loop and fori_loop: inputs and results, what bodies close over, bounds on the steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tests.kit.client.evaluating import assert_same
from tests.kit.client.local import LocalClient

import gradwire as gw
from gradwire.connection.current import PROCESS
from gradwire.wire.programs import decode_program

X = np.array([0.5, -1.0, 2.0])
TABLE = np.random.default_rng(7).normal(size=(9, 9)) / 4
VECTOR = np.random.default_rng(8).normal(size=9)


def test_the_results_of_a_scan_are_stacked_in_the_order_of_its_inputs() -> None:
    def f(x: Any, reverse: bool) -> Any:
        return gw.scan(lambda c, entry: (c + entry, {"sum": c + entry, "twice": 2 * entry}), 0.0, x, reverse=reverse)

    for reverse in (False, True):
        plain, traced = f(X, reverse), gw.remote(lambda x, reverse=reverse: f(x, reverse))(X)
        assert_same(traced, plain)
        expected = np.cumsum(X[::-1])[::-1] if reverse else np.cumsum(X)
        assert_same(plain[1]["sum"], expected)


def test_a_scan_may_have_no_inputs_no_carry_no_results_and_no_steps() -> None:
    def halves(x: Any) -> Any:
        return gw.scan(lambda c, _: (c / 2, None), x, length=3)

    assert_same(gw.remote(halves)(8.0), (np.float64(1.0), None))
    assert_same(halves(8.0), (np.float64(1.0), None))

    def mapped(x: Any) -> Any:
        return gw.scan(lambda _, entry: (None, np.sin(entry)), None, x)[1]

    assert_same(gw.remote(mapped)(X), np.sin(X))
    assert_same(gw.jacrev(mapped)(X), np.diag(np.cos(X)))
    none = np.zeros((0, 2), np.float32)
    for scanned in (gw.scan, gw.remote(lambda c, xs: gw.scan(lambda c, x: (c, (x, c)), c, xs))):
        carry, ys = scanned(*((lambda c, x: (c, (x, c)),) if scanned is gw.scan else ()), 2.0, none)
        assert_same(carry, np.float64(2.0))
        assert_same(ys, (none, np.zeros(0)))


def test_large_arrays_that_a_body_closes_over_are_inputs_of_the_program_once(service: LocalClient) -> None:
    def f(x: Any) -> Any:
        def step(c: Any, _: Any) -> Any:
            c = gw.cond(c[0] > 0, lambda: TABLE @ c, lambda: np.tanh(TABLE @ c))
            return gw.while_loop(lambda v: np.sum((TABLE @ v) ** 2) > 1.0, lambda v: v / 2, c, max_steps=20), None

        return np.sum(gw.scan(step, TABLE @ x, length=3)[0] ** 2)

    plain = f(VECTOR)
    np.testing.assert_allclose(gw.remote(f)(VECTOR), plain, rtol=1e-13)
    assert len(service.last.inputs) == 2
    assert len(service.last.program) < 4000
    gw.check_grads(f, (VECTOR,), order=1)


def test_new_content_of_an_array_in_a_body_needs_no_new_trace() -> None:
    table = TABLE.copy()
    traces = []

    def f(x: Any) -> Any:
        traces.append(1)
        return np.sum(gw.scan(lambda c, _: (table @ c, None), x, length=2)[0])

    first = gw.grad(f)(VECTOR)
    np.testing.assert_allclose(first, np.sum(table @ table, axis=0), rtol=1e-13)
    for _ in range(3):
        table *= 1.5
        np.testing.assert_allclose(gw.grad(f)(VECTOR), np.sum(table @ table, axis=0), rtol=1e-13)
    assert len(traces) <= 2


def test_values_of_all_traces_around_a_body_can_be_used_in_it() -> None:
    def f(x: Any) -> Any:
        def inner(y: Any) -> Any:
            def step(c: Any, entry: Any) -> Any:
                slope = gw.grad(lambda z: np.sin(z * x) * y + c * z)(entry)
                return c + slope, c * x * y

            last, ys = gw.scan(step, x * y, X)
            return last + np.sum(ys)

        return gw.grad(inner)(x * 2.0)

    def unrolled(x: Any) -> Any:
        def inner(y: Any) -> Any:
            c, total = x * y, 0.0
            for entry in X:
                total = total + c * x * y
                c = c + np.cos(entry * x) * x * y + c
            return c + total

        return gw.grad(inner)(x * 2.0)

    for transform in (gw.remote, gw.grad, gw.jacfwd, gw.hessian):
        np.testing.assert_allclose(transform(f)(0.75), transform(unrolled)(0.75), rtol=1e-12)


def test_loops_nest_in_loops_in_branches() -> None:
    def f(x: Any) -> Any:
        def row(c: Any, n: Any) -> Any:
            inner = gw.fori_loop(0, n, lambda i, v: v * x + gw.cond(v > 1.0, lambda: -v, lambda: v / 2), c, max_steps=5)
            return np.tanh(inner), inner

        return np.sum(gw.scan(row, x, np.array([3, 0, 5, 1]))[1])

    for x in (0.25, 1.5):
        np.testing.assert_allclose(gw.remote(f)(x), f(x), rtol=1e-13)
        gw.check_grads(f, (x,))


def never(x: Any) -> Any:
    return gw.while_loop(lambda v: v > 0, lambda v: v + x, x, max_steps=7)


NEVER = f"{__file__}:{never.__code__.co_firstlineno + 1}: return gw.while_loop"


@pytest.mark.parametrize(
    ("function", "done"),
    [(never, -1.0), (gw.remote(never), -1.0), (gw.grad(never), 1.0)],
    ids=["plain", "remote", "grad"],
)
def test_a_loop_that_is_not_done_after_max_steps_is_named_with_its_line(
    function: Callable[..., Any], done: float
) -> None:
    with pytest.raises(gw.RowError, match="max_steps = 7") as caught:
        function(1.0)
    assert (caught.value.reason, caught.value.rows) == ("MAX_STEPS_EXCEEDED", (0,))
    assert NEVER in str(caught.value)
    assert function(-1.0) == done


def test_only_the_rows_that_are_not_done_fail() -> None:
    rows = np.array([-1.0, 2.0, -3.0, 4.0])
    for function in (gw.vmap(never), gw.vmap(gw.value_and_grad(never))):
        with pytest.raises(gw.RowError, match="no result for row 1, 3: ") as caught:
            function(rows)
        assert caught.value.rows == (1, 3)
        assert NEVER in str(caught.value)
        values, *gradients = caught.value.result if isinstance(caught.value.result, tuple) else (caught.value.result,)
        assert_same(values, np.array([-1.0, np.nan, -3.0, np.nan]))
        for gradient in gradients:
            assert_same(gradient, np.array([1.0, np.nan, 1.0, np.nan]))
    with pytest.raises(gw.RowError, match="in the chunk of the rows from 2: no result for row 1: ") as caught:
        gw.vmap(never).map(np.array([-1.0, -2.0, -3.0, 4.0]), chunk=2)
    assert caught.value.rows == (3,)


def test_a_loop_inside_of_a_scan_inside_of_a_gradient_is_found_too() -> None:
    def f(x: Any) -> Any:
        return gw.grad(lambda y: np.sum(gw.scan(lambda c, _: (c, never(c)), y, length=2)[1]))(x)

    with pytest.raises(gw.RowError) as caught:
        gw.remote(f)(1.0)
    assert NEVER in str(caught.value)
    assert gw.remote(f)(-1.0) == 2.0


def test_max_steps_is_asked_for_with_the_reason() -> None:
    with pytest.raises(TypeError, match=r"max_steps= is missing.*reverse mode"):
        gw.while_loop(lambda v: v < 1, lambda v: v + 1, 0)
    for wrong in (0, -1, 2.5, True):
        with pytest.raises(TypeError, match=r"max_steps is .*an integer from 1 to "):
            gw.while_loop(lambda v: v < 1, lambda v: v + 1, 0, max_steps=wrong)
    with pytest.raises(TypeError, match="max_steps is a traced value"):
        gw.remote(lambda n: gw.while_loop(lambda v: v < 1, lambda v: v + 1, 0, max_steps=n))(3)
    with pytest.raises(TypeError, match=r"bounds are traced values\. Pass max_steps="):
        gw.remote(lambda n: gw.fori_loop(0, n, lambda i, v: v + 1, 0))(3)


def test_bounds_of_a_fori_loop_may_be_traced() -> None:
    def f(x: Any, lower: Any, upper: Any) -> Any:
        return gw.fori_loop(lower, upper, lambda i, v: v * x + i, 1.0, max_steps=10)

    for bounds in ((0, 4), (2, 3), (3, 3), (5, 2)):
        np.testing.assert_allclose(gw.remote(f)(1.5, *bounds), f(1.5, *bounds), rtol=1e-14)
    np.testing.assert_allclose(gw.grad(f)(2.0, 0, 3), 3 * 2.0**2 + 0 + 1, rtol=1e-14)


def test_a_client_may_say_how_much_loops_keep(service: LocalClient) -> None:
    def f(x: Any) -> Any:
        last = gw.scan(lambda c, _: (np.tanh(TABLE @ c) + 0.1 * x, None), np.sin(x), length=200)[0]
        return np.sum(gw.while_loop(lambda v: np.sum(v**2) > 1e-3, lambda v: v * 0.9, last, max_steps=500))

    plain, kept = gw.grad(f)(VECTOR), gw.cost(gw.grad(f), VECTOR)
    assert decode_program(service.last.program).snapshot_bytes == 0
    frugal = LocalClient(snapshot_bytes=2048)
    PROCESS.push(frugal)
    try:
        np.testing.assert_allclose(gw.grad(f)(VECTOR), plain, rtol=1e-13)
        assert decode_program(frugal.last.program).snapshot_bytes == 2048
        found = gw.cost(gw.grad(f), VECTOR)
        rows = gw.vmap(gw.grad(f)).map(np.stack([VECTOR] * 4), chunk=2)
        assert decode_program(frugal.last.program).snapshot_bytes == 2048
    finally:
        PROCESS.remove(frugal)
    np.testing.assert_allclose(rows, [plain] * 4, rtol=1e-13)
    assert found.bytes < kept.bytes / 2
    assert found.flops > kept.flops
    gw.grad(f)(VECTOR)
    assert decode_program(service.last.program).snapshot_bytes == 0
