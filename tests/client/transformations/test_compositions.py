"""Random compositions of transformations, by two routes that share no batching: as a request of their own, where the
outermost vmap is the request's batch, and inside a traced function, where it is a static axis of the graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.kit.client.evaluating import assert_same
from tests.kit.client.local import LocalClient

import gradwire as gw


def scalar(w: Any, x: Any) -> Any:
    return np.sum(np.sin(w) * x**2 + np.where(x > 0, w * x, 0.0))


def vector(w: Any, x: Any) -> Any:
    return np.tanh(w * x) + np.sum(x)


def several(w: Any, x: Any) -> Any:
    return {"a": np.sum(w * x), "b": (w * 2.0, np.argmax(x))}


def branching(w: Any, x: Any) -> Any:
    return gw.cond(np.sum(x) > 0, lambda: np.sum(np.sin(w) * x), lambda: np.sum(w) * 2.0) * w[0]


def looping(w: Any, x: Any) -> Any:
    """A scan over x of a while_loop whose number of steps the data decide."""

    def step(carry: Any, entry: Any) -> Any:
        halved = gw.while_loop(lambda v: np.sum(v**2) > 0.5, lambda v: v * 0.75 - 0.01 * w, carry + entry, max_steps=60)
        return np.tanh(halved * w), halved[0] * entry

    carry, entries = gw.scan(step, w * 2.0, x)
    return carry + np.sum(entries)


def draw_step(data: st.DataObject, shapes: list[tuple[int, ...]]) -> tuple[Any, list[tuple[int, ...]]]:
    """A transformation, and the shapes of the arguments afterwards."""
    kind = data.draw(st.sampled_from(["grad", "value_and_grad", "jacfwd", "jacrev", "hessian", "vmap", "vmap", "vmap"]))
    if kind != "vmap":
        argnums = data.draw(st.sampled_from([0, 1, (0, 1), (1,)]))
        return lambda f: getattr(gw, kind)(f, argnums), shapes
    in_axes = tuple(data.draw(st.sampled_from([None, *range(len(shape) + 1)])) for shape in shapes)
    if in_axes == (None, None):
        in_axes = (None, 0)
    rows = data.draw(st.sampled_from([1, 2, 3]))
    grown = [
        shape if axis is None else (*shape[:axis], rows, *shape[axis:])
        for shape, axis in zip(shapes, in_axes, strict=True)
    ]
    reduce = data.draw(st.sampled_from([None, None, "sum", "mean"]))
    out_axes = data.draw(st.sampled_from([0, -1])) if reduce is None else 0
    return lambda f: gw.vmap(f, in_axes, out_axes, reduce), grown


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_batch_is_a_static_axis(data: st.DataObject) -> None:
    base = data.draw(st.sampled_from([scalar, vector, several, branching, looping]))
    shapes: list[tuple[int, ...]] = [(2,), (2,)]
    function: Any = base
    for _ in range(data.draw(st.integers(1, 4))):
        step, shapes = draw_step(data, shapes)
        function = step(function)
    rng = np.random.default_rng(data.draw(st.integers(0, 5)))
    arguments = [rng.normal(size=shape) for shape in shapes]
    try:
        direct = function(*arguments)
    except gw.TracingError:
        with pytest.raises(gw.TracingError):
            gw.remote(lambda *xs: function(*xs))(*arguments)
        return
    assert_same(gw.remote(lambda *xs: function(*xs))(*arguments), direct, rtol=1e-10)
    if any(step.label == "vmap" for step in function.steps):
        assert_same(gw.trace(function, *arguments)(*arguments), direct, rtol=1e-10)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_products_of_a_batch_are_those_of_a_static_axis(data: st.DataObject) -> None:
    step, shapes = draw_step(data, [(2,), (2,)])
    function = step(data.draw(st.sampled_from([scalar, vector, branching, looping])))
    rng = np.random.default_rng(data.draw(st.integers(0, 5)))
    primals = tuple(rng.normal(size=shape) for shape in shapes)
    tangents = tuple(rng.normal(size=shape) for shape in shapes)
    try:
        value, tangent = gw.jvp(function, primals, tangents)
    except gw.TracingError:
        return
    pulled = gw.vjp(function, primals, value)  # any weights of the right types will do
    inside = gw.remote(lambda ps, ts, cs: (gw.jvp(function, ps, ts), gw.vjp(function, ps, cs)))(
        primals, tangents, value
    )
    assert_same(inside, ((value, tangent), pulled), rtol=1e-10)


def test_the_routes_are_different(service: LocalClient) -> None:
    function = gw.vmap(gw.grad(scalar), in_axes=(None, 0))
    arguments = np.ones(2), np.ones((3, 2))
    function(*arguments)
    assert service.last.rows == 3
    gw.remote(lambda *xs: function(*xs))(*arguments)
    assert service.last.rows is None
