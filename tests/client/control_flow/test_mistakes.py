"""Mistakes in branches and loops name the line and the remedy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradwire as gw

X = np.array([0.5, -1.0, 2.0])


def changing(x: Any) -> Any:
    return gw.scan(lambda c, entry: (c + entry, None), 0, x)[0]


def widening(x: Any) -> Any:
    return gw.scan(lambda c, entry: (c + x, None), 0.0, x)[0]


def narrowing(x: Any) -> Any:
    return gw.while_loop(lambda v: v[0] < 1, lambda v: v.astype(np.float32), x, max_steps=3)


def regrouping(x: Any) -> Any:
    return gw.fori_loop(0, 3, lambda i, v: (v[0], v[1], i), (0.0, 0.0))


def single(x: Any) -> Any:
    return gw.scan(lambda c, entry: c + entry, 0.0, x)


def uneven(x: Any) -> Any:
    return gw.scan(lambda c, entry: (c, None), 0.0, (x, x[1:]))


def scalar_inputs(x: Any) -> Any:
    return gw.scan(lambda c, entry: (c, None), 0.0, [1.0, 2.0])


def unknown_length(x: Any) -> Any:
    return gw.scan(lambda c, entry: (c, None), 0.0)


def traced_length(x: Any) -> Any:
    return gw.scan(lambda c, entry: (c, None), 0.0, length=np.argmax(x))


def vector_condition(x: Any) -> Any:
    return gw.while_loop(lambda v: v < 1, lambda v: v + 1, x, max_steps=3)


def vector_predicate(x: Any) -> Any:
    return gw.cond(x > 0, lambda: 1.0, lambda: 2.0)


def other_type(x: Any) -> Any:
    return gw.cond(x[0] > 0, lambda: x, lambda: x.astype(np.float32))


def other_shape(x: Any) -> Any:
    return gw.cond(x[0] > 0, lambda: x, lambda: 0.0)


def other_structure(x: Any) -> Any:
    return gw.cond(x[0] > 0, lambda: (x, x), lambda: x)


def values_for_branches(x: Any) -> Any:
    return gw.cond(x[0] > 0, 1.0, 2.0)


def swapped(x: Any) -> Any:
    return gw.scan(0.0, lambda c, entry: (c, None), x)


MISTAKES: list[tuple[Callable[[Any], Any], str]] = [
    (changing, r"scan: carry goes in as int64 and comes out of <lambda> as float64; .*: 0\.0 instead of 0"),
    (widening, r"scan: carry goes in as float64 and comes out of <lambda> as float64\[3\]; .*shape \(3,\)"),
    (narrowing, r"while_loop: val goes in as float64\[3\] .* as float32\[3\]; .*\.astype\(np\.float64\)"),
    (regrouping, "fori_loop: what comes out of <lambda> is not nested like what goes in"),
    (single, r"scan: <lambda> returns a Tracer, expected \(carry, y\)"),
    (uneven, r"scan: xs\[1\] has 2 entries, and xs\[0\] 3; all have the same"),
    (scalar_inputs, r"scan: xs\[0\] is float64, which has no axis to go along; pass arrays"),
    (unknown_length, "scan: without xs, length= says how many steps there are"),
    (traced_length, r"scan: length is a traced value.*gw\.while_loop"),
    (vector_condition, r"while_loop: <lambda> returns bool\[3\], and a condition is one bool.*np\.any"),
    (vector_predicate, r"cond: the predicate is bool\[3\], and it is one bool.*np\.where"),
    (other_type, r"cond: result is float64\[3\] from <lambda> and float32\[3\] from <lambda>.*\.astype\(np\.float64\)"),
    (other_shape, r"cond: result is float64\[3\] from <lambda> and float64 from <lambda>.*one shape"),
    (values_for_branches, "cond: true_fun is a float, and a function is expected"),
    (swapped, "scan: f is a float, and a function is expected"),
    (other_structure, "cond: <lambda> and <lambda> return results that are not nested alike"),
]


@pytest.mark.parametrize(("function", "message"), MISTAKES, ids=[one[0].__name__ for one in MISTAKES])
def test_mistakes_name_the_line_and_the_remedy(function: Callable[[Any], Any], message: str) -> None:
    with pytest.raises(gw.TracingError, match=message) as caught:
        gw.remote(function)(X)
    line = function.__code__.co_firstlineno + 1
    assert f"\n  at {__file__}:{line}: return gw." in str(caught.value)
    assert str(caught.value).count("\n") == 1


def test_a_changing_carry_is_refused_outside_of_a_trace_too() -> None:
    with pytest.raises(gw.TracingError, match="carry goes in as int64 and comes out of <lambda> as float64"):
        changing(X)
