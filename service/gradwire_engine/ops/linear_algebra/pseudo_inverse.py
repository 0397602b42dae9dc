"""pinv, the inverse on what a matrix reaches: also of matrices that are not square, or not regular.

Where the rank does not change, with P = pinv(A):

    Ṗ = -P Ȧ P + P Pᵀ Ȧᵀ (I - A P) + (I - P A) Ȧᵀ Pᵀ P

No single singular value occurs in it, so repeated ones are no exception.

Source: Golub and Pereyra, "The differentiation of pseudo-inverses", SIAM J. Numer. Anal. 10 (1973), theorem 4.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradwire_engine.errors import GraphError
from gradwire_engine.op import Array, Case, Domain, Jvp, Masked, Op, Tangents, TestData
from gradwire_engine.ops.linear_algebra.stacks import by_matrix, flops, require_matrices
from gradwire_engine.ops.rules import describe, stacked
from gradwire_engine.types import TensorType
from gradwire_engine.value import Value
from gradwire_engine.vocabulary import matmul, matrix_transpose


def _types(attributes: Any, operands: Sequence[TensorType]) -> tuple[TensorType, ...]:
    a, tolerance = operands
    *stack, m, n = require_matrices(a).shape
    if tolerance != a.with_shape(tuple(stack)):
        raise GraphError(f"got {describe(operands)}, expected matrices, and a tolerance for each of them")
    return (a.with_shape((*stack, n, m)),)


def _pseudo_inverse(a: Array, tolerance: Array) -> Array:
    u, s, vh = np.linalg.svd(a, full_matrices=False)
    kept = s > np.expand_dims(tolerance, -1) * np.max(s, axis=-1, keepdims=True, initial=0)
    inverse = np.divide(1, s, where=kept, out=np.zeros_like(s))
    return np.asarray(np.matmul(np.swapaxes(vh, -1, -2), inverse[..., None] * np.swapaxes(u, -1, -2)))


def _jvp(attributes: Any, operands: Sequence[Value], results: Sequence[Value], tangents: Tangents) -> Tangents:
    a, p, t = operands[0], results[0], tangents[0]
    if t is None:
        return [None]
    moved, turned, mirrored = t.value, matrix_transpose(t.value), matrix_transpose(p)
    missed = matmul(matmul(p, mirrored), turned)
    unseen = matmul(turned, matmul(mirrored, p))
    return [
        Masked(
            (missed - matmul(matmul(missed, a), p))
            + (unseen - matmul(p, matmul(a, unseen)))
            - matmul(p, matmul(moved, p))
        )
    ]


_SHAPES = ((3, 3), (4, 2), (2, 3), (1, 1), (2, 3, 2), (2, 1, 2, 2), (0, 0), (2, 0), (0, 3), (0, 2, 2))

OPS: tuple[Op, ...] = (
    Op(
        name="pinv",
        arity=2,
        types=_types,
        evaluate=lambda _, a, tolerance: by_matrix(_pseudo_inverse, a, tolerance),
        derivative=Jvp(_jvp),
        batch=stacked("pinv"),
        flops=flops(lambda n: 25 * n[0] * n[1] * min(n[:2])),
        scratch=4.0,
        tests=TestData(
            domains=(Domain(-0.5, 0.5, ramp=2.0), Domain(0.0, 0.01)),
            cases=tuple(Case((shape, shape[:-2])) for shape in _SHAPES),
            ulps=16.0,
            dtypes="f",
        ),
    ),
)
