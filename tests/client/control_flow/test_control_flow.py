"""Branches and loops: Python's own outside of a trace, one operation inside, with the derivatives of the unrolled."""

from __future__ import annotations

import pickle
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


# cond


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


# scan


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


# while_loop, fori_loop, checkpoint


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


def test_a_checkpointed_function_is_the_same_function(service: LocalClient) -> None:
    factor = np.array(2.0)

    @gw.checkpoint
    def layer(w: Any, *, shift: Any = 0.5) -> Any:
        "A layer."
        return {"out": np.tanh(TABLE @ w * factor) + shift}

    def f(w: Any) -> Any:
        return np.sum(layer(layer(w)["out"], shift=w[0])["out"] ** 2)

    assert layer.__name__ == "layer"
    assert layer.__doc__ == "A layer."
    np.testing.assert_allclose(gw.remote(f)(VECTOR), f(VECTOR), rtol=1e-14)
    gw.check_grads(f, (VECTOR,))
    assert str(gw.trace(f, VECTOR)).count("= checkpoint(") == 2
    before = gw.remote(layer)(VECTOR)["out"]
    factor *= 2.0  # what the function reads is watched
    assert not np.allclose(gw.remote(layer)(VECTOR)["out"], before)
    assert pickle.loads(pickle.dumps(gw.checkpoint(np.sin)))(0.5) == np.sin(0.5)
    with pytest.raises(TypeError, match="expected a function"):
        gw.checkpoint(3.0)


# memory


def test_a_client_may_say_how_much_loops_keep(service: LocalClient) -> None:
    def f(x: Any) -> Any:
        last = gw.scan(lambda c, _: (np.tanh(TABLE @ c) + 0.1 * x, None), np.sin(x), length=200)[0]
        return np.sum(gw.while_loop(lambda v: np.sum(v**2) > 1e-3, lambda v: v * 0.9, last, max_steps=500))

    plain, kept = gw.grad(f)(VECTOR), gw.cost(gw.grad(f), VECTOR)
    assert decode_program(service.last.program).snapshot_bytes == 0
    frugal = LocalClient(snapshot_bytes=2048)
    PROCESS.push(frugal)  # type: ignore[arg-type]
    try:
        np.testing.assert_allclose(gw.grad(f)(VECTOR), plain, rtol=1e-13)
        assert decode_program(frugal.last.program).snapshot_bytes == 2048
        found = gw.cost(gw.grad(f), VECTOR)
        rows = gw.vmap(gw.grad(f)).map(np.stack([VECTOR] * 4), chunk=2)
        assert decode_program(frugal.last.program).snapshot_bytes == 2048
    finally:
        PROCESS.remove(frugal)  # type: ignore[arg-type]
    np.testing.assert_allclose(rows, [plain] * 4, rtol=1e-13)
    assert found.bytes < kept.bytes / 2
    assert found.flops > kept.flops
    gw.grad(f)(VECTOR)
    assert decode_program(service.last.program).snapshot_bytes == 0


# mistakes


def changing(x: Any) -> Any:
    return gw.scan(lambda c, entry: (c + entry, None), 0, x)[0]


def widening(x: Any) -> Any:
    return gw.scan(lambda c, entry: (c + x, None), 0.0, x)[0]


def narrowing(x: Any) -> Any:
    return gw.while_loop(lambda v: v[0] < 1, lambda v: v.astype(np.float32), x, max_steps=3)


def regrouping(x: Any) -> Any:
    return gw.fori_loop(0, 3, lambda i, v: (v[0], v[1], i), (0.0, 0.0))


def single(x: Any) -> Any:
    return gw.scan(lambda c, entry: c + entry, 0.0, x)


def uneven(x: Any) -> Any:
    return gw.scan(lambda c, entry: (c, None), 0.0, (x, x[1:]))


def scalar_inputs(x: Any) -> Any:
    return gw.scan(lambda c, entry: (c, None), 0.0, [1.0, 2.0])


def unknown_length(x: Any) -> Any:
    return gw.scan(lambda c, entry: (c, None), 0.0)


def traced_length(x: Any) -> Any:
    return gw.scan(lambda c, entry: (c, None), 0.0, length=np.argmax(x))


def vector_condition(x: Any) -> Any:
    return gw.while_loop(lambda v: v < 1, lambda v: v + 1, x, max_steps=3)


def vector_predicate(x: Any) -> Any:
    return gw.cond(x > 0, lambda: 1.0, lambda: 2.0)


def other_type(x: Any) -> Any:
    return gw.cond(x[0] > 0, lambda: x, lambda: x.astype(np.float32))


def other_shape(x: Any) -> Any:
    return gw.cond(x[0] > 0, lambda: x, lambda: 0.0)


def other_structure(x: Any) -> Any:
    return gw.cond(x[0] > 0, lambda: (x, x), lambda: x)


def values_for_branches(x: Any) -> Any:
    return gw.cond(x[0] > 0, 1.0, 2.0)


def swapped(x: Any) -> Any:
    return gw.scan(0.0, lambda c, entry: (c, None), x)


MISTAKES: list[tuple[Callable[[Any], Any], str]] = [
    (changing, r"scan: carry goes in as int64 and comes out of <lambda> as float64; .*: 0\.0 instead of 0"),
    (widening, r"scan: carry goes in as float64 and comes out of <lambda> as float64\[3\]; .*shape \(3,\)"),
    (narrowing, r"while_loop: val goes in as float64\[3\] .* as float32\[3\]; .*\.astype\(np\.float64\)"),
    (regrouping, "fori_loop: what comes out of <lambda> is not nested like what goes in"),
    (single, r"scan: <lambda> returns a Tracer, expected \(carry, y\)"),
    (uneven, r"scan: xs\[1\] has 2 entries, and xs\[0\] 3; all have the same"),
    (scalar_inputs, r"scan: xs\[0\] is float64, which has no axis to go along; pass arrays"),
    (unknown_length, "scan: without xs, length= says how many steps there are"),
    (traced_length, r"scan: length is a traced value.*gw\.while_loop"),
    (vector_condition, r"while_loop: <lambda> returns bool\[3\], and a condition is one bool.*np\.any"),
    (vector_predicate, r"cond: the predicate is bool\[3\], and it is one bool.*np\.where"),
    (other_type, r"cond: result is float64\[3\] from <lambda> and float32\[3\] from <lambda>.*\.astype\(np\.float64\)"),
    (other_shape, r"cond: result is float64\[3\] from <lambda> and float64 from <lambda>.*one shape"),
    (values_for_branches, "cond: true_fun is a float, and a function is expected"),
    (swapped, "scan: f is a float, and a function is expected"),
    (other_structure, "cond: <lambda> and <lambda> return results that are not nested alike"),
]


@pytest.mark.parametrize(("function", "message"), MISTAKES, ids=[one[0].__name__ for one in MISTAKES])
def test_mistakes_name_the_line_and_the_remedy(function: Callable[[Any], Any], message: str) -> None:
    with pytest.raises(gw.TracingError, match=message) as caught:
        gw.remote(function)(X)
    line = function.__code__.co_firstlineno + 1
    assert f"\n  at {__file__}:{line}: return gw." in str(caught.value)
    assert str(caught.value).count("\n") == 1


def test_a_changing_carry_is_refused_outside_of_a_trace_too() -> None:
    with pytest.raises(gw.TracingError, match="carry goes in as int64 and comes out of <lambda> as float64"):
        changing(X)
