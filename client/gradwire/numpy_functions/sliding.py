"""Sliding windows and what is computed from them: sliding_window_view, convolve and correlate.

`applied` puts an op of the engine on traced values, and evaluates it here on plain arrays; bools, which numpy combines
by "and" and "or", are computed as integers and turned back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradwire.numpy_functions.operands import (
    Array,
    Shape,
    Table,
    axis_of,
    cast,
    emit,
    entries,
    integer,
    lift,
    promoted,
    require_default,
    wrong,
    xp,
)
from gradwire.tracing.complaints import unsupported_argument
from gradwire.tracing.trace import Tracer
from gradwire_engine.attributes import Attributes, Convolution, Windows
from gradwire_engine.ops.table import OPS

MODES = ("valid", "same", "full")


def common(what: str, *operands: Any) -> list[Any]:
    """The operands in one type: tracers of one trace where one of them is traced, else arrays."""
    if any(isinstance(operand, Tracer) for operand in operands):
        return list(promoted(operands, what))
    arrays = [np.asarray(operand) for operand in operands]
    dtype = np.result_type(*arrays)
    return [array.astype(dtype, copy=False) for array in arrays]


def applied(op: str, attributes: Attributes, *operands: Any) -> Array:
    """An op on operands of one type, all traced or none."""
    first = operands[0]
    if first.dtype.kind == "b" and "b" not in OPS[op].tests.dtypes:
        whole = [cast(x, np.dtype(np.int32)) if isinstance(x, Tracer) else x.astype(np.int32) for x in operands]
        return applied(op, attributes, *whole) != 0
    if isinstance(first, Tracer):
        return emit(first, op, *operands[1:], attributes=attributes)
    with np.errstate(all="ignore"):
        return OPS[op].evaluate(attributes, *operands)


def slid(x: Array, w: Array, low: Sequence[int], high: Sequence[int]) -> Array:
    """w slid over x, both without channels, with so many zeros around x; nothing is flipped."""
    ones = (1,) * x.ndim
    attributes = Convolution(ones, tuple(low), tuple(high), ones)
    result = applied("convolution", attributes, xp.expand_dims(x, 0), xp.expand_dims(w, (0, 1)))
    return xp.squeeze(result, 0)


def paddings(mode: Any, kernel: Shape, what: str) -> tuple[Shape, Shape]:
    """How many zeros stand before and after the other operand of a correlation."""
    if mode not in MODES:
        raise wrong(f"{what}: mode must be 'full', 'same' or 'valid', got {mode!r}")
    if mode == "valid":
        return (0,) * len(kernel), (0,) * len(kernel)
    low = tuple(n - 1 if mode == "full" else n // 2 for n in kernel)
    high = tuple(n - 1 if mode == "full" else n - n // 2 - 1 for n in kernel)
    return low, high


def _lines(a: Any, v: Any, what: str) -> list[Array]:
    lines = [xp.atleast_1d(line) for line in common(what, a, v)]
    if any(line.ndim != 1 for line in lines):
        raise wrong(f"{what}: expected one-dimensional arrays, got shapes {lines[0].shape} and {lines[1].shape}")
    if not all(line.shape[0] for line in lines):
        raise wrong(f"{what}: an array is empty")
    return lines


def convolve(a: Any, v: Any, mode: Any = "full") -> Array:
    """numpy.convolve; the result of mode 'same' is as long as the longer operand."""
    x, w = _lines(a, v, "convolve")
    if w.shape[0] > x.shape[0]:
        x, w = w, x
    return slid(x, xp.flip(w), *paddings(mode, w.shape, "convolve"))


def correlate(a: Any, v: Any, mode: Any = "valid") -> Array:
    """numpy.correlate."""
    x, w = _lines(a, v, "correlate")
    if w.shape[0] > x.shape[0]:
        return xp.flip(slid(w, x, *paddings(mode, x.shape, "correlate")))
    return slid(x, w, *paddings(mode, w.shape, "correlate"))


def sliding_window_view(
    x: Any, window_shape: Any, axis: Any = None, *, subok: bool = False, writeable: bool = False
) -> Array:
    """numpy.lib.stride_tricks.sliding_window_view; the result is read-only, as all traced values are."""
    require_default("sliding_window_view", subok=subok or None)
    if writeable:
        raise unsupported_argument("sliding_window_view", "writeable")
    windows = lift(x)
    lengths = [integer(length, "window_shape") for length in entries(window_shape)]
    axes = list(range(windows.ndim)) if axis is None else [axis_of(entry, windows.ndim) for entry in entries(axis)]
    if len(lengths) != len(axes):
        raise wrong(f"sliding_window_view: got {len(lengths)} lengths for {len(axes)} axes")
    for along, length in zip(axes, lengths, strict=True):
        if not 0 < length <= windows.shape[along]:
            raise wrong(f"sliding_window_view: a window of {length} does not fit axis {along} of shape {windows.shape}")
        last = xp.moveaxis(windows, along, -1)
        windows = xp.moveaxis(applied("windows", Windows((length,), (1,), (1,)), last), -2, along)
    return windows


TABLE: Table = {
    np.convolve: convolve,
    np.correlate: correlate,
    np.lib.stride_tricks.sliding_window_view: sliding_window_view,
}
