"""Arithmetic of tangents and cotangents that remembers structural zeros.

A `Masked` is a tangent and a mask that is false where the tangent is known to be zero because the program left that
element out. The one rule that gives masks their meaning is `product`: it is zero where a factor is known to be zero,
whatever the other one is. So a branch that `where` did not take, an element that `max` did not select, contributes
nothing, not even 0 * inf = nan; a zero that arithmetic produced stays an ordinary number.

The masks of the two factors stay apart, in the op ``masked_multiply`` too: the derivative by a factor must drop that
factor's mask (a seed that is zero now may vary) and keep the other's.
"""

from __future__ import annotations

from collections.abc import Sequence

from gradwire_engine.op import Masked
from gradwire_engine.types import DType, TensorType
from gradwire_engine.value import Builder, Value
from gradwire_engine.vocabulary import (
    any_over,
    broadcast_to,
    expand_dims,
    masked_multiply,
    sum_over,
    true,
    where,
    zeros,
)


def product(first: Masked, second: Masked) -> Masked:
    """first * second, zero where either is known to be."""
    mask = both(first.mask, second.mask)
    if mask is None:
        return Masked(first.value * second.value)
    return Masked(masked_multiply(first.value, second.value, mask_or_true(first), mask_or_true(second)), mask)


def scale(factor: Value, tangent: Masked) -> Masked:
    """factor * tangent, zero where the tangent is known to be."""
    return product(Masked(factor), tangent)


def select(condition: Value, tangent: Masked) -> Masked:
    """The tangent where the condition holds; elsewhere known to be zero."""
    return Masked(where(condition, tangent.value, 0.0), both(condition, tangent.mask))


def add(first: Masked | None, second: Masked | None) -> Masked | None:
    """The sum; active where either is."""
    if first is None or second is None:
        return first or second
    return Masked(first.value + second.value, either(first.mask, second.mask))


def add_all(tangents: Sequence[Masked | None]) -> Masked | None:
    """The sum of several, in order."""
    total: Masked | None = None
    for tangent in tangents:
        total = add(total, tangent)
    return total


def negate(tangent: Masked) -> Masked:
    """-tangent."""
    return Masked(-tangent.value, tangent.mask)


def sum_tangent(tangent: Masked, axes: Sequence[int]) -> Masked:
    """The sum over axes; active where any of its terms is."""
    mask = None if tangent.mask is None else any_over(tangent.mask, axes)
    return Masked(sum_over(tangent.value, axes), mask)


def spread_tangent(tangent: Masked, axes: Sequence[int], shape: tuple[int, ...]) -> Masked:
    """The transpose of `sum_tangent`: repeated along the axes that a reduction removed."""

    def spread(x: Value) -> Value:
        return broadcast_to(expand_dims(x, axes), shape)

    return Masked(spread(tangent.value), None if tangent.mask is None else spread(tangent.mask))


def both(first: Value | None, second: Value | None) -> Value | None:
    """Mask of what is active in both; None is active everywhere."""
    if first is None or second is None:
        return first if second is None else second
    return first & second


def either(first: Value | None, second: Value | None) -> Value | None:
    """Mask of what is active in either; None is active everywhere."""
    if first is None or second is None:
        return None
    return first if first is second else first | second


def mask_or_true(tangent: Masked) -> Value:
    """The mask as a value, a constant true where nothing is known to be zero."""
    if tangent.mask is not None:
        return tangent.mask
    return true(tangent.value.builder, tangent.value.shape)


def value_or_zero(tangent: Masked | None, builder: Builder, type: TensorType) -> Value:
    """The tangent as an array: zeros where there is none."""
    return zeros(builder, type) if tangent is None else tangent.value


def mask_of(tangent: Masked | None, builder: Builder, type: TensorType) -> Value:
    """The mask as an array: true where nothing is known to be zero, false where there is no tangent."""
    return zeros(builder, type.with_dtype(DType.BOOL)) if tangent is None else mask_or_true(tangent)
