"""cholesky, triangular_solve and solve.

The two solvers are linear in the right-hand side and carry the transpose rule for it, which is themselves with the
matrix transposed. By the matrix, from A X = B:

    A Ẋ = Ḃ - Ȧ X

The tangent of a Cholesky factor, from A = L Lᵀ, with Φ the lower triangle with half of the diagonal:

    L̇ = L Φ(L⁻¹ Ȧ L⁻ᵀ)

Source: Murray, "Differentiation of the Cholesky decomposition", arXiv:1602.07527, 2016.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradwire_engine.attributes import NONE, TriangularSolve
from gradwire_engine.op import Array, Case, Domain, Jvp, Linear, Masked, Op, Tangents, TestData
from gradwire_engine.ops.linear_algebra.stacks import (
    below,
    by_matrix,
    flops,
    once_where_repeated,
    square_types,
    symmetric_part,
    symmetrised,
    system_types,
)
from gradwire_engine.ops.rules import stacked
from gradwire_engine.types import TensorType
from gradwire_engine.value import Value
from gradwire_engine.vocabulary import matmul, matrix_transpose, on_diagonal, solve, triangular_solve, where

_SUBSTITUTED = 32
"""Triangular systems of this size are handed to LAPACK; larger ones are cut in two."""


# cholesky


def _cholesky_jvp(attributes: Any, operands: Sequence[Value], results: Sequence[Value], tangents: Tangents) -> Tangents:
    (factor,), (t,) = results, tangents
    if t is None:
        return [None]
    left = triangular_solve(factor, symmetrised(t.value))
    inner = triangular_solve(factor, matrix_transpose(left))
    lower = where(below(inner.shape, inner), inner, 0.0)
    halved = where(on_diagonal(inner), lower * 0.5, lower)
    return [Masked(matmul(factor, halved))]


# triangular_solve


def _triangle(attributes: TriangularSolve, a: Array) -> Array:
    """The matrices that are solved with, as upper triangular ones: rows and columns reversed where they are lower."""
    whole = (
        np.tril(a, -1 if attributes.unit_diagonal else 0)
        if attributes.lower
        else np.triu(a, 1 if attributes.unit_diagonal else 0)
    )
    if attributes.unit_diagonal:
        whole += np.eye(a.shape[-1], dtype=a.dtype)
    if attributes.transposed:
        whole = np.swapaxes(whole, -1, -2)
    return whole if attributes.lower is attributes.transposed else whole[..., ::-1, ::-1]


def _substitute(upper: Array, b: Array) -> Array:
    """Back substitution by blocks. LAPACK's elimination finds nothing to eliminate, and exchanges no rows."""
    n = upper.shape[-1]
    if n <= _SUBSTITUTED:
        return np.asarray(by_matrix(np.linalg.solve, upper, b))
    half = n // 2
    last = _substitute(upper[..., half:, half:], b[..., half:, :])
    rest = b[..., :half, :] - np.matmul(upper[..., :half, half:], last)
    return np.concatenate([_substitute(upper[..., :half, :half], rest), last], axis=-2)


def _triangular_solve(attributes: TriangularSolve, a: Array, b: Array) -> Any:
    def solved(a: Array, b: Array) -> Array:
        upper = _triangle(attributes, a)
        bad = ~np.isfinite(upper).all(axis=(-2, -1)) | (np.diagonal(upper, axis1=-2, axis2=-1) == 0).any(axis=-1)
        if attributes.lower is attributes.transposed:
            found = _substitute(upper, b)
        else:
            found = _substitute(upper, b[..., ::-1, :])[..., ::-1, :]
        if bad.any():
            found[np.asarray(bad)] = np.nan
        return found

    return once_where_repeated(solved, a, b)


def _triangular_solve_transpose(
    attributes: TriangularSolve, cotangent: Masked, operands: Sequence[Value | None], types: Sequence[TensorType]
) -> Tangents:
    a = operands[0]
    assert a is not None
    return [None, Masked(a.emit("triangular_solve", cotangent.value, attributes=attributes.turned()))]


