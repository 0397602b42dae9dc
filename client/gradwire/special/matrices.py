"""Functions of matrices that numpy lacks, for `gw.special`, by their names in scipy.linalg.

Every function takes traced values, plain arrays, or both; the last two axes are a matrix.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gradwire.numpy_functions.linalg import identity_like, stacked_alike
from gradwire.numpy_functions.operands import Array, emit, in_floating_point, wrong, xp
from gradwire.tracing.trace import Tracer
from gradwire_engine.attributes import TriangularSolve

__all__ = ["cho_factor", "cho_solve", "expm", "solve_triangular"]

_TRANSPOSED = {0: False, 1: True, 2: True, "N": False, "T": True, "C": True}

_PADE = (64764752532480000.0, 32382376266240000.0, 7771770303897600.0, 1187353796428800.0, 129060195264000.0,
         10559470521600.0, 670442572800.0, 33522128640.0, 1323241920.0, 40840800.0, 960960.0, 16380.0, 182.0,
         1.0)  # fmt: skip
_PADE_NORM = 5.371920351148152
_MOST_SQUARINGS = 16


def solve_triangular(a: Any, b: Any, trans: Any = 0, lower: bool = False, unit_diagonal: bool = False) -> Array:
    """x with T x = b, T the upper triangle of `a`, or the lower one; with `trans` 1, 2, "T" or "C" its transpose.

    b is a vector if it has one axis, else a stack of matrices. A zero on the diagonal gives NaN.
    """
    if trans not in _TRANSPOSED:
        raise wrong(f"solve_triangular: trans is {trans!r}, expected 0, 1, 2, 'N', 'T' or 'C'")
    if xp.ndim(b) == 1:
        return solve_triangular(a, xp.expand_dims(b, -1), trans, lower, unit_diagonal)[..., 0]
    attributes = TriangularSolve(bool(lower), _TRANSPOSED[trans], bool(unit_diagonal))
    if isinstance(a, Tracer) or isinstance(b, Tracer):
        x, y = stacked_alike("solve_triangular", a, b)
        return emit(x, "triangular_solve", y, attributes=attributes)
    triangle = xp.tril(a, -1 if unit_diagonal else 0) if lower else xp.triu(a, 1 if unit_diagonal else 0)
    if unit_diagonal:
        triangle = triangle + np.eye(triangle.shape[-1], dtype=triangle.dtype)
    singular = (np.diagonal(triangle, axis1=-2, axis2=-1) == 0).any(axis=-1)[..., None, None]
    triangle = np.where(singular, np.eye(triangle.shape[-1], dtype=triangle.dtype), triangle)
    solution = np.linalg.solve(xp.matrix_transpose(triangle) if attributes.transposed else triangle, np.asarray(b))
    return np.where(singular, solution.dtype.type(np.nan), solution)


def cho_factor(a: Any, lower: bool = False) -> tuple[Array, bool]:
    """The Cholesky factor of `a`, and which triangle it is: what `cho_solve` takes."""
    return xp.linalg.cholesky(a, upper=not lower), bool(lower)


def cho_solve(c_and_lower: tuple[Any, bool], b: Any) -> Array:
    """x with a x = b, from what `cho_factor` gave for a."""
    factor, lower = c_and_lower
    inner = solve_triangular(factor, b, trans=0 if lower else 1, lower=lower)
    return solve_triangular(factor, inner, trans=1 if lower else 0, lower=lower)


def expm(A: Any) -> Array:
    """The exponential of a matrix: Padé's approximation of a fraction of it, squared up to 16 times.

    Source: Higham, "The scaling and squaring method for the matrix exponential revisited", SIAM Review 51 (2009).
    """
    a = A if isinstance(A, Tracer) else np.asarray(A)
    if a.ndim < 2 or a.shape[-1] != a.shape[-2]:
        raise wrong(f"expm: expected square matrices in the last two axes, got shape {a.shape}")
    a = in_floating_point(a)
    with np.errstate(all="ignore"):
        size = xp.max(xp.sum(xp.abs(a), axis=-2), axis=-1, initial=0.0)
        squarings = xp.clip(xp.ceil(xp.log2(size / _PADE_NORM)), 0.0, _MOST_SQUARINGS)[..., None, None]
        exponential = _pade(a * xp.exp2(-squarings))
        for done in range(_MOST_SQUARINGS):
            exponential = xp.where(squarings > done, exponential @ exponential, exponential)
    return exponential


def _pade(a: Array) -> Array:
    b = _PADE
    unit = identity_like(a) if isinstance(a, Tracer) else np.broadcast_to(np.eye(a.shape[-1], dtype=a.dtype), a.shape)
    a2 = a @ a
    a4 = a2 @ a2
    a6 = a4 @ a2
    odd = a6 @ (b[13] * a6 + b[11] * a4 + b[9] * a2) + b[7] * a6 + b[5] * a4 + b[3] * a2 + b[1] * unit
    even = a6 @ (b[12] * a6 + b[10] * a4 + b[8] * a2) + b[6] * a6 + b[4] * a4 + b[2] * a2 + b[0] * unit
    odd = a @ odd
    return xp.linalg.solve(even - odd, even + odd)
