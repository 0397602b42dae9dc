"""Convolution and pooling, for `gw.special`: as scipy.signal names them, and as ONNX defines them for networks.

Every function takes traced values, plain arrays, or both. Those of networks see an operand as (…, channels, *spatial):
any number of leading axes of examples, and as many spatial axes as the kernel has.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gradwire.numpy_functions.operands import Array, Shape, entries, integer, wrong, xp
from gradwire.numpy_functions.sliding import applied, common, paddings, slid
from gradwire_engine.attributes import Convolution, OverlapAdd, Windows

__all__ = ["avg_pool", "conv", "conv_transpose", "convolve", "correlate", "max_pool"]


def convolve(in1: Any, in2: Any, mode: str = "full") -> Array:
    """scipy.signal.convolve: of arrays with equally many axes; the sum is direct, never by Fourier transforms.

    `mode`: "full", "same" (as large as `in1`) or "valid" (without any padding).
    """
    x, w = common("convolve", in1, in2)
    if x.ndim != w.ndim:
        raise wrong(f"convolve: operands must have equally many axes, got shapes {x.shape} and {w.shape}")
    if 0 in x.shape or 0 in w.shape:
        raise wrong(f"convolve: an operand is empty, got shapes {x.shape} and {w.shape}")
    larger = [m >= n for m, n in zip(x.shape, w.shape, strict=True)]
    if mode == "valid" and not all(larger):
        if not all(m <= n for m, n in zip(x.shape, w.shape, strict=True)):
            raise wrong(f"convolve: mode 'valid' needs one operand inside the other, got {x.shape} and {w.shape}")
        x, w = w, x
    elif mode == "full" and math.prod(w.shape) > math.prod(x.shape):
        x, w = w, x
    return slid(x, xp.flip(w), *paddings(mode, w.shape, "convolve"))


def correlate(in1: Any, in2: Any, mode: str = "full") -> Array:
    """scipy.signal.correlate: the convolution of `in1` with `in2` turned round along every axis."""
    x, w = common("correlate", in1, in2)
    return convolve(x, xp.flip(w), mode)


def conv(
    x: Any, w: Any, b: Any = None, *, strides: Any = 1, padding: Any = 0, dilations: Any = 1, groups: int = 1
) -> Array:
    """ONNX's Conv: x (…, C, *spatial) and w (O, C / groups, *kernel) to (…, O, *positions), b (O,) added.

    `strides` and `dilations` (of the kernel): a number, or one for each spatial axis. `padding`: "valid" (none), "same"
    (as many positions as elements, divided by the stride; an odd element at the end), a number, or for each spatial
    axis a number or a pair (before, after). The kernel is not flipped.
    """
    left, right = common("conv", x, w)
    spatial = right.ndim - 2
    if spatial < 0 or left.ndim < spatial + 1:
        raise wrong(f"conv: expected x (…, C, *spatial) and w (O, C, *kernel), got shapes {left.shape}, {right.shape}")
    channels, count = left.shape[left.ndim - spatial - 1], integer(groups, "groups")
    if count < 1 or channels != right.shape[1] * count or right.shape[0] % count:
        raise wrong(f"conv: shapes {left.shape} and {right.shape} with {count} groups: the channels do not match")
    lengths, kernel = left.shape[left.ndim - spatial :], right.shape[2:]
    window = _Window("conv", lengths, kernel, strides, padding, dilations)
    attributes = Convolution(window.strides, window.low, window.high, window.dilations, count)
    return _with_bias("conv", applied("convolution", attributes, left, right), b, right.shape[0], spatial)


def conv_transpose(
    x: Any,
    w: Any,
    b: Any = None,
    *,
    strides: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    dilations: Any = 1,
    groups: int = 1,
) -> Array:
    """ONNX's ConvTranspose: x (…, C, *spatial) and w (C, O / groups, *kernel) to (…, O, *lengths), b (O,) added.

    The transpose of `conv` with the same `strides`, `padding`, `dilations` and `groups`; an axis of length n becomes
    (n - 1) * stride + (kernel - 1) * dilation + 1 - before - after + output_padding.
    """
    left, right = common("conv_transpose", x, w)
    spatial = right.ndim - 2
    if spatial < 0 or left.ndim < spatial + 1:
        raise wrong(
            f"conv_transpose: expected x (…, C, *spatial) and w (C, O, *kernel), got shapes {left.shape}, {right.shape}"
        )
    channels, count = left.shape[left.ndim - spatial - 1], integer(groups, "groups")
    if count < 1 or channels != right.shape[0] or channels % count:
        raise wrong(
            f"conv_transpose: shapes {left.shape} and {right.shape} with {count} groups: the channels do not match"
        )
    lead, lengths, kernel = left.shape[: left.ndim - spatial - 1], left.shape[left.ndim - spatial :], right.shape[2:]
    if isinstance(padding, str) or 0 in lengths:
        raise wrong(f"conv_transpose: padding must be numbers, and x not empty; got {padding!r}, shape {left.shape}")
    window = _Window("conv_transpose", None, kernel, strides, padding, dilations)
    sizes, positions = math.prod(lengths), math.prod(kernel)
    parts = xp.reshape(left, (*lead, count, channels // count, sizes))
    weights = xp.reshape(right, (count, channels // count, right.shape[1], positions))
    products = xp.reshape(
        xp.einsum("...gcs,gcok->...gosk", parts, weights), (*lead, count * right.shape[1], *lengths, *kernel)
    )
    whole = tuple(
        (n - 1) * stride + extent for n, stride, extent in zip(lengths, window.strides, window.extents, strict=True)
    )
    added = applied("overlap_add", OverlapAdd(window.strides, window.dilations, whole), products)
    extra = _one_for_each("conv_transpose", "output_padding", output_padding, spatial, 0)
    return _with_bias("conv_transpose", _cropped(added, window, whole, extra), b, count * right.shape[1], spatial)


def _cropped(added: Array, window: _Window, whole: Shape, extra: Shape) -> Array:
    """Without the padding, and with zeros where more is wanted than there is."""
    missing = [max(more - high, 0) for more, high in zip(extra, window.high, strict=True)]
    lead = added.ndim - len(whole)
    if any(missing):
        added = xp.pad(added, [(0, 0)] * lead + [(0, more) for more in missing])
    ends = [n - high + more for n, high, more in zip(whole, window.high, extra, strict=True)]
    if any(low >= end for low, end in zip(window.low, ends, strict=True)):
        raise wrong(f"conv_transpose: padding {window.low} and {window.high} leaves nothing of {whole} elements")
    return added[(..., *(slice(low, end) for low, end in zip(window.low, ends, strict=True)))]


def max_pool(x: Any, kernel_shape: Any, *, strides: Any = None, padding: Any = 0, dilations: Any = 1) -> Array:
    """ONNX's MaxPool: the largest of each window on the last axes, which are as many as `kernel_shape` has entries.

    `strides`: by default those of the kernel, so that windows do not overlap. `padding` and `dilations` as for `conv`;
    padding is never the largest. At a tie the derivative is shared evenly. Memory: as much as all windows hold.
    """
    array, window = _pooled("max_pool", x, kernel_shape, strides, padding, dilations)
    floating = array.dtype.kind == "f"
    least = -np.inf if floating else False if array.dtype.kind == "b" else np.iinfo(array.dtype).min
    return xp.max(_seen(array, window, least), axis=tuple(range(-len(window.kernel), 0)))


def avg_pool(
    x: Any,
    kernel_shape: Any,
    *,
    strides: Any = None,
    padding: Any = 0,
    dilations: Any = 1,
    count_include_pad: bool = False,
) -> Array:
    """ONNX's AveragePool: the mean of each window on the last axes; the arguments are those of `max_pool`.

    `count_include_pad`: whether padding counts as zeros, or is left out of the mean.
    """
    array, window = _pooled("avg_pool", x, kernel_shape, strides, padding, dilations)
    axes = tuple(range(-len(window.kernel), 0))
    total = xp.sum(_seen(array, window, 0), axis=axes)
    if count_include_pad:
        return total / math.prod(window.kernel)
    lengths = array.shape[array.ndim - len(axes) :]
    counts = np.sum(_seen(np.ones(lengths, dtype=np.int32), window, 0), axis=axes)
    return total / counts.astype(total.dtype if total.dtype.kind == "f" else np.float64)


class _Window:
    """Where a kernel is put: steps, padding, and how far it reaches, checked."""

    def __init__(
        self, what: str, lengths: Shape | None, kernel: Shape, strides: Any, padding: Any, dilations: Any
    ) -> None:
        spatial = len(kernel)
        if min(kernel, default=1) < 1:
            raise wrong(f"{what}: the kernel has no elements, got shape {kernel}")
        self.kernel = kernel
        self.strides = _one_for_each(what, "strides", strides, spatial, 1)
        self.dilations = _one_for_each(what, "dilations", dilations, spatial, 1)
        self.extents = tuple((n - 1) * step + 1 for n, step in zip(kernel, self.dilations, strict=True))
        self.low, self.high = self._padding(what, lengths, padding)
        for axis, length in enumerate(lengths or ()):
            if length + self.low[axis] + self.high[axis] < self.extents[axis]:
                raise wrong(
                    f"{what}: a kernel of {kernel} with dilations {self.dilations} does not fit {lengths} "
                    f"padded by {self.low} and {self.high}"
                )

    def _padding(self, what: str, lengths: Shape | None, padding: Any) -> tuple[Shape, Shape]:
        spatial = len(self.kernel)
        if isinstance(padding, str):
            if padding not in ("valid", "same") or lengths is None:
                raise wrong(f"{what}: padding must be 'valid', 'same', numbers or pairs, got {padding!r}")
            if padding == "valid":
                return (0,) * spatial, (0,) * spatial
            total = [
                max((-(-n // stride) - 1) * stride + extent - n, 0)
                for n, stride, extent in zip(lengths, self.strides, self.extents, strict=True)
            ]
            return tuple(n // 2 for n in total), tuple(n - n // 2 for n in total)
        if isinstance(padding, (int, np.integer)):
            return ((integer(padding, "padding"),) * spatial,) * 2 if padding >= 0 else self._refuse(what, padding)
        pairs = [entries(one) for one in entries(padding)]
        if len(pairs) != spatial or any(len(pair) not in (1, 2) for pair in pairs):
            return self._refuse(what, padding)
        low = tuple(integer(pair[0], "padding") for pair in pairs)
        high = tuple(integer(pair[-1], "padding") for pair in pairs)
        return (low, high) if min((*low, *high), default=0) >= 0 else self._refuse(what, padding)

    def _refuse(self, what: str, padding: Any) -> tuple[Shape, Shape]:
        raise wrong(
            f"{what}: padding must be a number of at least 0, or one or a pair (before, after) for each of the "
            f"{len(self.kernel)} spatial axes, got {padding!r}"
        )


def _one_for_each(what: str, name: str, value: Any, spatial: int, least: int) -> Shape:
    """A number for each spatial axis, from one for all or a sequence."""
    given = tuple([integer(number, name) for number in entries(value)])
    numbers = given * spatial if len(given) == 1 else given
    if len(numbers) != spatial or min(numbers, default=least) < least:
        raise wrong(f"{what}: {name} must be a number of at least {least}, or {spatial} of them, got {value!r}")
    return numbers


def _pooled(what: str, x: Any, kernel_shape: Any, strides: Any, padding: Any, dilations: Any) -> tuple[Array, _Window]:
    (array,) = common(what, x)
    kernel = tuple(integer(n, "kernel_shape") for n in entries(kernel_shape))
    if array.ndim < len(kernel):
        raise wrong(f"{what}: a kernel of {kernel} for shape {array.shape}")
    lengths = array.shape[array.ndim - len(kernel) :]
    return array, _Window(what, lengths, kernel, kernel if strides is None else strides, padding, dilations)


def _seen(x: Array, window: _Window, fill: Any) -> Array:
    """All windows, the padding filled in; the kernel's axes last."""
    if any((*window.low, *window.high)):
        around = [(0, 0)] * (x.ndim - len(window.kernel)) + list(zip(window.low, window.high, strict=True))
        x = xp.pad(x, around, constant_values=fill)
    return applied("windows", Windows(window.kernel, window.strides, window.dilations), x)


def _with_bias(what: str, result: Array, b: Any, channels: int, spatial: int) -> Array:
    if b is None:
        return result
    whole, bias = common(what, result, b)
    if bias.shape != (channels,):
        raise wrong(f"{what}: expected b of shape ({channels},), got {bias.shape}")
    return whole + xp.reshape(bias, (channels, *(1,) * spatial))
