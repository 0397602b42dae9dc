"""Branches and loops against JAX's own, whose signatures they have: one program, written once, run by both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tests.kit.client.local import LocalClient
from tests.kit.client.random_programs import scalar_program

import gradwire as gw
from gradwire.connection.current import PROCESS

jax = pytest.importorskip("jax")
jax.config.update("jax_enable_x64", True)

pytestmark = pytest.mark.long

_RNG = np.random.default_rng(0)
W = _RNG.normal(size=(3, 3)) / 2
XS = _RNG.normal(size=(6, 3))
POINTS = np.array([[0.3, -0.2, 0.7], [-0.5, -0.4, 0.1], [0.6, -0.4, 1.4]])


class Jax:
    """JAX's names, as Gradwire has them."""

    np = jax.numpy
    cond, scan, fori_loop = staticmethod(jax.lax.cond), staticmethod(jax.lax.scan), staticmethod(jax.lax.fori_loop)
    checkpoint, grad, vmap, jvp = (staticmethod(one) for one in (jax.checkpoint, jax.grad, jax.vmap, jax.jvp))
    stop_gradient = staticmethod(jax.lax.stop_gradient)

    @staticmethod
    def while_loop(cond_fun: Any, body_fun: Any, init_val: Any, *, max_steps: int) -> Any:
        return jax.lax.while_loop(cond_fun, body_fun, init_val)


class Ours:
    """Gradwire's, with numpy."""

    np = np
    cond, scan, fori_loop, while_loop = (staticmethod(one) for one in (gw.cond, gw.scan, gw.fori_loop, gw.while_loop))
    checkpoint, grad, vmap, jvp = (staticmethod(one) for one in (gw.checkpoint, gw.grad, gw.vmap, gw.jvp))
    stop_gradient = staticmethod(gw.stop_gradient)


def recurrent(m: Any, x: Any) -> Any:
    def step(h: Any, u: Any) -> Any:
        h = m.np.tanh(W @ h + u * x)
        return h, m.np.sum(h**2)

    h, ys = m.scan(step, x, XS, reverse=True)
    return m.np.sum(h) + ys[0] * ys[3]


def scan_in_scan(m: Any, x: Any) -> Any:
    def outer(c: Any, u: Any) -> Any:
        def inner(d: Any, v: Any) -> Any:
            return d * v + m.cond(d > 0, lambda: m.np.sin(d * x[0]), lambda: d * d), d

        d, ds = m.scan(inner, c, u)
        return m.np.tanh(d), m.np.sum(ds)

    c, ys = m.scan(outer, m.np.sum(x), XS)
    return c * m.np.sum(ys)


def counted(m: Any, x: Any) -> Any:
    return m.np.sum(m.fori_loop(0, 7, lambda i, v: v * x + i * m.np.cos(v), x))


def branches(m: Any, x: Any) -> Any:
    return m.cond(m.np.sum(x) > 0, lambda a: m.np.sum(m.np.exp(a)), lambda a: m.np.sum(a**3), x * x - 0.25)


def checkpointed(m: Any, x: Any) -> Any:
    layer = m.checkpoint(lambda h, u: m.np.tanh(W @ h + u))
    return m.np.sum(m.scan(lambda h, u: (layer(h, u), None), x, XS)[0] ** 2)


def gradient_in_scan(m: Any, x: Any) -> Any:
    def step(c: Any, u: Any) -> Any:
        slope = m.grad(lambda z: m.np.sum(m.np.sin(z * u) * c))(x)
        return c + slope, m.np.sum(slope)

    c, slopes = m.scan(step, x, XS)
    return m.np.sum(c * c) + m.np.sum(slopes)


def gradient_of_scan_in_scan(m: Any, x: Any) -> Any:
    def energy(q: Any) -> Any:
        return m.scan(lambda e, u: (e + m.np.sum((q - u) ** 4), None), 0.0, XS)[0]

    q, energies = m.scan(lambda q, _: (q - 1e-3 * m.grad(energy)(q), energy(q)), x, None, length=4)
    return m.np.sum(q) + m.np.sum(energies)


def rows_in_a_loop(m: Any, x: Any) -> Any:
    def row(a: Any, b: Any) -> Any:
        return m.cond(a > 0, lambda: m.fori_loop(0, 3, lambda i, v: v * a + b, a), lambda: a * b)

    return m.np.sum(m.vmap(row)(x, x[::-1] * 2.0) ** 2)


def tangent_of_a_scan(m: Any, x: Any) -> Any:
    def inner(y: Any) -> Any:
        return m.scan(lambda c, u: (m.np.sin(c * y) + u, c), y, XS)[0]

    return m.np.sum(m.jvp(inner, (x,), (x * x,))[1])


