"""How ops that refer to graphs are drawn: their graphs are drawn too, from what they are given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
from tests.kit.engine.drawing import Drawing, Recipe

from gradwire_engine import attributes as a
from gradwire_engine.graph import Graph
from gradwire_engine.op import Op
from gradwire_engine.types import DType, TensorType
from gradwire_engine.value import Value

LONGEST = 3
"""Steps of a loop."""

_COUNT = TensorType(DType.INT64)


def _types(values: Sequence[Value]) -> list[TensorType]:
    return [value.type for value in values]


def _some(d: Drawing, low: int, high: int) -> list[Value]:
    return [d.any() for _ in range(d.integer(low, high))]


def _steps(d: Drawing) -> Value:
    """A number of steps that depends on values, 0 to `LONGEST`."""
    return d.of(_COUNT).emit("remainder", d.builder.constant(np.int64(LONGEST + 1)))


def _once(d: Drawing, op: Op) -> Sequence[Value]:
    """call and checkpoint: a graph applied to operands."""
    operands = _some(d, 1, 3)
    inner = d.inside(_types(operands))
    inner.grow(d.integer(1, 3))
    return d.builder.emit_all(op, operands, subgraphs=[inner.builder.finish(inner.latest(3))])


def _cond(d: Drawing, op: Op) -> Sequence[Value]:
    operands = _some(d, 1, 3)
    branches: list[Graph] = []
    for _ in range(2):
        inner = d.inside(_types(operands))
        inner.grow(d.integer(0, 2))
        outputs = [inner.of(type) for type in branches[0].output_types] if branches else inner.latest(2)
        branches.append(inner.builder.finish(outputs))
    return d.builder.emit_all(op, [d.of(TensorType(DType.BOOL)), *operands], a.Cond(), branches)


def _scan(d: Drawing, op: Op) -> Sequence[Value]:
    length = d.integer(0, LONGEST)
    constants, carries = _some(d, 0, 2), _some(d, 0, 2)
    slices = [value.type for value in _some(d, 0 if constants or carries else 1, 2)]
    stacked = [d.of(type.with_shape((length, *type.shape))) for type in slices]
    counted = d.flag()
    inner = d.inside([*_types(constants), *_types(carries), *slices])
    inner.grow(d.integer(1, 2))
    after = [inner.of(value.type) for value in carries]
    outputs = inner.latest(d.integer(0 if carries else 1, 2))
    sums = [value for value in inner.latest(d.integer(0, 1)) if value.dtype is not DType.BOOL]
    attributes = a.Scan(
        constants=len(constants),
        carries=len(carries),
        length=length,
        reverse=d.flag(),
        counted=counted,
        sums=len(sums),
    )
    operands = [*([_steps(d)] if counted else []), *constants, *carries, *stacked]
    return d.builder.emit_all(op, operands, attributes, [inner.builder.finish([*after, *outputs, *sums])])


def _while(d: Drawing, op: Op) -> Sequence[Value]:
    """Counts its steps up to a limit that depends on values, and may end before."""
    limit, constants = _steps(d), _some(d, 0, 2)
    carries = [d.builder.constant(np.int64(0)), *_some(d, 1, 2)]
    test = d.inside([_COUNT, *_types(carries)])
    going = test.pool[1].emit("less", test.pool[0])
    if d.flag():
        going = going.emit("logical_and", test.of(TensorType(DType.BOOL)))
    body = d.inside([*_types(constants), *_types(carries)])
    count = body.pool[len(constants)]
    body.grow(d.integer(1, 2))
    after = [count + 1, *(body.of(value.type) for value in carries[1:])]
    counted = d.flag()
    attributes = a.While(
        condition_constants=1,
        body_constants=len(constants),
        max_steps=LONGEST,
        counted=counted,
        recorded=tuple(k for k in range(len(carries)) if counted and d.flag()),
    )
    graphs = [test.builder.finish([going]), body.builder.finish(after)]
    return d.builder.emit_all(op, [limit, *constants, *carries], attributes, graphs)


RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {"call": _once, "checkpoint": _once, "cond": _cond, "scan": _scan, "while": _while}
)
