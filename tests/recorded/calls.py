"""What users write: transformations and their compositions, arguments of every kind, closures, and looking inside."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from tests.recorded.cases import Case, numbers, programs, regular

import gradwire as gw

X: Final = numbers(3, seed=1)
ROWS: Final = numbers(5, 3, seed=2)
WEIGHTS: Final = numbers(3, seed=3)


class Point(NamedTuple):
    """A nested argument."""

    x: Any
    y: Any


def waves(x: Any, y: Any) -> Any:
    return np.sin(x) * y + x * y


def total(x: Any) -> Any:
    return np.sum(np.sin(x) * x)


def spread(x: Any) -> Any:
    """Three numbers to four."""
    return np.stack([x[0] * x[1], np.sin(x[2]), np.exp(x[0] / 4), np.sum(x * x)])


def layer(p: Any, x: Any) -> Any:
    return {"h": np.tanh(p["w"] @ x + p["b"]), "n": np.sum(x * x)}


def loss(p: Any, x: Any) -> Any:
    return np.sum(layer(p, x)["h"] ** 2)


def with_aux(x: Any, n: Any) -> Any:
    return np.sum(x**2) * n, {"twice": 2 * x, "n": n}


LAYER: Final = {"w": numbers(2, 3, seed=4), "b": numbers(2, seed=5)}

TRANSFORMATIONS: Final[dict[str, Callable[[], Any]]] = {
    "remote": lambda: [gw.remote(waves)(0.5, 2.0), gw.remote(waves)(X, 2.0), gw.remote(waves)(x=X, y=X)],
    "remote with defaults and keywords": lambda: gw.remote(lambda x, *, k=3.0, b=True: x * k if b else x)(X, k=2.5),
    "grad": lambda: [gw.grad(waves)(0.5, 2.0), gw.grad(waves, argnums=1)(0.5, 2.0), gw.grad(total)(X)],
    "grad of several arguments": lambda: gw.grad(waves, argnums=(1, 0))(0.5, 2.0),
    "grad of a nested argument": lambda: gw.grad(loss)(LAYER, X),
    "grad with something else": lambda: gw.grad(with_aux, has_aux=True)(X, 3),
    "grad of what it does not depend on": lambda: gw.grad(lambda x, y: np.sum(x) * 1.0, argnums=1)(X, ROWS),
    "value_and_grad": lambda: [gw.value_and_grad(waves, argnums=(0, 1))(0.5, 2.0), gw.value_and_grad(loss)(LAYER, X)],
    "value_and_grad with something else": lambda: gw.value_and_grad(with_aux, has_aux=True)(X, 3),
    "jvp": lambda: [gw.jvp(waves, (0.5, 2.0), (1.0, -1.0)), gw.jvp(total, (X,), (WEIGHTS,))],
    "jvp of nested arguments": lambda: gw.jvp(layer, (LAYER, X), ({"w": None, "b": np.ones(2)}, WEIGHTS)),
    "jvp with integers": lambda: gw.jvp(lambda x, n: (x * n, n + 1), (X, 3), (WEIGHTS, None)),
    "vjp": lambda: [gw.vjp(waves, (0.5, 2.0), 3.0), gw.vjp(spread, (X,), np.arange(4.0))],
    "vjp of a nested result": lambda: gw.vjp(layer, (LAYER, X), {"h": np.ones(2), "n": None}),
    "vjp with integers": lambda: gw.vjp(lambda x, n: (x * n, n + 1), (X, 3), (WEIGHTS, None)),
    "jacfwd": lambda: [gw.jacfwd(spread)(X), gw.jacfwd(waves, argnums=(0, 1))(X, WEIGHTS)],
    "jacrev": lambda: [gw.jacrev(spread)(X), gw.jacrev(layer)(LAYER, X)],
    "jacobian": lambda: [gw.jacobian(spread)(X), gw.jacobian(total)(X), gw.jacobian(lambda x: x * WEIGHTS)(2.0)],
    "hessian": lambda: [gw.hessian(total)(X), gw.hessian(waves, argnums=(0, 1))(0.5, 2.0), gw.hessian(loss)(LAYER, X)],
    "hvp": lambda: [gw.hvp(total, (X,), (WEIGHTS,)), gw.hvp(waves, (0.5, 2.0), (1.0, None))],
    "vmap": lambda: [gw.vmap(total)(ROWS), gw.vmap(gw.grad(total))(ROWS), gw.vmap(spread)(ROWS)],
    "vmap of one argument": lambda: gw.vmap(waves, in_axes=(0, None))(ROWS, WEIGHTS),
    "vmap of other axes": lambda: [
        gw.vmap(spread, in_axes=1)(ROWS.T),
        gw.vmap(spread, in_axes=-1, out_axes=1)(ROWS.T),
        gw.vmap(gw.value_and_grad(total), in_axes=1, out_axes=(0, -1))(ROWS.T),
    ],
    "vmap of nested axes": lambda: gw.vmap(layer, in_axes=({"w": None, "b": 0}, None), out_axes={"h": 1, "n": 0})(
        {"w": LAYER["w"], "b": numbers(4, 2)}, X
    ),
    "vmap with keywords": lambda: gw.vmap(lambda x, y=2.0: x * y)(ROWS, y=numbers(5)),
    "vmap summed": lambda: [gw.vmap(total, reduce="sum")(ROWS), gw.vmap(gw.grad(total), reduce="mean")(ROWS)],
    "vmap summed in part": lambda: gw.vmap(gw.value_and_grad(total), reduce=("sum", None))(ROWS),
    "vmap in vmap": lambda: gw.vmap(gw.vmap(waves, in_axes=(None, 0)), in_axes=(0, None))(X, WEIGHTS),
    "vmap of no rows": lambda: [gw.vmap(gw.grad(total))(ROWS[:0]), gw.vmap(gw.grad(total), reduce="sum")(ROWS[:0])],
    "stop_gradient": lambda: gw.grad(lambda x: np.sum(gw.stop_gradient({"a": x})["a"] * x))(X),
}

COMPOSITIONS: Final[dict[str, Callable[[], Any]]] = {
    "grad of grad of grad": lambda: gw.grad(gw.grad(gw.grad(lambda x: np.sin(x) * x**3)))(0.5),
    "grad of a sum of vmap": lambda: gw.grad(lambda w: np.sum(gw.vmap(lambda r: np.tanh(r @ w))(ROWS)))(WEIGHTS),
    "vmap of grad of vmap": lambda: gw.vmap(gw.grad(lambda x: np.sum(gw.vmap(lambda a: np.sin(a) * a)(x))))(ROWS),
    "jacfwd of jacrev": lambda: gw.jacfwd(gw.jacrev(spread))(X),
    "jacrev of jacfwd": lambda: gw.jacrev(gw.jacfwd(spread))(X),
    "hessian of vmap summed": lambda: gw.hessian(lambda w: gw.vmap(lambda r: np.cos(r @ w), reduce="sum")(ROWS))(
        WEIGHTS
    ),
    "vmap of hessian": lambda: gw.vmap(gw.hessian(total))(ROWS),
    "vmap summed of hessian": lambda: gw.vmap(gw.hessian(total), reduce="mean")(ROWS),
    "grad of jvp": lambda: gw.grad(lambda x: gw.jvp(total, (x,), (WEIGHTS,))[1])(X),
    "jvp of grad inside": lambda: gw.remote(lambda x: gw.jvp(gw.grad(total), (x,), (WEIGHTS,)))(X),
    "vjp inside": lambda: gw.grad(lambda x: np.sum(gw.vjp(spread, (x,), spread(x))[1][0]))(X),
    "grad inside": lambda: gw.grad(lambda x, y: gw.grad(lambda z: z**2 * x)(y) * x)(0.5, 2.0),
    "grad of a function of its own variable": lambda: gw.grad(lambda x: x * gw.grad(lambda y: x * y)(2.0))(3.0),
    "remote inside": lambda: gw.grad(lambda x: gw.remote(waves)(x, 2.0) ** 2)(0.5),
    "gradient descent inside": lambda: gw.grad(
        lambda rate: total(X - rate * gw.grad(total)(X - rate * gw.grad(total)(X)))
    )(0.125),
    "hvp inside vmap": lambda: gw.vmap(lambda x: gw.hvp(total, (x,), (WEIGHTS,))[1])(ROWS),
    "vmap inside, rows in another place": lambda: gw.grad(
        lambda w: np.sum(gw.vmap(lambda r: r * w, in_axes=1, out_axes=1)(ROWS.T) ** 2)
    )(WEIGHTS[0]),
}


def _kinds(x: Any) -> Any:
    return {"sum": x + x, "three": x * 3, "half": x * 0.5, "not": x == 0, "turned": x.T}


ARGUMENTS: Final[dict[str, Callable[[], Any]]] = {
    **{
        f"elements of type {np.dtype(dtype)}": lambda dtype=dtype: gw.remote(_kinds)(
            np.array([[0, 1, 2], [3, 0, 1]], dtype=dtype)
        )
        for dtype in (np.float32, np.float64, np.int32, np.int64)
    },
    "elements of type bool": lambda: gw.remote(lambda x: (x.T, ~x, x & x[0], np.sum(x), x * 1.5))(X[:, None] > X),
    "Python's numbers": lambda: [gw.remote(lambda x, y: (x, y, x + y))(*one) for one in ((1, 2.5), (True, 1), (2, 3))],
    "numpy's scalars": lambda: gw.remote(lambda *x: x)(np.float32(1.5), np.int32(2), np.bool_(True), np.int64(2**62)),
    "types meet": lambda: gw.remote(lambda a, b, c: (a + b, a * c, b + c, a + 1.5, c + 1, c / 2))(
        X.astype(np.float32), X, np.arange(3, dtype=np.int32)
    ),
    "gradients in float32": lambda: gw.value_and_grad(total)(X.astype(np.float32)),
    "hessians in float32": lambda: gw.vmap(gw.hessian(total))(ROWS.astype(np.float32)),
    "shapes": lambda: [
        gw.value_and_grad(total)(numbers(*shape)) for shape in ((0,), (0, 3), (2, 0), (), (1,), (1, 1), (4, 3))
    ],
    "strides and byte orders": lambda: [
        gw.grad(lambda x: np.sum(x * np.arange(x.size).reshape(x.shape)))(x)
        for x in (ROWS.T, ROWS[::2, ::-1], ROWS.astype(">f8"), np.asfortranarray(ROWS), ROWS[:, 1])
    ],
    "numbers that are none": lambda: [
        gw.remote(lambda x: x * 1.0)(np.array([np.nan, np.inf, -np.inf, -0.0, 1e-320])),
        gw.value_and_grad(lambda x: np.sum(np.log(x)))(np.array([0.0, -1.0, np.inf])),
        gw.grad(np.sqrt)(0.0),
    ],
    "nested arguments and results": lambda: gw.remote(
        lambda a, b, c: {"p": Point(a[0] + b["k"][0], None), "l": [c.x, (c.y, a[1]["z"])], "e": ()}
    )((X, {"z": 2}), {"k": [WEIGHTS, None]}, Point(1.5, ROWS)),
    "dicts in another order": lambda: [
        gw.grad(loss)({"b": LAYER["b"], "w": LAYER["w"]}, X),
        gw.remote(lambda d: d["a"] - d["b"])({"b": 1.0, "a": X}),
    ],
    "results that are arguments or constants": lambda: gw.remote(lambda x, y: (x, x, 2.5, np.arange(3), None, [y]))(
        X, 1
    ),
    "the same function for other signatures": lambda: [
        gw.grad(total)(x) for x in (X, X.astype(np.float32), ROWS, X + 1, 0.5)
    ],
}


TABLE: Final = numbers(9, 9)
NARROW: Final = TABLE.astype(np.float32)
MASK: Final = TABLE > 0
COUNTS: Final = numbers(70, dtype=np.int32)


def _closing_over(*arrays: Any) -> Callable[[Any], Any]:
    return lambda x: sum(np.sum(np.sin(x) * one) for one in arrays)


def _changed_content() -> Any:
    table = numbers(70, seed=1)

    def f(x: Any) -> Any:
        return np.sum(table * x)

    found = [gw.grad(f)(0.5)]
    table[3] = 100.0
    found.append(gw.grad(f)(0.5))
    table[4] = -7.0
    return [*found, gw.grad(f)(0.5), gw.vmap(f)(X)]


def _changed_numbers() -> Any:
    state = {"k": 2.0, "small": numbers(3)}

    def f(x: Any) -> Any:
        return np.sum(state["k"] * x * state["small"])

    found = [gw.grad(f)(0.5)]
    state["k"] = 3.0
    found.append(gw.grad(f)(0.5))
    state["small"] = numbers(3, seed=4)
    return [*found, gw.grad(f)(0.5)]


def _looked_at() -> Any:
    table = numbers(80, seed=2)

    def f(x: Any) -> Any:
        return x * table[0] if table[0] > 0 else x - np.sum(table)

    found = [gw.grad(f)(0.5)]
    table[0] = 2.0
    found.append(gw.grad(f)(0.5))
    table[0] = -2.0
    return [*found, gw.grad(f)(0.5)]


def _long(x: Any) -> Any:
    """A program of more than 4 KiB."""
    for i in range(9):
        x = np.sin(x) + np.sum(np.full(64, i / 64) * x)
    return x


def _sent_again() -> Any:
    """So many constants and programs that the service forgets the first ones, and asks for them."""
    first = _closing_over(numbers(70, seed=100))
    found = [gw.grad(_long)(0.5), gw.grad(first)(0.5), gw.grad(_long)(0.25), gw.grad(first)(0.25)]
    for seed in range(101, 111):
        found.append(gw.grad(_closing_over(numbers(70, seed=seed)))(0.5))
        found.append(gw.remote(lambda x, seed=seed: x * seed)(0.5))
    return [*found, gw.grad(_long)(0.75), gw.grad(first)(0.75)]


CLOSURES: Final[dict[str, Callable[[], Any]]] = {
    "a small array": lambda: gw.grad(_closing_over(numbers(64)))(0.5),
    "a large array": lambda: [gw.grad(_closing_over(numbers(65)))(0.5), gw.hessian(_closing_over(numbers(65)))(0.5)],
    "a large array, called again": lambda: [f(x) for f in [gw.grad(_closing_over(numbers(66)))] for x in (0.5, 1.5)],
    "large arrays of other types": lambda: gw.remote(lambda x: (NARROW @ x, np.sum(MASK * 1.0), np.sum(COUNTS)))(
        numbers(9, dtype=np.float32)
    ),
    "one array twice": lambda: gw.grad(_closing_over(*[numbers(67)] * 2, numbers(67, seed=1)))(0.5),
    "a large array for all rows": lambda: [
        gw.vmap(lambda x: TABLE @ x)(numbers(4, 9)),
        gw.vmap(gw.grad(lambda x: np.sum((TABLE @ x) ** 2)), reduce="mean")(numbers(4, 9)),
    ],
    "a large array in a loop": lambda: gw.grad(
        lambda x: np.sum(gw.scan(lambda c, _: (np.tanh(TABLE @ c / 4), None), x, length=3)[0])
    )(numbers(9)),
    "content that changes": _changed_content,
    "numbers that change": _changed_numbers,
    "content that is looked at": _looked_at,
    "a program of many bytes": lambda: [gw.grad(_long)(0.5), gw.grad(_long)(0.25), gw.vmap(_long)(X)],
    "sent again": _sent_again,
}


def _map_with_a_large_array() -> Any:
    """Called before, so that the service is known to have the array: else it depends on time which chunks bring it."""
    f = gw.remote(lambda x: np.sum(TABLE * x))
    return [f(0.5), f.map(numbers(9), chunk=4)]


MAPPED: Final[dict[str, Callable[[], Any]]] = {
    "map": lambda: gw.grad(total).map(numbers(11, 3), chunk=4),
    "map of vmap": lambda: [
        gw.vmap(waves, in_axes=(0, None)).map(numbers(11), 2.0, chunk=3),
        gw.vmap(gw.grad(total), in_axes=1, out_axes=1).map(numbers(11, 3).T, chunk=5),
    ],
    "map summed": lambda: [
        gw.vmap(total, reduce=how).map(numbers(12, 3), chunk=size) for how in ("sum", "mean") for size in (4, 5)
    ],
    "map of few rows": lambda: [gw.remote(total).map(ROWS), gw.remote(total).map(ROWS[:0])],
    "submit": lambda: [one.result() for one in [gw.grad(waves).submit(x, 2.0) for x in X.tolist()]],
    "map with a large array": _map_with_a_large_array,
}


def _saved(function: Any, *args: Any) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "graph"
        gw.trace(function, *args).save(path)
        loaded = gw.load(path)
        return np.frombuffer(path.read_bytes(), np.uint8), loaded, loaded.inputs, loaded.outputs, loaded(*args)


def _reported() -> Any:
    with gw.reports() as reports:
        gw.vmap(total)(ROWS)
        gw.grad(_long)(0.125)
        gw.grad(_long)(0.125)
    return reports


def _costs() -> Any:
    def halved(x: Any) -> Any:
        return gw.while_loop(lambda v: v > 1.0, lambda v: v / 2, x, max_steps=1000)

    return [gw.cost(gw.hessian(total), X), gw.cost(gw.vmap(gw.grad(total), reduce="sum"), ROWS), gw.cost(halved, 9.0)]


def _told(client: gw.Client) -> Any:
    info = client.info()
    return [
        info._replace(limits=info.limits["max-rank"], ops=info.ops[:3]),
        client.timeout,
        client.snapshot_bytes,
        client.max_message_bytes,
    ]


INSIDE: Final[dict[str, Callable[[], Any]]] = {
    "trace": lambda: [gw.trace(waves, 0.5, X), gw.trace(gw.grad(total), X), gw.trace(gw.vmap(spread), ROWS)],
    "trace of a loop": lambda: gw.trace(gw.grad(lambda x: gw.fori_loop(0, 3, lambda i, v: np.sin(v) * i, x)), 0.5),
    "trace of everything": lambda: gw.trace(
        lambda x, m: gw.cond(x > 0, lambda: np.linalg.solve(m, np.ones(2))[0], lambda: gw.checkpoint(np.sin)(x)),
        0.5,
        regular(2, 2),
    ),
    "the graph of a Remote": lambda: gw.jacfwd(waves, argnums=1).graph(0.5, X),
    "save and load": lambda: [_saved(gw.value_and_grad(waves), 0.5, 2.0), _saved(_closing_over(numbers(80)), 0.5)],
    "a graph inside": lambda: [gw.grad(lambda x, g=g: g(x, 2.0) ** 2)(0.5) for g in [gw.trace(waves, 0.5, 0.5)]],
    "cost": _costs,
    "reports": _reported,
    "explain": lambda: [gw.explain(waves, 0.5, 2.0), gw.explain(waves, 0.5, 2.0, mode="reverse")],
    "explain with seeds": lambda: [
        gw.explain(total, X, seeds=(WEIGHTS,)),
        gw.grad(total).explain(X, seeds=2.0),
        gw.explain(_closing_over(np.ones(65)), 0.5, mode="reverse"),
    ],
    "explain what is not finite": lambda: [
        gw.explain(lambda x: np.sqrt(np.log(x)) * 0.0, 0.0, mode=mode) for mode in ("forward", "reverse")
    ],
    "explain integers and bools": lambda: gw.explain(lambda x, n: np.where(x > 0, x * n, n), X, 3),
    "check_grads": lambda: gw.check_grads(waves, (0.5, 2.0)),
    "check_grads of a derivative that is wrong": lambda: gw.check_grads(
        lambda x, y: np.sum(x * gw.stop_gradient(x) + y), (X, 1.0), order=1
    ),
    "a Remote": lambda: [repr(gw.grad(gw.vmap(waves))), gw.grad(total).__name__, gw.jacrev(gw.grad(total)).__doc__],
}

CASES: Final = [
    *programs(TRANSFORMATIONS),
    *programs(COMPOSITIONS),
    *programs(ARGUMENTS),
    *programs(CLOSURES),
    *programs(MAPPED, any_order=True),
    *programs(INSIDE),
    Case("snapshot_bytes", lambda: gw.grad(total)(X), connect={"snapshot_bytes": 4096}),
    Case("the service", _told, takes_client=True),
    Case("a token", lambda: gw.remote(total)(X), connect={"token": "secret"}),
]
