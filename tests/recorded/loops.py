"""What users write: branches and loops, in both modes and in batches, with rows that fail and budgets for snapshots."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from tests.recorded.cases import Case, numbers, programs

import gradwire as gw

POINTS: Final = np.array([-1.25, 0.5, 1.5, -0.25])
ENTRIES: Final = numbers(4, seed=1)


def piecewise(x: Any, y: Any) -> Any:
    return gw.cond(x > 0.0, lambda a: np.sin(a) * y, lambda a: a * a * y + 1.0, x)


def recurrence(x: Any, u: Any) -> Any:
    def step(state: Any, entry: Any) -> Any:
        moved = np.tanh(state["s"] * 1.5 + entry["u"] * x)
        return {"s": moved, "n": state["n"] + 1}, (moved * entry["u"], state["n"])

    last, (products, counts) = gw.scan(step, {"s": x * 0.5, "n": 0}, {"u": u})
    return last["s"] + np.sum(products**2) + np.sum(counts) + last["n"]


def grown(x: Any, limit: Any) -> Any:
    return gw.while_loop(lambda v: np.sum(v) < limit, lambda v: v * x + 0.25, x * 0.5, max_steps=40)


def horner(x: Any) -> Any:
    return gw.fori_loop(1, 6, lambda i, v: v * x + i, 0.0)


def counted(x: Any, n: Any) -> Any:
    return gw.fori_loop(0, n, lambda i, v: np.sin(v) + x * i, x, max_steps=9)


def rooted(x: Any) -> Any:
    """The square root by Newton's method; for x < 0 it does not settle."""

    def unsettled(state: Any) -> Any:
        return np.abs(state[0] - state[1]) > 1e-12

    return gw.while_loop(unsettled, lambda s: (0.5 * (s[0] + x / s[0]), s[0]), (x, x + 1.0), max_steps=30)[0]


def settled(x: Any) -> Any:
    """A state of 5 after 12 steps, half of which go another way."""
    table = numbers(5, 5) / 8

    def step(state: Any, n: Any) -> Any:
        state = gw.cond(n % 2 == 0, lambda: np.tanh(table @ state), lambda: state + 0.125 * np.sin(table @ state) * x)
        return state, np.sum(state)

    state, sums = gw.scan(step, np.full(5, 0.5) * x, np.arange(12))
    return np.sum(state) + np.sum(sums**2)


def long(x: Any) -> Any:
    """60 steps of 6 numbers."""
    return np.sum(gw.scan(lambda c, u: (np.tanh(c * 1.25) + 0.125 * x + u, None), np.sin(x), numbers(60) / 64)[0])


def long_while(x: Any) -> Any:
    """A loop of 16 numbers that ends after 20 of 50 steps."""

    def going(state: Any) -> Any:
        return state[1] < 20

    start = (x * np.ones(16), 0)
    return np.sum(gw.while_loop(going, lambda v: (np.sin(v[0]) + x, v[1] + 1), start, max_steps=50)[0])


def checkpointed(x: Any) -> Any:
    @gw.checkpoint
    def inner(v: Any, k: Any) -> Any:
        return {"v": np.sin(v * k) * np.exp(v / 4), "k": k + 1}

    first = inner(x, 2)
    return np.sum(inner(first["v"], first["k"])["v"])


def nested(x: Any) -> Any:
    """A while in a scan in a cond, over values from around them."""

    def longer() -> Any:
        def step(carry: Any, u: Any) -> Any:
            carry = gw.while_loop(lambda v: v * v > 1.0, lambda v: v * 0.5 + x / 64, carry + u, max_steps=20)
            return carry, carry * x

        last, ys = gw.scan(step, x, ENTRIES, reverse=True)
        return last + np.sum(ys)

    return gw.cond(x > 0.0, longer, lambda: x * x)


def everything(function: Callable[..., Any], *others: Any) -> Callable[[], Any]:
    """Values and derivatives in both modes and of second order, of one point and of several."""

    def run() -> Any:
        axes = (0, *[None] * len(others))
        return [
            gw.remote(function)(0.75, *others),
            gw.value_and_grad(function)(-0.75, *others),
            gw.jacfwd(function)(0.75, *others),
            gw.hessian(function)(0.75, *others),
            gw.vmap(gw.value_and_grad(function), in_axes=axes)(POINTS, *others),
            gw.vmap(gw.hessian(function), in_axes=axes)(POINTS, *others),
            gw.vmap(gw.grad(function), in_axes=axes, reduce="sum")(POINTS, *others),
        ]

    return run