def _triangular_solve_tangent(attributes: TriangularSolve, operands: Sequence[Value], tangents: Tangents) -> Masked:
    a, b = operands
    moving = None
    if tangents[0] is not None:
        moving = tangents[0].value
        offset = int(attributes.unit_diagonal)
        if attributes.lower:
            moving = where(below(a.shape, a, offset), moving, 0.0)
        else:
            moving = where(~below(a.shape, a, 1 - offset), moving, 0.0)
        if attributes.transposed:
            moving = matrix_transpose(moving)
    solution = a.emit("triangular_solve", b, attributes=attributes)
    right = _right_hand_side(moving, solution, tangents[1])
    return Masked(a.emit("triangular_solve", right, attributes=attributes))


def _right_hand_side(moving: Value | None, solution: Value, tangent: Masked | None) -> Value:
    """Ḃ - Ȧ X, either of which may be absent."""
    if moving is None:
        assert tangent is not None
        return tangent.value
    product = matmul(moving, solution)
    return -product if tangent is None else tangent.value - product


# solve


def _solve_transpose(
    attributes: Any, cotangent: Masked, operands: Sequence[Value | None], types: Sequence[TensorType]
) -> Tangents:
    a = operands[0]
    assert a is not None
    return [None, Masked(solve(matrix_transpose(a), cotangent.value))]


def _solve_tangent(attributes: Any, operands: Sequence[Value], tangents: Tangents) -> Masked:
    a, b = operands
    moving = None if tangents[0] is None else tangents[0].value
    return Masked(solve(a, _right_hand_side(moving, solve(a, b), tangents[1])))


_SYSTEMS = (
    ((3, 3), (3, 2)),
    ((1, 1), (1, 1)),
    ((2, 2, 2), (2, 2, 1)),
    ((2, 1, 2, 2), (2, 1, 2, 3)),
    ((0, 0), (0, 2)),
    ((2, 2), (2, 0)),
    ((0, 2, 2), (0, 2, 1)),
)

_DOMAINS = (Domain(-0.5, 0.5, ramp=2.0), Domain())

OPS: tuple[Op, ...] = (
    Op(
        name="cholesky",
        arity=1,
        types=square_types,
        evaluate=lambda _, a: by_matrix(np.linalg.cholesky, symmetric_part(a)),
        derivative=Jvp(_cholesky_jvp),
        batch=stacked("cholesky"),
        flops=flops(lambda n: n[0] ** 3 / 3 + n[0] ** 2),
        scratch=2.0,
        tests=TestData(
            domains=_DOMAINS[:1],
            cases=tuple(Case((shape,)) for shape in ((3, 3), (1, 1), (2, 2, 2), (2, 1, 2, 2), (0, 0), (0, 2, 2))),
            ulps=8.0,
            dtypes="f",
        ),
    ),
    Op(
        name="triangular_solve",
        arity=2,
        types=system_types,
        evaluate=_triangular_solve,
        derivative=Linear((1,), _triangular_solve_transpose, tangent=_triangular_solve_tangent),
        batch=stacked("triangular_solve"),
        attributes=TriangularSolve,
        flops=flops(lambda n: n[0] ** 2 * (n[3] + 2 * _SUBSTITUTED)),
        scratch=4.0,
        tests=TestData(
            domains=_DOMAINS,
            cases=(
                *(Case(shapes, TriangularSolve()) for shapes in _SYSTEMS),
                Case(_SYSTEMS[0], TriangularSolve(lower=False)),
                Case(_SYSTEMS[0], TriangularSolve(transposed=True)),
                Case(_SYSTEMS[0], TriangularSolve(lower=False, transposed=True)),
                Case(_SYSTEMS[0], TriangularSolve(unit_diagonal=True)),
                Case(_SYSTEMS[2], TriangularSolve(lower=False, transposed=True, unit_diagonal=True)),
            ),
            ulps=8.0,
            dtypes="f",
        ),
    ),
    Op(
        name="solve",
        arity=2,
        types=system_types,
        evaluate=lambda _, a, b: once_where_repeated(lambda a, b: by_matrix(np.linalg.solve, a, b), a, b),
        derivative=Linear((1,), _solve_transpose, tangent=_solve_tangent),
        batch=stacked("solve"),
        flops=flops(lambda n: n[0] ** 3 * 2 / 3 + 2 * n[0] ** 2 * n[3]),
        scratch=2.0,
        tests=TestData(domains=_DOMAINS, cases=tuple(Case(shapes, NONE) for shapes in _SYSTEMS), ulps=8.0, dtypes="f"),
    ),
)
