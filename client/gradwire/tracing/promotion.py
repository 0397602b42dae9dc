"""Element types at the boundary and in expressions: numpy's own rules, cut down to the five types that exist.

In expressions Python numbers are weak, as in NumPy 2: they take the type of what they meet. Which loop a ufunc would
run, and with it the type of its result, is asked of numpy itself (`ufunc.resolve_dtypes`), so there is one table and it
is numpy's. At the boundary (arguments of a transformed function) nothing is converted: float is float64, int is int64.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import numpy as np

from gradwire.errors import TracingError
from gradwire.tracing.locations import at_user_line
from gradwire_engine.types import DType

Dtype = np.dtype[Any]
Weak = type[int] | type[float]
"""The place of a dtype, for a Python number."""

_SUPPORTED: Final[Mapping[Dtype, DType]] = {dtype.numpy: dtype for dtype in DType}
_CAST_FOR_KIND: Final = {
    "f": "np.float64",
    "i": "np.int64",
    "u": "np.int64",
    "c": "np.float64",
    "b": "np.int64",
}


def supported(dtype: Dtype, what: str) -> DType:
    """The engine's type for a numpy dtype of either byte order; TracingError, naming the cast, for any other."""
    ours = _SUPPORTED.get(dtype)
    if ours is None:
        ours = _SUPPORTED.get(dtype.newbyteorder("="))
    if ours is None:
        raise TracingError(at_user_line(f"{what} has dtype {dtype}; {_advice(dtype)}"))
    return ours


def is_supported(dtype: Dtype) -> bool:
    """Whether the engine has a type for a numpy dtype, in either byte order."""
    return dtype.newbyteorder("=") in _SUPPORTED


def _advice(dtype: Dtype) -> str:
    cast = _CAST_FOR_KIND.get(dtype.kind)
    names = "bool, int32, int64, float32 and float64 are supported"
    if dtype.kind == "c":
        return f"{names}; pass real and imaginary parts as two arrays (x.real, x.imag)"
    return f"{names}; convert with .astype({cast})" if cast else f"{names}; pass numbers only"


@lru_cache(maxsize=4096)
def loop_types(ufunc: np.ufunc, operands: tuple[Dtype | Weak, ...]) -> tuple[Dtype, ...]:
    """The dtypes in which numpy would run `ufunc`: of its operands, then of its results.

    TracingError where numpy has no loop, or one in a type that is not supported.
    """
    try:
        types = ufunc.resolve_dtypes((*operands, *[None] * ufunc.nout))
    except TypeError as error:
        names = ", ".join(_name(operand) for operand in operands)
        raise TracingError(at_user_line(f"np.{ufunc.__name__} is not defined for ({names}): {error}")) from None
    for dtype in types:
        if dtype not in _SUPPORTED:
            names = ", ".join(_name(operand) for operand in operands)
            cast = "convert with .astype(np.float64) first" if dtype.kind in "fc" else "convert with .astype(np.int64)"
            raise TracingError(
                at_user_line(f"np.{ufunc.__name__} of ({names}) computes in {dtype}, which is not supported; {cast}")
            )
    return types


def common_type(operands: Sequence[Dtype | Weak], what: str) -> Dtype:
    """The dtype that numpy gives several operands together (`np.result_type`), Python numbers being weak."""
    return _common_type(tuple(operands), what)


@lru_cache(maxsize=4096)
def _common_type(operands: tuple[Dtype | Weak, ...], what: str) -> Dtype:
    example: list[Any] = [operand(0) if isinstance(operand, type) else operand for operand in operands]
    dtype: Dtype = np.result_type(*example)
    supported(dtype, f"the result of {what}")
    return dtype


def as_type(number: Any, dtype: Dtype) -> np.ndarray[Any, Dtype]:
    """A Python number as a 0-d array of a dtype; OverflowError, as numpy has it, where an integer does not fit."""
    if dtype.kind == "b":
        return np.asarray(bool(number))
    return np.asarray(number, dtype=dtype)


def _name(operand: Dtype | Weak) -> str:
    return operand.__name__ if isinstance(operand, type) else str(operand)