def _scans() -> Any:
    def running(x: Any, reverse: bool) -> Any:
        return gw.scan(lambda c, e: (c + e, {"sum": c + e, "twice": 2 * e}), 0.0, x, reverse=reverse)

    return [
        gw.remote(lambda x: running(x, False))(ENTRIES),
        gw.remote(lambda x: running(x, True))(ENTRIES),
        gw.jacrev(lambda x: running(x, True)[1]["sum"])(ENTRIES),
        gw.remote(lambda x: gw.scan(lambda c, _: (c / 2, None), x, length=3))(8.0),
        gw.jacrev(lambda x: gw.scan(lambda _, e: (None, np.sin(e)), None, x)[1])(ENTRIES),
        gw.remote(lambda x: gw.scan(lambda c, e: (c, (e, c)), x, np.zeros((0, 2), np.float32)))(2.0),
        gw.vmap(lambda x, u: gw.scan(lambda c, e: (c * x, c + e), x, u), in_axes=(0, None))(POINTS, ENTRIES),
    ]


def _conds() -> Any:
    return [
        gw.remote(lambda x: gw.cond(np.sum(x) > 0, lambda: (np.sum(x), 0), lambda: (0, 1.5)))(ENTRIES),
        [gw.remote(lambda n: gw.cond(n, lambda: 1.0, lambda: 2.0))(n) for n in (0, 3)],
        gw.vmap(gw.grad(lambda x: gw.cond(x > 0, lambda: np.sqrt(x), lambda: 0.0 * x)))(np.array([4.0, 0.0, -1.0])),
        gw.vmap(lambda p, x: gw.cond(p, np.sin, np.cos, x), in_axes=(0, None))(POINTS > 0, ENTRIES),
        gw.vmap(lambda x: gw.cond(True, np.sin, np.cos, x))(POINTS),
    ]


LOOPS: Final[dict[str, Callable[[], Any]]] = {
    "cond": everything(piecewise, 2.0),
    "scan": everything(recurrence, ENTRIES),
    "fori_loop": everything(horner),
    "fori_loop to a traced bound": lambda: [
        gw.value_and_grad(counted)(0.5, 3),
        gw.vmap(gw.value_and_grad(counted))(POINTS, np.array([0, 3, 1, 5])),
    ],
    "loops in branches": everything(settled),
    "nested": everything(nested),
    "checkpoint": everything(checkpointed),
    "while_loop": lambda: [
        gw.remote(grown)(1.5, 5.0),
        gw.value_and_grad(grown, argnums=(0, 1))(1.5, 5.0),
        gw.hessian(grown)(1.25, 5.0),
        gw.vmap(gw.value_and_grad(grown), in_axes=(0, None))(np.array([1.25, 1.5, 2.5, 8.0]), 5.0),
        gw.jacrev(grown)(np.array([0.5, 1.5, 2.0]), 9.0),
        gw.jacfwd(grown)(np.array([0.5, 1.5, 2.0]), 9.0),
    ],
    "rows of their own length": lambda: [
        gw.vmap(transform(rooted))(np.array([1e-6, 0.25, 1.5, 9.0, 1e6]))
        for transform in (gw.value_and_grad, gw.hessian)
    ],
    "scans of all kinds": _scans,
    "conds of all kinds": _conds,
}

FAILURES: Final[dict[str, Callable[[], Any]]] = {
    "rows that fail": lambda: gw.vmap(gw.value_and_grad(rooted))(np.array([4.0, -3.0, 9.0, -2.0])),
    "rows that fail in a sum": lambda: gw.vmap(rooted, reduce="sum")(np.array([4.0, -3.0, 9.0, -2.0])),
    "one call that fails": lambda: gw.grad(rooted)(-3.0),
    "rows that fail in map": lambda: gw.remote(rooted).map(np.array([4.0, 9.0, 16.0, -3.0]), chunk=2),
    "rows that fail in a submitted call": lambda: gw.grad(rooted).submit(-3.0).result(),
    "rows with integers that fail": lambda: gw.vmap(
        lambda n: gw.while_loop(lambda v: v > 0, lambda v: v - 1, n, max_steps=3)
    )(np.array([1, 5, 3])),
}


def _transformed() -> Any:
    x = numbers(6, seed=7) / 4
    return [
        gw.value_and_grad(long)(x),
        gw.vmap(gw.grad(long))(numbers(3, 6, seed=8) / 4),
        gw.hvp(long, (x,), (numbers(6, seed=9),)),
        gw.grad(long_while)(0.5),
        gw.vmap(gw.grad(long_while))(POINTS),
        gw.cost(gw.grad(long), x),
    ]


CASES: Final = [
    *programs({f"loop: {name}": one for name, one in LOOPS.items()}),
    *programs({f"loop: {name}": one for name, one in FAILURES.items()}, any_order=True),
    *[
        Case(f"loop: snapshots of {nbytes} bytes", _transformed, connect={"snapshot_bytes": nbytes})
        for nbytes in (1, 700, 1 << 20)
    ],
]
