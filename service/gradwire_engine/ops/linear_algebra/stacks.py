"""What the ops on stacks of matrices share: types, evaluation matrix by matrix, counts of operations, patterns."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradwire_engine.errors import GraphError
from gradwire_engine.op import Array
from gradwire_engine.ops.rules import describe, require_floating
from gradwire_engine.types import ROWS, DType, TensorType
from gradwire_engine.value import Value
from gradwire_engine.vocabulary import broadcast_to, iota, matrix_transpose, on_diagonal, sum_over, where

# Types


def require_matrices(type: TensorType) -> TensorType:
    """The type itself, or GraphError if it is not a stack of floating-point matrices."""
    require_floating(type)
    if type.rank < 2 or ROWS in type.shape[-2:]:
        raise GraphError(f"got {type}, expected matrices in the last two axes")
    return type


def require_square(type: TensorType) -> TensorType:
    """The type itself, or GraphError if it is not a stack of square matrices."""
    require_matrices(type)
    if type.shape[-1] != type.shape[-2]:
        raise GraphError(f"got {type}, expected square matrices in the last two axes")
    return type


def square_types(attributes: Any, operands: Sequence[TensorType]) -> tuple[TensorType, ...]:
    """Square matrices to matrices of the same shape."""
    return (require_square(operands[0]),)


def system_types(attributes: Any, operands: Sequence[TensorType]) -> tuple[TensorType, ...]:
    """Square matrices and right-hand sides to solutions."""
    a, b = operands
    require_square(a)
    require_matrices(b)
    if a.dtype is not b.dtype or a.shape[:-1] != b.shape[:-1]:
        raise GraphError(f"got {describe(operands)}, expected (…, n, n) and (…, n, k) of one element type")
    return (b,)


# Evaluation


def by_matrix(function: Callable[..., Any], a: Array, *others: Array) -> Any:
    """`function` of stacks of matrices, from numpy.linalg; NaN for each matrix of `a` that has no finite result.

    The matrices that are not finite are never shown to LAPACK, which may not return from them.
    """
    bad = np.asarray(~np.isfinite(a).all(axis=(-2, -1)))
    if not bad.any():
        try:
            return function(a, *others)
        except np.linalg.LinAlgError:
            pass
    harmless = np.eye(*a.shape[-2:], dtype=a.dtype)
    a = np.where(bad[..., None, None], harmless, a)
    for place in np.ndindex(*bad.shape):
        try:
            function(a[place], *[other[place] for other in others])
        except np.linalg.LinAlgError:
            bad[place] = True
    found = function(np.where(bad[..., None, None], harmless, a), *others)
    results = found if isinstance(found, tuple) else (found,)
    for result in results:
        result[bad] = np.nan
    return found


def once_where_repeated(function: Callable[[Array, Array], Array], a: Array, b: Array) -> Array:
    """`function` of matrices and right-hand sides; a matrix repeated for all rows meets all their columns at once."""
    stack = a.shape[:-2]
    if math.prod(stack) < 2 or any(a.strides[:-2]):
        return function(a, b)
    n, columns = b.shape[-2:]
    wide = np.moveaxis(b, -2, 0).reshape(n, math.prod(stack) * columns)
    found = function(a[(0,) * len(stack)], wide)
    return np.moveaxis(found.reshape(n, *stack, columns), 0, -2)


def symmetric_part(a: Array) -> Array:
    """(a + aᵀ) / 2, exactly a where a is symmetric."""
    return np.asarray(a + a.dtype.type(0.5) * (np.swapaxes(a, -1, -2) - a))


# Cost


def flops(count: Callable[[tuple[int, ...]], float]) -> Callable[..., tuple[int, int]]:
    """The operations of a stack, from those of one matrix: a function of the lengths of the last axes.

    The lengths are the last two of each operand.
    """

    def rule(attributes: Any, operands: Sequence[TensorType], results: Sequence[TensorType]) -> tuple[int, int]:
        stack = operands[0].with_shape(operands[0].shape[:-2])
        work = math.ceil(count(tuple(n for type in operands for n in type.shape[-2:]))) * stack.elements
        return (0, work) if stack.is_batched else (work, 0)

    return rule


# Patterns


def below(shape: tuple[int, ...], like: Value, offset: int = 0) -> Value:
    """True where the row is at least the column + `offset`: the lower triangle, or without its diagonal (1)."""
    rows, columns = (iota(like.builder, DType.INT64, shape[-2:], axis) for axis in (0, 1))
    return broadcast_to(rows >= columns + offset, shape)


def diagonal(x: Value) -> Value:
    """The diagonals of square matrices."""
    return sum_over(where(on_diagonal(x), x, 0.0), (len(x.shape) - 1,))


def symmetrised(x: Value) -> Value:
    """(x + xᵀ) / 2."""
    return (x + matrix_transpose(x)) * 0.5
