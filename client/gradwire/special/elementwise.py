"""Element-wise functions by their names in scipy.special, made from their records in `numpy_functions`.

On traced values they are operations of the service. Plain numbers and arrays are given to scipy where that is
installed; where it is not, to numpy and the standard library as far as these go.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

import numpy as np

from gradwire.errors import GradwireError
from gradwire.numpy_functions.operands import (
    Array,
    broadcast,
    broadcast_shapes,
    dtype_of,
    emit,
    floating,
    in_floating_point,
    integer,
    promoted,
    wrong,
)
from gradwire.numpy_functions.special_functions import SPECIAL_FUNCTIONS, SpecialFunction
from gradwire.tracing.promotion import common_type
from gradwire.tracing.trace import Tracer
from gradwire_engine.attributes import Order
from gradwire_engine.ops.special import MAX_ORDER

__all__ = ["multigammaln", "polygamma"]

_PACKAGE: Final = __name__.rpartition(".")[0]
"""Where the functions of the table are published, and belong."""


def polygamma(n: Any, x: Any) -> Array:
    """The derivative of order n of `digamma`; n is a Python integer, 0 to 100."""
    order = integer(n, "polygamma: n")
    if not 0 <= order <= MAX_ORDER:
        raise wrong(f"polygamma: n is {order}, expected 0 to {MAX_ORDER}")
    if isinstance(x, Tracer):
        return emit(floating(x), "polygamma", attributes=Order(order))
    return _by_scipy("polygamma", (x,), (order,), None)


def multigammaln(a: Any, d: Any) -> Array:
    """The logarithm of the multivariate gamma function of dimension d, a Python integer of at least 1."""
    dimension = integer(d, "multigammaln: d")
    if dimension < 1:
        raise wrong(f"multigammaln: d is {dimension}, expected at least 1")
    gammaln = FUNCTIONS["gammaln"]
    terms = [gammaln(a - 0.5 * j) for j in range(dimension)]
    return sum(terms[1:], terms[0]) + dimension * (dimension - 1) / 4.0 * math.log(math.pi)


def traced(record: SpecialFunction, *operands: Any) -> Array:
    """A function of the table on operands of which at least one is traced."""
    tracers = [floating(operand) for operand in promoted(operands, record.name_in_scipy)]
    shape = broadcast_shapes(*[tracer.shape for tracer in tracers])
    values = [broadcast(tracer, shape)._value for tracer in tracers]
    return tracers[0]._trace.wrap(record.rule(*values))


def by_scipy(record: SpecialFunction, *operands: Any) -> Array:
    """A function of the table on plain operands, by scipy where that is installed."""
    return _by_scipy(record.name_in_scipy, operands, (), record.numbers)


def _by_scipy(
    name: str, operands: tuple[Any, ...], leading: tuple[int, ...], without_scipy: Callable[..., Any] | None
) -> Array:
    """By scipy, in the type that traced operands would have; `leading` are static arguments before the operands."""
    dtype = common_type([dtype_of(operand) for operand in operands], name)
    dtype = dtype if dtype.kind == "f" else np.dtype(np.float64)
    arrays = [np.asarray(operand).astype(dtype) for operand in operands]
    try:
        function = getattr(importlib.import_module("scipy.special"), name)
    except ImportError:
        if without_scipy is None:
            raise GradwireError(
                f"gw.special.{name} of plain numbers needs scipy, which is not installed: "
                "pip install 'gradwire[service]'. Traced values are evaluated by the service",
                reason="SCIPY_MISSING",
            ) from None
        function = without_scipy
    with np.errstate(all="ignore"):
        return np.asarray(function(*leading, *arrays)).astype(dtype)[()]


# The public functions

Function = Callable[..., Array]


def _numbers(record: SpecialFunction) -> Function:
    """The function on plain operands."""
    compute = record.numbers
    if compute is None or not record.needs_no_scipy:
        return partial(by_scipy, record)

    def numbers(x: Any) -> Array:
        array = in_floating_point(x)
        with np.errstate(all="ignore"):
            return np.asarray(compute(array)).astype(array.dtype)[()]

    return numbers


def _of_x(record: SpecialFunction, numbers: Function) -> Function:
    def function(x: Any) -> Array:
        return traced(record, x) if isinstance(x, Tracer) else numbers(x)

    return function


def _of_x_and_y(record: SpecialFunction, numbers: Function) -> Function:
    def function(x: Any, y: Any) -> Array:
        return traced(record, x, y) if isinstance(x, Tracer) or isinstance(y, Tracer) else numbers(x, y)

    return function


def _of_a_and_b(record: SpecialFunction, numbers: Function) -> Function:
    def function(a: Any, b: Any) -> Array:
        return traced(record, a, b) if isinstance(a, Tracer) or isinstance(b, Tracer) else numbers(a, b)

    return function


_BY_OPERANDS: Final[Mapping[tuple[str, ...], Callable[[SpecialFunction, Function], Function]]] = {
    ("x",): _of_x,
    ("x", "y"): _of_x_and_y,
    ("a", "b"): _of_a_and_b,
}
"""How functions are made: each has parameters of its own, so Python itself checks the arguments."""


def _public(record: SpecialFunction) -> Function:
    function = _BY_OPERANDS[record.operands](record, _numbers(record))
    function.__name__ = function.__qualname__ = record.name
    function.__doc__ = record.text
    function.__module__ = _PACKAGE
    return function


def _by_name() -> dict[str, Function]:
    functions = {record.name: _public(record) for record in SPECIAL_FUNCTIONS}
    also = {record.ufunc: functions[record.name] for record in SPECIAL_FUNCTIONS if record.ufunc}
    return functions | also


FUNCTIONS: Final = _by_name()
"""The public functions of the table, by each of their names."""
