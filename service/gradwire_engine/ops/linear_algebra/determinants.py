"""det and slogdet, and the two derivatives of det.

The gradient of det is the matrix of cofactors, which is there at every matrix, singular ones of any rank included; so
is its own derivative. Both are computed without dividing, from a singular value decomposition A = U S Vᵀ, by products
of the singular values with one or two of them left out. With M = Uᵀ X V, and d the determinant of U V, ±1:

    cofactors(A)          = d U Γ Vᵀ,     Γᵢᵢ = Π sₖ, k ≠ i
    cofactors_along(A, X) = d U Ψ Vᵀ,     Ψᵢⱼ = -Mⱼᵢ Pᵢⱼ,  Ψᵢᵢ = Σ Pᵢⱼ Mⱼⱼ, j ≠ i,   Pᵢⱼ = Π sₖ, k ≠ i, j

The third derivative of det is written with the inverse: it is NaN at singular matrices of three rows or more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradwire_engine.errors import GraphError
from gradwire_engine.op import Array, Case, Domain, Jvp, Linear, Masked, Op, Tangents, TestData
from gradwire_engine.ops.linear_algebra.stacks import (
    by_matrix,
    diagonal,
    flops,
    require_square,
    square_types,
)
from gradwire_engine.ops.rules import describe, stacked
from gradwire_engine.tangents import add, scale, sum_tangent
from gradwire_engine.types import TensorType
from gradwire_engine.value import Value
from gradwire_engine.vocabulary import identity, matmul, matrix_transpose, solve, spread, sum_over

_SHAPES = ((3, 3), (1, 1), (2, 2), (2, 4, 4), (2, 1, 2, 2), (0, 0), (0, 2, 2))
_CASES = tuple(Case((shape,)) for shape in _SHAPES)


def _matrix_axes(x: Value) -> tuple[int, int]:
    return len(x.shape) - 2, len(x.shape) - 1


def _types(results: int) -> Any:
    def types(attributes: Any, operands: Sequence[TensorType]) -> tuple[TensorType, ...]:
        a = require_square(operands[0])
        return (a.with_shape(a.shape[:-2]),) * results

    return types


# det


def _det_jvp(attributes: Any, operands: Sequence[Value], results: Sequence[Value], tangents: Tangents) -> Tangents:
    (a,), (t,) = operands, tangents
    return [None if t is None else sum_tangent(scale(a.emit("cofactors"), t), _matrix_axes(a))]


def _decomposed(a: Array) -> tuple[Array, Array, Array, Array]:
    """U, the singular values, Vᵀ, and the determinant of U V as matrices of one element."""
    u, s, vh = np.linalg.svd(a)
    sign = np.rint(np.linalg.det(np.matmul(u, vh)))
    return u, s, vh, sign[..., None, None]


def _products_before_and_after(s: Array) -> tuple[Array, Array]:
    """For each place, the product of the values before it, and of those after it."""
    before, after = np.ones_like(s), np.ones_like(s)
    np.cumprod(s[..., :-1], axis=-1, out=before[..., 1:])
    after[..., :-1] = np.cumprod(s[..., :0:-1], axis=-1)[..., ::-1]
    return before, after


def _cofactors(a: Array) -> Array:
    u, s, vh, sign = _decomposed(a)
    before, after = _products_before_and_after(s)
    return np.asarray(np.matmul(sign * u * (before * after)[..., None, :], vh))


def _cofactors_along(a: Array, x: Array) -> Array:
    u, s, vh, sign = _decomposed(a)
    moved = np.matmul(np.matmul(np.swapaxes(u, -1, -2), x), np.swapaxes(vh, -1, -2))
    products = _products_without_two(s)
    inner = -np.swapaxes(moved, -1, -2) * products
    places = np.arange(s.shape[-1])
    on_diagonal = np.diagonal(moved, axis1=-2, axis2=-1)
    inner[..., places, places] = np.matmul(products, on_diagonal[..., None])[..., 0]
    return np.asarray(sign * np.matmul(np.matmul(u, inner), vh))


def _products_without_two(s: Array) -> Array:
    """Pᵢⱼ, the product of all values but the i-th and the j-th; 0 on the diagonal."""
    before, after = _products_before_and_after(s)
    n = s.shape[-1]
    found = np.zeros((*s.shape, n), dtype=s.dtype)
    between = np.ones_like(s)
    for i in range(n - 1):
        between[..., i + 1] = 1.0
        np.cumprod(s[..., i + 1 : n - 1], axis=-1, out=between[..., i + 2 :])
        found[..., i, i + 1 :] = before[..., i : i + 1] * between[..., i + 1 :] * after[..., i + 1 :]
    return found + np.swapaxes(found, -1, -2)


def _cofactors_jvp(
    attributes: Any, operands: Sequence[Value], results: Sequence[Value], tangents: Tangents
) -> Tangents:
    (a,), (t,) = operands, tangents
    return [None if t is None else Masked(a.emit("cofactors_along", t.value))]


def _along_types(attributes: Any, operands: Sequence[TensorType]) -> tuple[TensorType, ...]:
    if operands[0] != operands[1]:
        raise GraphError(f"got {describe(operands)}, expected square matrices of one type")
    return (require_square(operands[0]),)


def _along_tangent(attributes: Any, operands: Sequence[Value], tangents: Tangents) -> Masked | None:
    a, x = operands
    moving, direction = tangents
    found = None if direction is None else Masked(a.emit("cofactors_along", direction.value))
    if moving is None or a.shape[-1] <= 2:  # cofactors of two rows are linear in the matrix
        return found
    return add(found, Masked(_third(a, x, moving.value)))


def _third(a: Value, x: Value, y: Value) -> Value:
    """The derivative of cofactors(a) along x and y, at regular matrices."""
    axes = _matrix_axes(a)
    p, q = solve(a, x), solve(a, y)

    def trace(m: Value) -> Value:
        return sum_over(diagonal(m), (len(m.shape) - 2,))

    def scaled(m: Value, factor: Value) -> Value:
        return m * spread(factor, axes, m.shape)

    pq = matmul(p, q)
    inner = scaled(identity(a), trace(p) * trace(q) - trace(pq))
    inner = inner - scaled(q, trace(p)) - scaled(p, trace(q)) + pq + matmul(q, p)
    whole = solve(matrix_transpose(a), matrix_transpose(inner))
    return scaled(whole, a.emit("det"))


def _along_transpose(
    attributes: Any, cotangent: Masked, operands: Sequence[Value | None], types: Sequence[TensorType]
) -> Tangents:
    """Itself: it is a second derivative, and symmetric."""
    a = operands[0]
    assert a is not None
    return [None, Masked(a.emit("cofactors_along", cotangent.value))]


# slogdet


def _slogdet_jvp(attributes: Any, operands: Sequence[Value], results: Sequence[Value], tangents: Tangents) -> Tangents:
    (a,), (t,) = operands, tangents
    if t is None:
        return [None, None]
    return [None, sum_tangent(scale(solve(matrix_transpose(a), identity(a)), t), _matrix_axes(a))]


_DOMAIN = Domain(-0.5, 0.5, ramp=1.5)

OPS: tuple[Op, ...] = (
    Op(
        name="det",
        arity=1,
        types=_types(1),
        evaluate=lambda _, a: np.linalg.det(a),
        derivative=Jvp(_det_jvp),
        batch=stacked("det"),
        flops=flops(lambda n: n[0] ** 3),
        scratch=2.0,
        tests=TestData(domains=(_DOMAIN,), cases=_CASES, ulps=8.0, dtypes="f"),
    ),
    Op(
        name="cofactors",
        arity=1,
        types=square_types,
        evaluate=lambda _, a: by_matrix(_cofactors, a),
        derivative=Jvp(_cofactors_jvp),
        batch=stacked("cofactors"),
        flops=flops(lambda n: 25 * n[0] ** 3),
        scratch=8.0,
        tests=TestData(domains=(_DOMAIN,), cases=_CASES, ulps=16.0, dtypes="f"),
    ),
    Op(
        name="cofactors_along",
        arity=2,
        types=_along_types,
        evaluate=lambda _, a, x: by_matrix(_cofactors_along, a, x),
        derivative=Linear((1,), _along_transpose, tangent=_along_tangent),
        batch=stacked("cofactors_along"),
        flops=flops(lambda n: 35 * n[0] ** 3),
        scratch=8.0,
        tests=TestData(
            domains=(_DOMAIN, Domain()),
            cases=tuple(Case((shape, shape)) for shape in _SHAPES),
            ulps=16.0,
            dtypes="f",
        ),
    ),
    Op(
        name="slogdet",
        arity=1,
        types=_types(2),
        evaluate=lambda _, a: tuple(np.linalg.slogdet(a)),
        derivative=Jvp(_slogdet_jvp),
        batch=stacked("slogdet"),
        flops=flops(lambda n: n[0] ** 3),
        scratch=2.0,
        tests=TestData(domains=(_DOMAIN,), cases=_CASES, ulps=8.0, dtypes="f"),
    ),
)
