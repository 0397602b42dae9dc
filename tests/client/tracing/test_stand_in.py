"""A value of a trace behaves like an array by asking the library of its trace, whatever that may be."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

import gradwire as gw
from gradwire.tracing.trace import Trace, Tracer
from gradwire_engine.types import DType, TensorType


class Noting:
    """A library that gives back what it was asked."""

    functions: Mapping[Any, Any] = {np.sum: lambda x, axis=None: ("sum", x, axis)}

    def apply_ufunc(self, ufunc: np.ufunc, method: str, inputs: Sequence[Any], options: Mapping[str, Any]) -> Any:
        return (ufunc, method, *inputs)

    def getitem(self, x: Any, index: Any) -> Any:
        return ("getitem", x, index)

    def at(self, x: Any) -> Any:
        return ("at", x)

    def method(self, name: str) -> Callable[..., Any]:
        if name == "nothing":
            raise KeyError(name)
        return lambda *args, **options: (name, *args, options)


@pytest.fixture
def x() -> Tracer:
    return Trace(Noting()).input("x", TensorType(DType.FLOAT64, (2, 3)))


def test_operators_are_ufuncs_with_their_operands_in_order(x: Tracer) -> None:
    assert (x + 1.0)[0] is np.add
    assert (1.0 - x)[2:] == (1.0, x)
    assert (-x)[0] is np.negative
    assert (x**0.5)[0] is np.sqrt
    assert (x**2.0)[0] is np.power
    assert np.exp(x)[:2] == (np.exp, "__call__")
    assert np.add.reduce(x)[1] == "reduce"
    with pytest.raises(TypeError, match="unsupported operand"):
        _ = x + object()


def test_functions_indices_and_methods_are_asked_for_by_name(x: Tracer) -> None:
    assert np.sum(x, axis=1)[::2] == ("sum", 1)
    assert x[0][::2] == ("getitem", 0)
    assert x.at[1] is x
    assert x.T[0] == "transpose"
    assert x.cumsum(axis=1)[::2] == ("cumsum", {"axis": 1})
    assert [row[2] for row in x] == [0, 1]
    with pytest.raises(gw.TracingError, match=r"np\.sort cannot be traced"):
        np.sort(x)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = x.nothing


def test_what_is_known_without_numbers(x: Tracer) -> None:
    assert (x.shape, x.dtype, x.ndim, x.size, x.itemsize, x.nbytes, len(x)) == ((2, 3), np.float64, 2, 6, 8, 48, 2)
    assert repr(x) == f"{x}" == "<traced float64[2,3]>"
    assert copy.copy(x) is copy.deepcopy(x) is x.real is x
    with pytest.raises(TypeError, match="unhashable"):
        hash(x)
