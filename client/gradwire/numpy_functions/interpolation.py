"""Functions of neighbours on a grid: interp, gradient, unwrap, linspace."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradwire.errors import TracingError
from gradwire.numpy_functions.operands import (
    Array,
    Table,
    as_dtype,
    axis_of,
    cast,
    entries,
    floating,
    integer,
    lift,
    lifted,
    promoted,
    wrong,
    xp,
)
from gradwire.numpy_functions.selection import diff
from gradwire.tracing.locations import at_user_line
from gradwire.tracing.trace import Tracer

_FLOAT64 = np.dtype(np.float64)


def interp(x: Any, xp_: Any, fp: Any, left: Any = None, right: Any = None, period: Any = None) -> Array:
    """numpy.interp, differentiable in x, xp and fp.

    At a node the slope is that of the segment on its right, at the last node of the one on its left; beyond them the
    result does not vary with x.
    """
    ends = [] if left is None or period is not None else [left]
    ends += [] if right is None or period is not None else [right]
    operands = [cast(operand, _FLOAT64) for operand in lifted(x, xp_, fp, *ends)]
    points, nodes, values = operands[:3]
    if nodes.ndim != 1 or values.shape != nodes.shape:
        raise wrong(f"fp and xp are not of the same length: shapes {values.shape} and {nodes.shape}")
    if nodes.shape[0] == 0:
        raise wrong("array of sample points is empty")
    if period is not None:
        points, nodes, values = _periodic(points, nodes, values, period)
    others = iter(operands[3:])
    below = values[0] if left is None or period is not None else next(others)
    above = values[-1] if right is None or period is not None else next(others)
    inside = _on_segments(points, nodes, values)
    return xp.where(points < nodes[0], below, xp.where(points > nodes[-1], above, inside))


def _periodic(x: Tracer, nodes: Tracer, values: Tracer, period: Any) -> tuple[Any, Any, Any]:
    """Everything within one period, and a node more on each side."""
    if not isinstance(period, Tracer):
        if period == 0:
            raise wrong("period must be a non-zero value")
        period = abs(period)
    x, nodes = x % period, nodes % period
    order = xp.argsort(nodes)
    nodes, values = nodes[order], values[order]
    nodes = xp.concatenate([nodes[-1:] - period, nodes, nodes[:1] + period])
    return x, nodes, xp.concatenate([values[-1:], values, values[:1]])


def _on_segments(x: Tracer, nodes: Tracer, values: Tracer) -> Array:
    last = nodes.shape[0] - 1
    if last == 0:
        return xp.broadcast_to(values[0], x.shape)
    segment = xp.clip(xp.searchsorted(nodes, x, side="right") - 1, 0, last - 1)
    low, high, start, end = nodes[segment], nodes[segment + 1], values[segment], values[segment + 1]
    slope = (end - start) / (high - low)
    value = slope * (x - low) + start
    # Infinite values: what can be said from the right, and at the nodes themselves.
    infinite = xp.where(xp.isnan(value), slope * (x - high) + end, value)
    infinite = xp.where(x == high, end, xp.where(x == low, start, infinite))
    return xp.where(xp.isfinite(slope), value, infinite)


def gradient(f: Any, *varargs: Any, axis: Any = None, edge_order: int = 1) -> Any:
    """numpy.gradient: central differences inside, one-sided ones of first or second order at the ends."""
    values, *spacings = lifted(f, *varargs)
    if values.dtype.kind == "b":
        raise TracingError(at_user_line("np.gradient of bools is not defined; convert with x.astype(np.float64)"))
    values = floating(values)
    axes = tuple(range(values.ndim)) if axis is None else tuple(axis_of(entry, values.ndim) for entry in entries(axis))
    distances: Sequence[Any] = [*varargs] or [1.0]
    if len(distances) == 1 and xp.ndim(distances[0]) == 0:
        distances = [*distances] * len(axes)
    elif len(spacings) != len(axes):
        raise wrong("gradient: invalid number of arguments")
    if edge_order not in (1, 2):
        raise wrong("'edge_order' greater than 2 not supported")
    slopes = tuple([_slopes(values, h, along, edge_order) for h, along in zip(distances, axes, strict=True)])
    return slopes[0] if len(slopes) == 1 else slopes


def _slopes(values: Tracer, spacing: Any, axis: int, edge_order: int) -> Array:
    length = values.shape[axis]
    if length < edge_order + 1:
        raise wrong("Shape of array too small to calculate a numerical gradient, at least (edge_order + 1) needed")
    y = xp.moveaxis(values, axis, -1)
    if xp.ndim(spacing) == 0:
        steps = xp.broadcast_to(spacing, (length - 1,))
    elif xp.ndim(spacing) == 1 and xp.shape(spacing)[0] == length:
        steps = diff(spacing)
    else:
        raise wrong("when 1d, distances must match the length of the corresponding dimension")
    before, after = steps[:-1], steps[1:]
    inner = (
        -after / (before * (before + after)) * y[..., :-2]
        + (after - before) / (before * after) * y[..., 1:-1]
        + before / (after * (before + after)) * y[..., 2:]
    )
    first, last = _end(y, steps, edge_order), _end(y[..., ::-1], -steps[::-1], edge_order)
    slopes = xp.concatenate([first[..., np.newaxis], inner, last[..., np.newaxis]], axis=-1)
    return xp.moveaxis(cast(slopes, values.dtype) if not isinstance(spacing, Tracer) else slopes, -1, axis)


def _end(y: Array, steps: Any, order: int) -> Array:
    """The slope at the first of some points."""
    if order == 1:
        return (y[..., 1] - y[..., 0]) / steps[0]
    near, far = steps[0], steps[1]
    return (
        -(2.0 * near + far) / (near * (near + far)) * y[..., 0]
        + (near + far) / (near * far) * y[..., 1]
        - near / (far * (near + far)) * y[..., 2]
    )


def unwrap(p: Any, discont: Any = None, axis: int = -1, *, period: Any = 2 * np.pi) -> Array:
    """numpy.unwrap."""
    x = lift(p)
    along = axis_of(axis, x.ndim)
    if x.dtype.kind != "f":
        x = floating(x)
    steps = diff(x, axis=along)
    half = period / 2
    wrapped = (steps + half) % period - half
    wrapped = xp.where(xp.logical_and(wrapped == -half, steps > 0), half, wrapped)
    correction = xp.where(xp.absolute(steps) < (half if discont is None else max(discont, half)), 0.0, wrapped - steps)
    before = (slice(None),) * along
    rest = x[(*before, slice(1, None))] + xp.cumsum(correction, axis=along)
    return xp.concatenate([x[(*before, slice(None, 1))], rest], axis=along)


def linspace(start: Any, stop: Any, num: Any = 50, endpoint: bool = True, retstep: bool = False, dtype: Any = None,
             axis: int = 0, *, device: Any = None) -> Any:  # fmt: skip
    """numpy.linspace; its ends are exact."""
    count = integer(num, "num")
    if count < 0:
        raise wrong(f"Number of samples, {count}, must be non-negative.")
    first, last = (floating(end) for end in promoted([start, stop], "linspace"))
    step = (last - first) / max(count - 1 if endpoint else count, 1)
    shape = (-1, *(1,) * step.ndim)
    points = first + xp.reshape(np.arange(count, dtype=step.dtype), shape) * step
    if endpoint and count > 1:
        points = xp.concatenate([points[:-1], xp.broadcast_to(last, step.shape)[np.newaxis]])
    points = xp.moveaxis(points, 0, axis_of(axis, points.ndim))
    if dtype is not None:
        wanted = as_dtype(dtype)
        points = cast(xp.floor(points) if wanted.kind == "i" else points, wanted)
    return (points, step) if retstep else points


def logspace(start: Any, stop: Any, num: Any = 50, endpoint: bool = True, base: Any = 10.0, dtype: Any = None,
             axis: int = 0) -> Array:  # fmt: skip
    """numpy.logspace."""
    if xp.ndim(base):
        raise wrong(f"logspace: expected one number as base, got shape {xp.shape(base)}")
    first, last, _ = lifted(start, stop, base)
    points = xp.power(base, linspace(first, last, num, endpoint, axis=axis))
    return points if dtype is None else cast(points, as_dtype(dtype))


TABLE: Table = {
    np.interp: lambda x, xp, fp, left=None, right=None, period=None: interp(x, xp, fp, left, right, period),
    np.gradient: gradient,
    np.unwrap: unwrap,
    np.linspace: linspace,
    np.logspace: logspace,
}
