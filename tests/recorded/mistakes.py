"""What users write by mistake: the kind of the error, its reason, and all that its message says."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from tests.recorded.cases import Case, numbers, programs

import gradwire as gw

X: Final = numbers(3, seed=1)


def refused(*calls: Callable[[], Any]) -> Callable[[], Any]:
    """What each of these calls raises."""

    def run() -> list[Exception]:
        found = []
        for call in calls:
            try:
                call()
            except Exception as error:
                found.append(error)
            else:
                raise AssertionError("this call is not refused")
        return found

    return run


def branching(x: Any) -> Any:
    return x if x[0] > 0 else -x


def assigning(x: Any) -> Any:
    x[0] = 1.0
    return np.sum(x)


def adding_in_place(x: Any) -> Any:
    y = np.zeros(3)
    y += x
    return np.sum(y)


def iterating_over_a_number(x: Any) -> Any:
    return sum(one for one in x[0])


def leaking() -> Any:
    kept: list[Any] = []
    gw.remote(lambda x: kept.append(x) or x)(1.0)
    return gw.remote(lambda y: y + kept[0])(2.0)


def _grad(f: Callable[..., Any]) -> Callable[[], Any]:
    return lambda: gw.grad(f)(X)


MISTAKES: Final[dict[str, Callable[[], Any]]] = {
    "code that cannot be traced": refused(
        _grad(branching),
        _grad(assigning),
        _grad(adding_in_place),
        _grad(iterating_over_a_number),
        _grad(lambda x: np.sum(np.asarray(x))),
        _grad(lambda x: math.sin(x[0])),
        _grad(lambda x: float(x[0])),
        _grad(lambda x: np.sum(np.array([[x[0], x[1]], [x[2]]]))),
        _grad(lambda x: np.sort_complex(x)),
        _grad(lambda x: x[x > 0]),
        _grad(lambda x: np.sum(x.tolist())),
        _grad(lambda x: range(x[0])),
        leaking,
    ),
    "shapes that do not fit": refused(
        lambda: gw.remote(lambda x, y: x + y)(X, np.ones(2)),
        lambda: gw.remote(lambda x, y: x @ y)(X, np.ones((2, 3))),
        lambda: gw.remote(lambda x: x.reshape(2, 2))(X),
        lambda: gw.remote(lambda x: x[5])(X),
        lambda: gw.remote(lambda x: np.sum(x, axis=2))(X),
        lambda: gw.remote(lambda x: np.concatenate([x, x[None]]))(X),
        lambda: gw.remote(lambda x: np.linalg.solve(x, x))(X),
    ),
    "derivatives that do not exist": refused(
        lambda: gw.grad(lambda x: x * 2)(X),
        lambda: gw.grad(lambda x, n: x * n, argnums=1)(1.0, 2),
        lambda: gw.grad(lambda x: x > 0)(1.0),
        lambda: gw.grad(lambda x: x)(1.0, 2.0),
        lambda: gw.grad(lambda x: x, argnums=3)(1.0),
        lambda: gw.grad(lambda x: x, argnums=0.5),
        lambda: gw.grad(lambda x: x, has_aux=True)(1.0),
        lambda: gw.jvp(lambda x: x, X, X),
        lambda: gw.jvp(lambda x: x, (X,), (np.ones(2),)),
        lambda: gw.vjp(lambda x: x, (X,), np.ones(2)),
        lambda: gw.hvp(lambda x: x, (X,), (X,)),
        lambda: gw.grad(3),
    ),
    "batches that do not fit": refused(
        lambda: gw.vmap(lambda x, y: x + y)(X, np.ones(2)),
        lambda: gw.vmap(lambda x: x)(1.0),
        lambda: gw.vmap(lambda x: x, in_axes=2)(X),
        lambda: gw.vmap(lambda x: x, in_axes=None)(X),
        lambda: gw.vmap(lambda x: x, in_axes=(0, 0))(X),
        lambda: gw.vmap(lambda x: x, out_axes=3)(X),
        lambda: gw.vmap(lambda x: x, reduce="max")(X),
        lambda: gw.vmap(lambda x: x > 0, reduce="sum")(X),
        lambda: gw.remote(lambda x: x).map(X, chunk=0),
    ),
    "arguments of wrong kinds": refused(
        lambda: gw.remote(lambda x: x)("text"),
        lambda: gw.remote(lambda x: x)(1 + 2j),
        lambda: gw.remote(lambda x: x)(np.array([1], dtype=np.uint8)),
        lambda: gw.remote(lambda x: x)({1, 2}),
        lambda: gw.remote(lambda x: x)(2**70),
        lambda: gw.remote(lambda x: "text")(1.0),
        lambda: gw.remote(lambda x: 1j * x)(1.0),
    ),
    "loops that do not fit": refused(
        lambda: gw.remote(lambda x: gw.scan(lambda c, e: (c + e, None), 0, x)[0])(X),
        lambda: gw.remote(lambda x: gw.scan(lambda c, e: c, x[0], x)[0])(X),
        lambda: gw.remote(lambda x: gw.scan(lambda c, e: (c, e), x, length=None))(X),
        lambda: gw.remote(lambda x: gw.while_loop(lambda v: v, lambda v: v, x, max_steps=5))(X),
        lambda: gw.remote(lambda x: gw.while_loop(lambda v: v[0] > 0, lambda v: v, x))(X),
        lambda: gw.remote(lambda x: gw.while_loop(lambda v: v[0] > 0, lambda v: v[:2], x, max_steps=5))(X),
        lambda: gw.remote(lambda x: gw.fori_loop(0, x, lambda i, v: v, 1.0))(3),
        lambda: gw.remote(lambda x: gw.cond(x > 0, lambda: 1.0, lambda: 2.0))(X),
        lambda: gw.remote(lambda x: gw.cond(x[0] > 0, lambda: x, lambda: x[:2]))(X),
        lambda: gw.while_loop(lambda v: v > 0, lambda v: v + 1, 1, max_steps=3),
        lambda: gw.checkpoint(3),
    ),
    "looking inside": refused(
        lambda: gw.explain(gw.vmap(np.sin), X),
        lambda: gw.explain(np.sin, 1.0, mode="both"),
        lambda: gw.explain(np.sin, 1.0, seeds=(X,)),
        lambda: gw.check_grads(lambda n: n, (3,)),
        lambda: gw.check_grads(np.sin, (1.0,), order=0),
        lambda: gw.check_grads(np.sin, (1.0,), modes=("sideways",)),
        lambda: gw.grad(lambda x: gw.cost(np.sin, x).flops)(1.0),
        lambda: gw.load(__file__),
    ),
    "clients": refused(
        lambda: gw.connect("localhost:1", timeout=0),
        lambda: gw.connect("localhost:1", snapshot_bytes=0),
        lambda: gw.connect("example.org:1", token="secret"),
        lambda: gw.connect("localhost:1", tls=(b"", b"")),
    ),
    "more than the service allows": refused(
        lambda: gw.vmap(lambda x: np.zeros(1000) + x)(np.zeros(200)),
        lambda: gw.remote(lambda x: np.sum(np.broadcast_to(x, (10**6, 1000))))(1.0),
        lambda: gw.remote(lambda x: np.sum(np.broadcast_to(x, (2**40, 2**40))))(1.0),
        lambda: gw.remote(lambda x: np.broadcast_to(x, (10**12,)))(1.0),
    ),
}

CASES: Final = [
    *programs({f"mistakes: {name}": one for name, one in MISTAKES.items()}),
    Case(
        "mistakes: a request that is too large",
        refused(lambda: gw.remote(np.sin)(np.zeros(10_000))),
        connect={"max_message_bytes": 70_000},
    ),
]
