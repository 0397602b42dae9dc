"""Sliding windows, written again for independent engines.

torch and jax have convolutions of their own; for autograd, whose own one has no strides, it is the sum over the
elements of the kernel of products with a strided slice of the padded operand. Windows are a look-up, and their
transpose a product with a matrix of zeros and ones, from places found by loops.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Function = Callable[..., Any]


def seen(kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int], shape: Sequence[int]) -> np.ndarray:
    """For each position and element of the window, the place in an array of `shape` whose last axes are windowed."""
    count = len(kernel)
    lead, lengths = tuple(shape[: len(shape) - count]), shape[len(shape) - count :]
    numbers = np.arange(math.prod(shape)).reshape(shape)
    starts = [
        [p for p in range(0, n, stride) if p + (k - 1) * step < n]
        for n, k, stride, step in zip(lengths, kernel, strides, dilations, strict=True)
    ]
    found = np.empty((*lead, *map(len, starts), *kernel), dtype=np.int64)
    for position in itertools.product(*(range(len(s)) for s in starts)):
        for place in itertools.product(*map(range, kernel)):
            at = tuple(s[p] + i * step for s, p, i, step in zip(starts, position, place, dilations, strict=True))
            found[(..., *position, *place)] = numbers[(..., *at)]
    return found


def _windows(xp: Any) -> Function:
    def function(a: Any, x: Any) -> Any:
        return xp.reshape(x, (-1,))[seen(a.kernel, a.strides, a.dilations, tuple(x.shape))]

    return function


def _overlap_add(xp: Any) -> Function:
    def function(a: Any, x: Any) -> Any:
        count = len(a.shape)
        shape = (*x.shape[: x.ndim - 2 * count], *a.shape)
        places = seen(tuple(x.shape)[x.ndim - count :], a.strides, a.dilations, shape).ravel()
        matrix = np.zeros((math.prod(shape), places.size))
        matrix[places, np.arange(places.size)] = 1.0
        return xp.reshape(xp.asarray(matrix) @ xp.reshape(x, (-1,)), shape)

    return function


def _one_by_one(xp: Any, whole: Function) -> Function:
    """A convolution of operands that share leading axes, from one that knows (N, C, *S) and (O, C, *K) only."""

    def function(a: Any, x: Any, w: Any) -> Any:
        spatial = len(a.strides)
        lead = tuple(x.shape[: x.ndim - spatial - 1])
        shared, examples = lead[: a.batch_dims], lead[a.batch_dims :]
        xs = xp.reshape(x, (math.prod(shared), math.prod(examples), *x.shape[len(lead) :]))
        ws = xp.reshape(w, (math.prod(shared), *w.shape[a.batch_dims :]))
        parts = [whole(a, xs[i], ws[i]) for i in range(math.prod(shared))]
        found = xp.stack(parts)
        return xp.reshape(found, (*lead, *found.shape[2:]))

    return function


def _by_slices(xp: Any) -> Function:
    def whole(a: Any, x: Any, w: Any) -> Any:
        padded = xp.pad(x, [(0, 0), (0, 0), *zip(a.low, a.high, strict=True)], mode="constant")
        kernel = w.shape[2:]
        counts = [
            (n - (k - 1) * step - 1) // stride + 1
            for n, k, stride, step in zip(padded.shape[2:], kernel, a.strides, a.dilations, strict=True)
        ]
        grouped = xp.reshape(padded, (x.shape[0], a.groups, w.shape[1], *padded.shape[2:]))
        weights = xp.reshape(w, (a.groups, w.shape[0] // a.groups, *w.shape[1:]))
        total = 0.0
        for place in itertools.product(*map(range, kernel)):
            box = tuple(
                slice(i * step, i * step + (n - 1) * stride + 1, stride)
                for i, step, stride, n in zip(place, a.dilations, a.strides, counts, strict=True)
            )
            total = total + xp.einsum("ngc...,goc->ngo...", grouped[(..., *box)], weights[(..., *place)])
        return xp.reshape(total, (x.shape[0], w.shape[0], *counts))

    return whole


def autograd_functions(xp: Any) -> dict[str, Function]:
    """For autograd."""
    return {
        "windows": _windows(xp),
        "overlap_add": _overlap_add(xp),
        "convolution": _one_by_one(xp, _by_slices(xp)),
    }


def jax_functions(jax: Any) -> dict[str, Function]:
    """For jax."""
    xp = jax.numpy

    def whole(a: Any, x: Any, w: Any) -> Any:
        return jax.lax.conv_general_dilated(
            x,
            w,
            a.strides,
            list(zip(a.low, a.high, strict=True)),
            rhs_dilation=a.dilations,
            feature_group_count=a.groups,
        )

    return {"windows": _windows(xp), "overlap_add": _overlap_add(xp), "convolution": _one_by_one(xp, whole)}


def torch_functions(torch: Any) -> dict[str, Function]:
    """For torch."""
    functional = torch.nn.functional

    def whole(a: Any, x: Any, w: Any) -> Any:
        pads = [n for low, high in zip(reversed(a.low), reversed(a.high), strict=True) for n in (low, high)]
        convolve = (functional.conv1d, functional.conv2d, functional.conv3d)[len(a.strides) - 1]
        return convolve(functional.pad(x, pads), w, stride=a.strides, dilation=a.dilations, groups=a.groups)

    return {
        "windows": _windows(torch),
        "overlap_add": _overlap_add(torch),
        "convolution": _one_by_one(torch, whole),
    }
