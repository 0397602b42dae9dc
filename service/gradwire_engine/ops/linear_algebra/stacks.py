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
    """Square matrices and right-hand sides to solutions. There may be more axes before the right-hand sides."""
    a, b = operands
    require_square(a)
    require_matrices(b)
    more = b.rank - a.rank
    if more < 0 or a.dtype is not b.dtype or a.shape[:-1] != b.shape[more:-1]:
        raise GraphError(f"got {describe(operands)}, expected (…, n, n) and (…, …, n, k) of one element type")
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


def by_columns(function: Callable[[Array, Array], Array], a: Array, b: Array) -> Array:
    """`function` of matrices and right-hand sides; what a matrix meets of the axes that it lacks are more columns."""
    more = b.ndim - a.ndim
    if not more:
        return function(a, b)
    stack, (n, columns) = a.shape[:-2], b.shape[-2:]
    place = len(stack) + 1
    turned = np.moveaxis(b, range(more), range(place, place + more))
    found = function(a, turned.reshape(*stack, n, math.prod(b.shape[:more]) * columns))
    return np.moveaxis(found.reshape(*stack, n, *b.shape[:more], columns), range(place, place + more), range(more))


def symmetric_part(a: Array) -> Array:
    """(a + aᵀ) / 2, exactly a where a is symmetric."""
    return np.asarray(a + a.dtype.type(0.5) * (np.swapaxes(a, -1, -2) - a))


# Cost


def flops(count: Callable[[tuple[int, ...]], float]) -> Callable[..., tuple[int, int]]:
    """The operations of a stack, from those of one matrix: a function of the last two lengths of each operand."""

    def rule(attributes: Any, operands: Sequence[TensorType], results: Sequence[TensorType]) -> tuple[int, int]:
        return _for_each(operands[0], count(tuple(n for type in operands for n in type.shape[-2:])))

    return rule


def system_flops(factor: Callable[[int], float], column: Callable[[int], float]) -> Callable[..., tuple[int, int]]:
    """The operations of solutions: for each matrix of n rows, and for each column of a right-hand side."""

    def rule(attributes: Any, operands: Sequence[TensorType], results: Sequence[TensorType]) -> tuple[int, int]:
        a, b = operands
        n, columns = b.shape[-2:]
        parts = (_for_each(a, factor(n)), _for_each(b, column(n) * columns))
        return parts[0][0] + parts[1][0], parts[0][1] + parts[1][1]

    return rule


def _for_each(stack: TensorType, work: float) -> tuple[int, int]:
    """Work for each matrix of a stack, as (constant, per row)."""
    amount = math.ceil(work) * stack.with_shape(stack.shape[:-2]).elements
    return (0, amount) if stack.is_batched else (amount, 0)


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
