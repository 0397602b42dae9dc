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

from gradwire_engine.attributes import NONE, Attributes, TriangularSolve
from gradwire_engine.op import Array, Case, Domain, Jvp, Linear, Masked, Op, Tangents, TestData
from gradwire_engine.ops.linear_algebra.stacks import (
    below,
    by_columns,
    by_matrix,
    flops,
    square_types,
    symmetric_part,
    symmetrised,
    system_flops,
    system_types,
)
from gradwire_engine.ops.rules import BatchRule, stacked, with_axis
from gradwire_engine.types import TensorType
from gradwire_engine.value import Value
from gradwire_engine.vocabulary import (
    broadcast_to,
    matmul,
    matrix_transpose,
    on_diagonal,
    permute_dims,
    reshape,
    size_of,
    solve,
    triangular_solve,
    where,
)

_ELIMINATED = 32
"""Triangular systems of this size are solved by elimination, a stack at once; larger ones one by one, as triangles."""


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
    """The matrices that are solved with, not transposed yet."""
    without = int(attributes.unit_diagonal)
    triangle = np.tril(a, -without) if attributes.lower else np.triu(a, without)
    if attributes.unit_diagonal:
        triangle += np.eye(a.shape[-1], dtype=a.dtype)
    return triangle


def _eliminated(attributes: TriangularSolve, triangle: Array, b: Array) -> Array:
    """As upper triangles: elimination finds nothing to eliminate there, and exchanges no rows."""
    matrix = np.swapaxes(triangle, -1, -2) if attributes.transposed else triangle
    if attributes.lower is attributes.transposed:
        return np.asarray(by_matrix(np.linalg.solve, matrix, b))
    return np.asarray(by_matrix(np.linalg.solve, matrix[..., ::-1, ::-1], b[..., ::-1, :])[..., ::-1, :])


def _substituted(attributes: TriangularSolve, triangle: Array, b: Array) -> Array:
    from scipy.linalg.lapack import dtrtrs, strtrs

    solve = dtrtrs if triangle.dtype == np.float64 else strtrs
    found = np.empty(b.shape, dtype=b.dtype)
    for place in np.ndindex(*triangle.shape[:-2]):
        # the transpose of a matrix in rows is one in columns, as LAPACK wants it
        turned = triangle[place].T
        found[place] = solve(turned, b[place], lower=not attributes.lower, trans=not attributes.transposed)[0]
    return found


def _triangular_solve(attributes: TriangularSolve, a: Array, b: Array) -> Any:
    def solved(a: Array, b: Array) -> Array:
        triangle = _triangle(attributes, a)
        singular = (np.diagonal(triangle, axis1=-2, axis2=-1) == 0).any(axis=-1)
        bad = np.asarray(singular | ~np.isfinite(triangle).all(axis=(-2, -1)))
        found = (_eliminated if a.shape[-1] <= _ELIMINATED else _substituted)(attributes, triangle, b)
        if bad.any():
            found[bad] = np.nan
        return found

    return by_columns(solved, a, b)


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
    n = moving.shape[-1]
    product = matmul(broadcast_to(moving, (*solution.shape[:-2], n, n)), solution)
    return -product if tangent is None else tangent.value - product


def _system_batch(name: str) -> BatchRule:
    """A matrix that is the same for all rows stays one."""

    def rule(
        attributes: Attributes, operands: Sequence[Value], batched: Sequence[bool], size: int
    ) -> tuple[Value, ...]:
        a, b = operands
        if not batched[0]:
            return a.builder.emit_all(name, operands, attributes)
        b = with_axis(b, batched[1], size)
        more = len(b.shape) - len(a.shape)
        if not more:
            return a.builder.emit_all(name, (a, b), attributes)
        # The axes that the matrices lack become columns: they would have to come before the rows.
        last = len(b.shape) - 1
        order = (0, *range(1 + more, last), *range(1, 1 + more), last)
        turned = permute_dims(b, order)
        columns = reshape(turned, (*turned.shape[: last - more], size_of(turned.shape[last - more :])))
        found = reshape(a.emit(name, columns, attributes=attributes), turned.shape)
        return (permute_dims(found, [order.index(axis) for axis in range(last + 1)]),)

    return rule


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
    ((2, 2), (3, 2, 1)),
    ((2, 2, 2), (3, 1, 2, 2, 2)),
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
        batch=_system_batch("triangular_solve"),
        attributes=TriangularSolve,
        flops=system_flops(lambda n: n * n * min(n, _ELIMINATED), lambda n: n * n),
        library="scipy",
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
        evaluate=lambda _, a, b: by_columns(lambda a, b: by_matrix(np.linalg.solve, a, b), a, b),
        derivative=Linear((1,), _solve_transpose, tangent=_solve_tangent),
        batch=_system_batch("solve"),
        flops=system_flops(lambda n: n**3 * 2 / 3, lambda n: 2 * n * n),
        scratch=2.0,
        tests=TestData(domains=_DOMAINS, cases=tuple(Case(shapes, NONE) for shapes in _SYSTEMS), ulps=8.0, dtypes="f"),
    ),
)
