"""Functions of numpy that are given a function, and call it for one line or one axis at a time."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from gradwire.errors import TracingError
from gradwire.numpy_functions.operands import Array, Table, axes_of, axis_of, lift, wrong, xp
from gradwire.tracing.capture import capture
from gradwire.tracing.locations import at_user_line
from gradwire.tracing.trace import Tracer, active_trace, leaked
from gradwire.tracing.trees import LEAF, Tree, tuple_of
from gradwire_engine.errors import EngineError
from gradwire_engine.program import Vmap
from gradwire_engine.transform import apply
from gradwire_engine.types import DType, TensorType


def _apply_along_axis(func1d: Callable[..., Any], axis: Any, arr: Any, *args: Any, **kwargs: Any) -> Array:
    """numpy.apply_along_axis: the function is traced once, for a line, and mapped over all."""
    x = lift(arr)
    along = axis_of(axis, x.ndim)
    lines = xp.moveaxis(x, along, -1)
    others = lines.shape[:-1]
    if 0 in others:
        raise wrong("Cannot apply_along_axis when any iteration dimensions are 0")
    rows = xp.reshape(lines, (math.prod(others), lines.shape[-1]))
    results = _of_each_row(lambda line: func1d(line, *args, **kwargs), rows)
    new = range(len(others), len(others) + results.ndim - 1)
    whole = xp.reshape(results, (*others, *results.shape[1:]))
    return xp.moveaxis(whole, [*new], [along + i for i in range(len(new))])


def _of_each_row(function: Callable[[Tracer], Any], rows: Tracer) -> Any:
    """The function of each row, stacked: a graph of one row, given an axis, as part of the graph around it."""
    trace = active_trace()
    if trace is None:
        raise leaked(rows)
    count, length = rows.shape
    row = TensorType(DType.of(rows.dtype), (length,))
    traced = capture(trace.library, function, tuple_of(tuple_of(LEAF), Tree(dict)), [row], ["line"])
    try:
        graph = apply(traced.graph, (Vmap(count, (0, *[-1] * len(traced.captured))),))
    except EngineError as error:
        raise TracingError(at_user_line(f"np.apply_along_axis: {error.message}"), reason=error.reason) from None
    outputs = trace.builder.inline(graph, [trace.value_of(rows), *trace.operands_of(traced.captured)])
    return traced.result.build([trace.wrap(output) for output in outputs])


def _apply_over_axes(func: Callable[..., Any], a: Any, axes: Any) -> Array:
    """numpy.apply_over_axes."""
    x: Array = lift(a)
    for axis in axes_of(axes, x.ndim):
        result = func(x, axis)
        x = result if result.ndim == x.ndim else xp.expand_dims(result, axis)
    return x


TABLE: Table = {
    np.apply_along_axis: _apply_along_axis,
    np.apply_over_axes: _apply_over_axes,
}
