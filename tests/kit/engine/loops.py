"""Graphs with control flow, each beside the same function in Python: for tests of cond, scan, while, checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from tests.kit.engine.building import F64, f64, graph_of

from gradwire_engine.attributes import Cast, Cond, Scan, Shape, While
from gradwire_engine.graph import Graph
from gradwire_engine.types import DType, TensorType
from gradwire_engine.value import Value
from gradwire_engine.vocabulary import absolute, log, sin, sqrt, square, sum_over, where

Array = np.ndarray
Body = Callable[..., Value | Sequence[Value]]


def cond(predicate: Value, otherwise: Body, then: Body, *operands: Value) -> tuple[Value, ...]:
    """The branches as Python functions."""
    types = [x.type for x in operands]
    branches = [graph_of(otherwise, *types), graph_of(then, *types)]
    found: tuple[Value, ...] = predicate.builder.emit_all("cond", [predicate, *operands], Cond(), branches)
    return found


def scan(
    body: Body,
    constants: Sequence[Value],
    carries: Sequence[Value],
    stacked: Sequence[Value],
    length: int,
    *,
    reverse: bool = False,
    sums: int = 0,
    count: Value | None = None,
) -> tuple[Value, ...]:
    """The body as a Python function of constants, carries, slices."""
    slices = [x.type.with_shape(x.shape[1:]) for x in stacked]
    graph = graph_of(body, *(x.type for x in (*constants, *carries)), *slices, names=[f"v{i}" for i in range(99)])
    operands = [*([] if count is None else [count]), *constants, *carries, *stacked]
    attributes = Scan(
        constants=len(constants),
        carries=len(carries),
        length=length,
        reverse=reverse,
        sums=sums,
        counted=count is not None,
    )
    found: tuple[Value, ...] = operands[0].builder.emit_all("scan", operands, attributes, [graph])
    return found


def while_loop(
    condition: Body, body: Body, constants: Sequence[Value], carries: Sequence[Value], max_steps: int
) -> tuple[Value, ...]:
    """Condition and body as Python functions of the constants, which are the same, and the carries."""
    types = [x.type for x in (*constants, *carries)]
    graphs = [graph_of(condition, *types), graph_of(body, *types)]
    attributes = While(condition_constants=len(constants), body_constants=len(constants), max_steps=max_steps)
    operands = [*constants, *constants, *carries]
    found: tuple[Value, ...] = operands[0].builder.emit_all("while", operands, attributes, graphs)
    return found


def checkpoint(body: Body, *operands: Value) -> tuple[Value, ...]:
    """The body as a Python function."""
    graph = graph_of(body, *(x.type for x in operands))
    found: tuple[Value, ...] = operands[0].builder.emit_all("checkpoint", operands, subgraphs=[graph])
    return found


@dataclass(frozen=True)
class Example:
    """A scalar function of floating-point arrays, as a graph and in Python, and points to look at it."""

    name: str
    build: Callable[..., Value]
    types: tuple[TensorType, ...]
    function: Callable[..., float]
    points: tuple[tuple[object, ...], ...]

    @cached_property
    def graph(self) -> Graph:
        """In float64."""
        return graph_of(self.build, *self.types)

    @cached_property
    def narrow(self) -> Graph:
        """In float32."""
        return graph_of(self.build, *(type.with_dtype(DType.FLOAT32) for type in self.types))

    def __str__(self) -> str:
        return self.name


def _recurrence(w: Value, c: Value, xs: Value) -> Value:
    last, outputs = scan(lambda w, c, x: [sin(c * w + x), sin(c * w + x) * c], [w], [c], [xs], xs.shape[0])
    return last * last + sum_over(outputs, [0])


def _recurrence_in_python(w: float, c: float, xs: Array) -> float:
    total = 0.0
    for x in xs:
        c, total = np.sin(c * w + x), total + np.sin(c * w + x) * c
    return float(c * c + total)


def _backwards(w: Value, xs: Value) -> Value:
    def body(w: Value, c: Value, total: Value, x: Value) -> list[Value]:
        return [c * w + x, total + c * x, square(c) * w]

    c, total, squares = scan(body, [w], [w, w * 0.0], [xs], xs.shape[0], reverse=True, sums=1)
    return c + total * squares


def _backwards_in_python(w: float, xs: Array) -> float:
    c, total, squares = w, 0.0, 0.0
    for x in xs[::-1]:
        c, total, squares = c * w + x, total + c * x, squares + c * c * w
    return float(c + total * squares)


def _counted(w: Value, xs: Value) -> Value:
    steps = (w * 2.0).emit("astype", attributes=_INT64)
    last, outputs = scan(lambda w, c, x: [sin(c * w + x), c * x], [w], [w], [xs], xs.shape[0], count=steps)
    return last + sum_over(outputs, [0])


def _counted_in_python(w: float, xs: Array) -> float:
    c, total = w, 0.0
    for x in xs[: int(w * 2.0)]:
        c, total = np.sin(c * w + x), total + c * x
    return float(c + total)


def _newton(a: Value, x: Value) -> Value:
    (root,) = while_loop(
        lambda a, x: absolute(x * x - a) > 1e-3, lambda a, x: (x + a / x) * 0.5, [a], [x], max_steps=40
    )
    return root * a


def _newton_in_python(a: float, x: float) -> float:
    while abs(x * x - a) > 1e-3:
        x = (x + a / x) * 0.5
    return float(x * a)


def _branches(x: Value, y: Value) -> Value:
    (found,) = cond(x > 1.0, lambda x, y: sin(x) * y, lambda x, y: log(x) * x, x, y)
    return found * y


def _branches_in_python(x: float, y: float) -> float:
    return float((np.log(x) * x if x > 1.0 else np.sin(x) * y) * y)


def _nested(x: Value, xs: Value) -> Value:
    """A while in a branch in a scan: each entry above the carry is halved until it is below, others are squared."""

    def halved(c: Value, e: Value) -> Value:
        return while_loop(lambda c, e: e > c, lambda c, e: e * 0.5 * c, [c], [e], max_steps=60)[0]

    def body(c: Value, e: Value) -> list[Value]:
        (new,) = cond(e > c, lambda c, e: square(e) * c, halved, c, e)
        return [sin(c) + 0.7, new * c]

    last, outputs = scan(body, [], [x], [xs], xs.shape[0])
    return last * sum_over(outputs, [0])


def _nested_in_python(x: float, xs: Array) -> float:
    c, total = x, 0.0
    for entry in xs:
        e = entry
        if e > c:
            while e > c:
                e = e * 0.5 * c
        else:
            e = e * e * c
        c, total = np.sin(c) + 0.7, total + e * c
    return float(c * total)


def _checkpointed(x: Value, xs: Value) -> Value:
    def part(x: Value, xs: Value) -> list[Value]:
        (c,) = scan(lambda c, e: sin(c) * e, [], [x], [xs], xs.shape[0])
        return [c, square(c)]

    once, squared = checkpoint(part, x, xs)
    again, _ = checkpoint(part, once, xs)
    return again * x + squared


def _checkpointed_in_python(x: float, xs: Array) -> float:
    def part(c: float) -> float:
        for e in xs:
            c = np.sin(c) * e
        return c

    once = part(x)
    return float(part(once) * x + once * once)


def _matrices(w: Value, xs: Value) -> Value:
    """A carry that is an array, a loop of loops, and a carry that does not vary."""

    def inner(w: Value, k: Value, h: Value, x: Value) -> list[Value]:
        return [k, sin(h * w) + x * k]

    def body(w: Value, h: Value, x: Value) -> list[Value]:
        k, last = scan(inner, [w], [x.like(0.5) if not x.shape else w * 0.0 + 0.5, h], [x], 3)
        return [last, last * k]

    xs = xs.emit("reshape", attributes=Shape((2, 3)))
    xs = xs.emit("reshape", attributes=Shape((2, 3, 1))).emit("broadcast_to", attributes=Shape((2, 3, 2)))
    w2 = w.emit("broadcast_to", attributes=Shape((2,)))
    h, outputs = scan(body, [w2], [w2], [xs], 2)
    return sum_over(h * h, [0]) + sum_over(outputs, [0, 1])


def _matrices_in_python(w: float, xs: Array) -> float:
    h, total = np.full(2, w), 0.0
    for row in xs.reshape(2, 3):
        for x in row:
            h = np.sin(h * w) + x * 0.5
        total += float(np.sum(h * 0.5))
    return float(np.sum(h * h) + total)


_INT64 = Cast(DType.INT64)
_XS = np.array([0.3, -1.2, 0.8, 0.1, -0.4, 1.1])
_UP = np.abs(_XS) + 0.2


def _masks(x: Value, xs: Value) -> Value:
    """sqrt at 0 in a branch of `where` that is not taken, through a loop: its derivative must not leak."""

    def body(c: Value, e: Value) -> list[Value]:
        safe = where(e > 0.0, sqrt(e) * c, 0.0)
        return [c * 0.9 + safe, where(e > 0.5, sqrt(e - 0.5), 1.0)]

    last, outputs = scan(body, [], [x], [xs], xs.shape[0])
    return last * last + sum_over(outputs, [0])


def _masks_in_python(x: float, xs: Array) -> float:
    c, total = x, 0.0
    for e in xs:
        c = c * 0.9 + (np.sqrt(e) * c if e > 0.0 else 0.0)
        total += np.sqrt(e - 0.5) if e > 0.5 else 1.0
    return float(c * c + total)


EXAMPLES = (
    Example("scan", _recurrence, (F64, F64, f64(6)), _recurrence_in_python, ((0.7, 0.3, _XS), (-1.1, 2.0, _UP))),
    Example("scan backwards", _backwards, (F64, f64(6)), _backwards_in_python, ((0.7, _XS), (-0.9, _UP))),
    Example("counted scan", _counted, (F64, f64(6)), _counted_in_python, ((0.3, _XS), (1.7, _XS), (2.6, _UP))),
    Example("while", _newton, (F64, F64), _newton_in_python, ((3.0, 7.0), (2.0, 1.41421), (0.5, 90.0))),
    Example("cond", _branches, (F64, F64), _branches_in_python, ((0.4, 1.3), (2.3, 0.7), (-3.0, 1.1))),
    Example("nested", _nested, (F64, f64(6)), _nested_in_python, ((0.9, _UP), (0.2, _UP * 3.0))),
    Example("checkpoint", _checkpointed, (F64, f64(6)), _checkpointed_in_python, ((0.7, _UP), (1.9, _XS))),
    Example("loop of loops", _matrices, (F64, f64(6)), _matrices_in_python, ((0.7, _XS), (-0.3, _UP))),
    Example("scan of where", _masks, (F64, f64(6)), _masks_in_python, ((0.7, _XS), (1.3, _UP + 0.07))),
)
