"""Norms of vectors and matrices, and the condition number."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradwire.numpy_functions.linalg import inv, require_square, svdvals
from gradwire.numpy_functions.operands import Array, Table, axis_of, emit, entries, floating, lift, wrong, xp
from gradwire.numpy_functions.reductions import norm_of
from gradwire.tracing.complaints import unsupported_argument
from gradwire.tracing.trace import Tracer


def _vector_norm(x: Tracer, ord: Any, axis: Any, keepdims: Any) -> Array:
    if ord is None or ord == 2:
        return norm_of(x, axis, keepdims)
    size = xp.absolute(x)
    if ord == np.inf:
        return xp.max(size, axis, keepdims=keepdims)
    if ord == -np.inf:
        return xp.min(size, axis, keepdims=keepdims)
    if ord == 0:
        return xp.sum(xp.not_equal(x, 0), axis, dtype=x.dtype, keepdims=keepdims)
    if ord == 1:
        return xp.sum(size, axis, keepdims=keepdims)
    if ord < 0:
        return xp.sum(xp.power(size, float(ord)), axis, keepdims=keepdims) ** (1.0 / float(ord))
    return _scaled_norm(size, float(ord), axis, keepdims)


def _scaled_norm(size: Tracer, ord: float, axis: Any, keepdims: Any) -> Array:
    """(Σ sizeᵖ)^(1/p), in units of the largest, so that no power overflows; its derivative at 0 is 0."""
    largest = emit(lift(xp.max(size, axis, keepdims=True, initial=0)), "stop_gradient")
    unit = xp.where(xp.isfinite(largest) & (largest > 0), largest, size.dtype.type(1))
    total = xp.sum(xp.power(size / unit, ord), axis, keepdims=True)
    nothing = xp.equal(total, 0)
    root = xp.power(xp.where(nothing, size.dtype.type(1), total), 1.0 / ord)
    norm = xp.where(nothing, size.dtype.type(0), unit * root)
    return norm if keepdims else xp.squeeze(norm, axis)


def _matrix_norm(x: Tracer, ord: Any, axes: tuple[int, int], keepdims: Any) -> Array:
    if ord is None or ord in ("fro", "f"):
        return norm_of(x, axes, keepdims)
    if ord in (2, -2, "nuc"):
        norm = _of_singular_values(svdvals(xp.moveaxis(x, axes, (-2, -1))), ord)
        return xp.expand_dims(norm, axes) if keepdims else norm
    if ord not in (1, -1, np.inf, -np.inf):
        raise unsupported_argument(
            "linalg.norm", f"ord={ord!r}", "for matrices write ord='fro', 'nuc', 1, -1, 2, -2, np.inf or -np.inf"
        )
    inside, outside = axes if abs(ord) == 1 else axes[::-1]
    sums = xp.sum(xp.absolute(x), inside, keepdims=True)
    result = (xp.max if ord > 0 else xp.min)(sums, outside, keepdims=True)
    return result if keepdims else xp.squeeze(result, axes)


def _of_singular_values(s: Array, ord: Any) -> Array:
    """They are in descending order."""
    if ord == "nuc":
        return xp.sum(s, axis=-1)
    if s.shape[-1] == 0:
        raise wrong("norm: matrices without elements have no largest or smallest singular value")
    return s[..., 0 if ord == 2 else -1]


def _norm(x: Any, ord: Any = None, axis: Any = None, keepdims: Any = False) -> Array:
    """numpy.linalg.norm."""
    array = floating(x)
    if axis is None:
        if ord is None or (ord in ("f", "fro") and array.ndim == 2) or (ord == 2 and array.ndim == 1):
            return norm_of(array, None, keepdims)
        axes = tuple(range(array.ndim))
    else:
        axes = tuple(axis_of(entry, array.ndim) for entry in entries(axis))
    if len(axes) == 1:
        return _vector_norm(array, ord, axes, keepdims)
    if len(axes) == 2:
        return _matrix_norm(array, ord, (axes[0], axes[1]), keepdims)
    raise wrong(f"norm: expected one or two axes, got shape {array.shape} and axis={axis}")


def _api_vector_norm(x: Any, /, *, axis: Any = None, keepdims: Any = False, ord: Any = 2) -> Array:
    """numpy.linalg.vector_norm: over all elements, or some axes."""
    return _vector_norm(floating(x), ord, axis, keepdims)


def _api_matrix_norm(x: Any, /, *, keepdims: Any = False, ord: Any = "fro") -> Array:
    """numpy.linalg.matrix_norm: over the last two axes."""
    array = floating(x)
    if array.ndim < 2:
        raise wrong(f"matrix_norm: expected matrices, got shape {array.shape}")
    return _matrix_norm(array, ord, (array.ndim - 2, array.ndim - 1), keepdims)


def cond(x: Any, p: Any = None) -> Array:
    """numpy.linalg.cond: how much a solution may grow; infinite, by the singular values, where x is singular."""
    a = floating(x)
    if a.ndim < 2:
        raise wrong(f"linalg.cond: expected matrices, got shape {a.shape}")
    if p is None or p in (2, -2):
        s = svdvals(a)
        largest, smallest = _of_singular_values(s, 2), _of_singular_values(s, -2)
        return smallest / largest if p == -2 else largest / smallest
    require_square("linalg.cond", a)
    return _norm(a, p, axis=(-2, -1)) * _norm(inv(a), p, axis=(-2, -1))


TABLE: Table = {
    np.linalg.norm: _norm,
    np.linalg.vector_norm: _api_vector_norm,
    np.linalg.matrix_norm: _api_matrix_norm,
    np.linalg.cond: cond,
}
