"""Ufuncs on traced values: how a rule is found, what it is applied to, and the methods of ufuncs.

A rule is found by the ufunc itself, or by its name for those of scipy.special. Which type a ufunc computes in is
numpy's own answer (`promotion.loop_types`); the rule sees operands in that type, broadcast to one shape.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from gradwire.errors import TracingError
from gradwire.numpy_functions import contractions, running
from gradwire.numpy_functions.elementwise import RULES
from gradwire.numpy_functions.operands import (
    as_dtype,
    broadcast_shapes,
    broadcast_value,
    dtype_of,
    trace_of,
    value_as,
    xp,
)
from gradwire.numpy_functions.special_functions import SPECIAL, Rule
from gradwire.tracing import remedies
from gradwire.tracing.complaints import output_argument, unsupported_argument, unsupported_function
from gradwire.tracing.locations import at_user_line
from gradwire.tracing.promotion import loop_types
from gradwire.tracing.trace import Tracer
from gradwire_engine.value import Value
from gradwire_engine.vocabulary import integer_power

_REDUCTIONS: Final[dict[np.ufunc, str]] = {
    np.add: "sum",
    np.multiply: "prod",
    np.maximum: "max",
    np.minimum: "min",
    np.logical_and: "all",
    np.logical_or: "any",
}


def rule_of(ufunc: np.ufunc) -> Rule:
    """The rule of a ufunc; TracingError where there is none."""
    rule = RULES.get(ufunc)
    if rule is None and getattr(np, ufunc.__name__, None) is not ufunc:
        rule = SPECIAL.get(ufunc.__name__)
    if rule is None:
        raise unsupported_function(ufunc)
    return rule


def apply_ufunc(ufunc: np.ufunc, method: str, inputs: Sequence[Any], options: Mapping[str, Any]) -> Any:
    """A ufunc, or its method reduce, accumulate or outer, on tracers and arrays."""
    if options:
        options = _checked_options(ufunc, options)
    if method == "__call__":
        return _called(ufunc, inputs, options)
    if method == "outer":
        x, y = inputs
        return _called(ufunc, (xp.reshape(x, (*xp.shape(x), *(1,) * xp.ndim(y))), y), options)
    if method == "reduce" and ufunc in _REDUCTIONS:
        arguments = {name: value for name, value in options.items() if value is not np._NoValue}
        axis = inputs[1] if len(inputs) > 1 else arguments.pop("axis", 0)
        return getattr(np, _REDUCTIONS[ufunc])(inputs[0], axis=axis, **arguments)
    if method == "accumulate":
        accumulated = running.accumulate(ufunc, inputs[0], *inputs[1:], **options)
        if accumulated is not None:
            return accumulated
    if method == "at":
        raise TracingError(at_user_line(f"np.{ufunc.__name__}.at: {remedies.IN_PLACE}"))
    raise TracingError(at_user_line(f"np.{ufunc.__name__}.{method} cannot be traced"))


def _checked_options(ufunc: np.ufunc, options: Mapping[str, Any]) -> dict[str, Any]:
    remaining = dict(options)
    out = remaining.pop("out", None)
    if out is not None and (not isinstance(out, tuple) or any(array is not None for array in out)):
        raise output_argument(ufunc.__name__)
    if remaining.pop("where", True) is not True:
        raise unsupported_argument(ufunc.__name__, "where", "write xp.where(mask, result, x)")
    remaining.pop("casting", None)
    remaining.pop("order", None)
    if remaining.pop("subok", True) is not True or "signature" in remaining:
        raise unsupported_argument(ufunc.__name__, "signature")
    return {name: value for name, value in remaining.items() if not (name == "dtype" and value is None)}


def _called(ufunc: np.ufunc, inputs: Sequence[Any], options: Mapping[str, Any]) -> Any:
    if ufunc.signature is not None:
        return contractions.generalized(ufunc, inputs, options)
    rule = rule_of(ufunc)
    if ufunc is np.power and (raised := _integer_power(inputs)) is not None:
        return raised
    trace = trace_of(inputs)
    if options:
        dtype = as_dtype(options["dtype"])
        inputs = [trace.wrap(value_as(trace, x, dtype)) for x in inputs]
    types = loop_types(ufunc, tuple([dtype_of(x) for x in inputs]))
    values = [value_as(trace, x, dtype) for x, dtype in zip(inputs, types, strict=False)]
    shape = values[0].type.shape
    if any([value.type.shape != shape for value in values]):
        shape = broadcast_shapes(*[value.type.shape for value in values])
        values = [broadcast_value(value, shape) for value in values]
    result = rule(*values)
    return trace.wrap(result) if isinstance(result, Value) else tuple([trace.wrap(value) for value in result])


def _integer_power(inputs: Sequence[Any]) -> Tracer | None:
    """x ** n for a known whole number n: an op of its own, whose derivatives are right at 0; None for others."""
    x, exponent = inputs
    if type(x) is not Tracer or isinstance(exponent, (Tracer, bool, np.bool_, list, tuple)):
        return None
    if xp.ndim(exponent) or not isinstance(exponent, (int, float, np.number, np.ndarray)):
        return None
    number = float(exponent)
    if not number.is_integer() or abs(number) >= 2**31:
        return None
    base, power, _ = loop_types(np.power, (dtype_of(x), dtype_of(exponent)))
    if base != power or (base.kind == "i" and number < 0):
        if base.kind == "i" and number < 0:
            raise TracingError(at_user_line("integers to negative integer powers are not allowed; write x ** -2.0"))
        return None
    trace = trace_of((x,))
    return trace.wrap(integer_power(value_as(trace, x, base), int(number)))
