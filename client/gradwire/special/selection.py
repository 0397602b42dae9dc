"""Choices among the elements of an axis: the largest ones, and the one that an index names."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradwire.numpy_functions.operands import Array, axis_of, wrong
from gradwire.tracing.trace import Tracer

__all__ = ["one_hot", "top_k"]


def top_k(x: Any, k: int, axis: int = -1) -> tuple[Array, Array]:
    """The k largest elements along an axis, the largest first, and where they stand; equal ones in their order.

    NaN counts as larger than all numbers. The derivative goes to the elements that were chosen.
    """
    array = x if isinstance(x, Tracer) else np.asarray(x)
    along = axis_of(axis, array.ndim)
    length = array.shape[along]
    if not 0 <= k <= length:
        raise wrong(f"top_k: k={k} of {length} elements")
    backwards = np.argsort(np.flip(array, along), axis=along, kind="stable")
    order = length - 1 - np.flip(backwards, along)
    chosen = order[(*(slice(None),) * along, slice(None, k))]
    return np.take_along_axis(array, chosen, along), chosen


def one_hot(indices: Any, num_classes: int, dtype: Any = np.float64) -> Array:
    """1 at each index of a new last axis of length `num_classes`, 0 elsewhere; zeros for an index out of range."""
    array = indices if isinstance(indices, Tracer) else np.asarray(indices)
    return np.equal(array[..., np.newaxis], np.arange(num_classes)).astype(dtype)
