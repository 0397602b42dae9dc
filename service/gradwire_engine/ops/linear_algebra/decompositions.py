"""qr, eigh and svd, of matrices of any shape they have.

A decomposition that is not unique is differentiated along one choice: signs are LAPACK's and do not move, and vectors
that belong to a repeated value do not turn into each other. The factor 1 / (λⱼ - λᵢ) counts as 0 where the two are
equal, to within what rounding alone moves them. So functions that are the same for every choice, such as Σ λ², have
their derivatives there too, to first order.

    A = Q R        with X = Ȧ R⁻¹, S = Qᵀ X, T = S - tril(S, -1) + tril(S, -1)ᵀ:
                   Q̇ = X - Q T,   Ṙ = T R
    A = V Λ Vᵀ     with M = Vᵀ Ȧ V, Cᵢⱼ = Mᵢⱼ / (λⱼ - λᵢ):
                   λ̇ᵢ = Mᵢᵢ,   V̇ = V C
    A = U S Vᵀ     with M = Uᵀ Ȧ V, Cᵢⱼ = ½ (Mᵢⱼ + Mⱼᵢ) / (sⱼ - sᵢ), Dᵢⱼ = ½ (Mᵢⱼ - Mⱼᵢ) / (sᵢ + sⱼ):
                   ṡᵢ = Mᵢᵢ,   U̇ = U (C + D) + (Ȧ V - U M) S⁻¹,   V̇ = V (C - D) + (Ȧᵀ U - V Mᵀ) S⁻¹

D is finite at repeated singular values, so the orthogonal factor U Vᵀ has its derivative there.

Source: Giles, "An extended collection of matrix derivative results", Oxford 2008; C and D are his F, split in two.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradwire_engine.attributes import TriangularSolve
from gradwire_engine.op import Array, Case, Domain, Jvp, Masked, Op, Tangents, TestData
from gradwire_engine.ops.linear_algebra.stacks import (
    below,
    by_matrix,
    diagonal,
    flops,
    require_matrices,
    require_square,
    symmetric_part,
    symmetrised,
)
from gradwire_engine.ops.rules import stacked
from gradwire_engine.types import TensorType
from gradwire_engine.value import Value
from gradwire_engine.vocabulary import (
    absolute,
    concat,
    matmul,
    matrix_transpose,
    max_over,
    slice_axis,
    spread,
    triangular_solve,
    where,
)

_ROUNDINGS = 4
"""Values closer than so many roundings of the largest, for each row of the matrix, count as equal."""

# qr


def _qr_types(attributes: Any, operands: Sequence[TensorType]) -> tuple[TensorType, ...]:
    a = require_matrices(operands[0])
    *stack, m, n = a.shape
    return a.with_shape((*stack, m, min(m, n))), a.with_shape((*stack, min(m, n), n))


def _qr_jvp(attributes: Any, operands: Sequence[Value], results: Sequence[Value], tangents: Tangents) -> Tangents:
    (a,), (q, r), (t,) = operands, results, tangents
    if t is None:
        return [None, None]
    last, (m, n) = len(a.shape) - 1, a.shape[-2:]
    if m >= n:
        q_moved, r_moved = _tall_qr_tangents(q, r, t.value)
        return [Masked(q_moved), Masked(r_moved)]
    # The first m columns have the same Q; the others are Qᵀ A.
    q_moved, first = _tall_qr_tangents(q, slice_axis(r, last, 0, m), slice_axis(t.value, last, 0, m))
    rest = matmul(matrix_transpose(q), slice_axis(t.value, last, m, n))
    rest = rest + matmul(matrix_transpose(q_moved), slice_axis(a, last, m, n))
    return [Masked(q_moved), Masked(concat([first, rest], last))]


def _tall_qr_tangents(q: Value, r: Value, t: Value) -> tuple[Value, Value]:
    upper = TriangularSolve(lower=False, transposed=True)
    x = matrix_transpose(triangular_solve(r, matrix_transpose(t), upper))
    s = matmul(matrix_transpose(q), x)
    strict = where(below(s.shape, s, 1), s, 0.0)
    triangle = s - strict + matrix_transpose(strict)
    return x - matmul(q, triangle), matmul(triangle, r)


# eigh


def _eigh_types(attributes: Any, operands: Sequence[TensorType]) -> tuple[TensorType, ...]:
    a = require_square(operands[0])
    return a.with_shape(a.shape[:-1]), a


def _eigh_jvp(attributes: Any, operands: Sequence[Value], results: Sequence[Value], tangents: Tangents) -> Tangents:
    (w, v), (t,) = results, tangents
    if t is None:
        return [None, None]
    inner = matmul(matrix_transpose(v), matmul(symmetrised(t.value), v))
    return [Masked(diagonal(inner)), Masked(matmul(v, inner * _inverse_differences(w)))]


def _pairs(w: Value) -> tuple[Value, Value]:
    """wᵢ and wⱼ at every (i, j)."""
    rank = len(w.shape)
    square = (*w.shape, w.shape[-1])
    return spread(w, (rank,), square), spread(w, (rank - 1,), square)


def _inverse_differences(w: Value) -> Value:
    """1 / (wⱼ - wᵢ); 0 where LAPACK cannot tell the two apart."""
    rows, columns = _pairs(w)
    gaps = columns - rows
    axis = len(w.shape) - 1
    rounding = _ROUNDINGS * w.shape[-1] * float(np.finfo(w.dtype.value).eps)
    largest = spread(max_over(absolute(w), (axis,)) * rounding, (axis, axis + 1), gaps.shape)
    return _inverse(gaps, absolute(gaps) <= largest)


def _inverse(x: Value, zero: Value) -> Value:
    """1 / x; 0 where it counts as zero."""
    return where(zero, x.like(0.0), 1.0 / where(zero, x.like(1.0), x))


# svd


def _svd_types(attributes: Any, operands: Sequence[TensorType]) -> tuple[TensorType, ...]:
    a = require_matrices(operands[0])
    *stack, m, n = a.shape
    k = min(m, n)
    return a.with_shape((*stack, m, k)), a.with_shape((*stack, k)), a.with_shape((*stack, k, n))


def _svd(a: Array) -> tuple[Array, Array, Array]:
    u, s, vh = np.linalg.svd(a, full_matrices=False)
    return u, s, vh


def _svd_jvp(attributes: Any, operands: Sequence[Value], results: Sequence[Value], tangents: Tangents) -> Tangents:
    (u, s, vh), (t,) = results, tangents
    if t is None:
        return [None, None, None]
    v, moved = matrix_transpose(vh), t.value
    along_v, along_u = matmul(moved, v), matmul(matrix_transpose(moved), u)
    inner = matmul(matrix_transpose(u), along_v)
    mirrored = matrix_transpose(inner)
    sums = _pairs(s)[0] + _pairs(s)[1]
    together = (inner + mirrored) * 0.5 * _inverse_differences(s)
    against = (inner - mirrored) * 0.5 * _inverse(sums, sums.equals(0.0))
    u_moved = matmul(u, together + against)
    v_moved = matmul(v, together - against)
    k = s.shape[-1]
    if u.shape[-2] > k:
        u_moved = u_moved + _by_columns(along_v - matmul(u, inner), s)
    if v.shape[-2] > k:
        v_moved = v_moved + _by_columns(along_u - matmul(v, mirrored), s)
    return [Masked(u_moved), Masked(diagonal(inner)), Masked(matrix_transpose(v_moved))]


def _by_columns(x: Value, s: Value) -> Value:
    """Each column over its singular value; 0 where that is 0."""
    return x * spread(_inverse(s, s.equals(0.0)), (len(x.shape) - 2,), x.shape)


_ANY = ((3, 3), (4, 2), (2, 3), (1, 1), (2, 3, 2), (2, 1, 2, 2), (0, 0), (2, 0), (0, 3), (0, 2, 2))
_SQUARE = ((3, 3), (1, 1), (2, 3, 3), (2, 1, 2, 2), (0, 0), (0, 2, 2))
_DOMAIN = Domain(-0.5, 0.5, ramp=2.0)


def _tests(shapes: Sequence[tuple[int, ...]]) -> TestData:
    return TestData(domains=(_DOMAIN,), cases=tuple(Case((shape,)) for shape in shapes), ulps=16.0, dtypes="f")


OPS: tuple[Op, ...] = (
    Op(
        name="qr",
        arity=1,
        types=_qr_types,
        evaluate=lambda _, a: by_matrix(np.linalg.qr, a),
        derivative=Jvp(_qr_jvp),
        batch=stacked("qr"),
        flops=flops(lambda n: 4 * n[0] * n[1] * min(n)),
        scratch=3.0,
        tests=_tests(_ANY),
    ),
    Op(
        name="eigh",
        arity=1,
        types=_eigh_types,
        evaluate=lambda _, a: by_matrix(np.linalg.eigh, symmetric_part(a)),
        derivative=Jvp(_eigh_jvp),
        batch=stacked("eigh"),
        flops=flops(lambda n: 10 * n[0] ** 3),
        scratch=3.0,
        tests=_tests(_SQUARE),
    ),
    Op(
        name="svd",
        arity=1,
        types=_svd_types,
        evaluate=lambda _, a: by_matrix(_svd, a),
        derivative=Jvp(_svd_jvp),
        batch=stacked("svd"),
        flops=flops(lambda n: 25 * n[0] * n[1] * min(n)),
        scratch=3.0,
        tests=_tests(_ANY),
    ),
)