def structured(m: Any, x: Any) -> Any:
    def step(c: Any, u: Any) -> Any:
        n, s = c["state"]
        moved = {"state": (n + 1, s + m.np.where(n % 2 == 0, u, -u) * x), "fixed": c["fixed"]}
        return moved, {"o": (s * c["fixed"], n)}

    c, ys = m.scan(step, {"state": (0, x), "fixed": 2.0 * x}, XS)
    return m.np.sum(c["state"][1] ** 2) * c["state"][0] + m.np.sum(ys["o"][0]) + m.np.sum(ys["o"][1])


def stopped(m: Any, x: Any) -> Any:
    return m.np.sum(m.scan(lambda c, u: (m.stop_gradient(c) * x + u, None), x, XS)[0])


def growing(m: Any, x: Any) -> Any:
    last = m.while_loop(lambda s: s[1] < 5, lambda s: (m.np.sin(s[0]) * x + s[0], s[1] + 1), (x, 0), max_steps=10)
    return m.np.sum(last[0] ** 2)


PROGRAMS: list[Callable[[Any, Any], Any]] = [
    recurrent, scan_in_scan, counted, branches, checkpointed, gradient_in_scan, gradient_of_scan_in_scan,
    rows_in_a_loop, tangent_of_a_scan, structured, stopped, growing,
]  # fmt: skip


def same(found: Any, expected: Any) -> None:
    wanted = np.asarray(expected)
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-10 * max(1.0, float(np.max(np.abs(wanted)))))


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_values_and_derivatives_are_those_of_jax(program: Callable[[Any, Any], Any]) -> None:
    def ours(x: Any) -> Any:
        return program(Ours, x)

    def theirs(x: Any) -> Any:
        return program(Jax, x)

    gradient = jax.jacfwd(theirs) if program is growing else jax.grad(theirs)  # JAX has no reverse mode of while
    values, gradients, hessians = (np.stack([f(x) for x in POINTS]) for f in (theirs, gradient, jax.jacfwd(gradient)))
    same([ours(x) for x in POINTS], values)
    same(gw.vmap(ours)(POINTS), values)
    for x, slope, curvature in zip(POINTS, gradients, hessians, strict=True):
        for transform in (gw.grad, gw.jacfwd):
            same(transform(ours)(x), slope)
        for transform in (gw.hessian, lambda f: gw.jacrev(gw.grad(f)), lambda f: gw.jacrev(gw.jacfwd(f))):
            same(transform(ours)(x), curvature)
    same(gw.vmap(gw.grad(ours))(POINTS), gradients)
    same(gw.remote(lambda points: gw.vmap(gw.hessian(ours))(points))(POINTS), hessians)
    same(gw.grad(lambda points: np.sum(gw.vmap(ours)(points) ** 2))(POINTS), 2 * values[:, np.newaxis] * gradients)


@pytest.mark.parametrize("snapshot_bytes", [0, 200])
@pytest.mark.parametrize("seed", range(40))
def test_random_programs_have_the_values_and_derivatives_of_jax(seed: int, snapshot_bytes: int) -> None:
    program = scalar_program(seed)

    def ours(x: Any) -> Any:
        return program(Ours, x)

    def theirs(x: Any) -> Any:
        return program(Jax, x)

    points = np.random.default_rng(seed).normal(size=(3, 3))
    with jax.disable_jit():  # nothing is compiled, and loops are Python's
        values = np.stack([theirs(x) for x in points])
        gradients = np.stack([jax.jacfwd(theirs)(x) for x in points])
        hessians = np.stack([jax.jacfwd(jax.jacfwd(theirs))(x) for x in points])
    client = LocalClient(snapshot_bytes=snapshot_bytes)
    PROCESS.push(client)
    try:
        same([ours(x) for x in points], values)
        same(gw.vmap(ours)(points), values)
        same([gw.grad(ours)(x) for x in points], gradients)
        for transform in (gw.grad, gw.jacfwd):
            same(gw.vmap(transform(ours))(points), gradients)
        same([gw.jacrev(gw.grad(ours))(x) for x in points], hessians)
        same(gw.vmap(gw.hessian(ours))(points), hessians)
        same(gw.remote(lambda rows: gw.vmap(gw.jacrev(gw.jacfwd(ours)))(rows))(points), hessians)
        same(gw.grad(lambda rows: np.sum(gw.vmap(ours)(rows)))(points), gradients)
    finally:
        PROCESS.remove(client)
