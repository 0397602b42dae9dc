"""Code that cannot be traced fails at the user's own line, and the message says what to write instead."""

from __future__ import annotations

import copy
import math
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.kit.client.evaluating import traced

import gradwire as gw
from gradwire.errors import TracingError

HERE = str(Path(__file__))
X = np.array([0.5, -1.0, 2.0])


def branch(x: Any) -> Any:
    if x[0] > 0:
        return x
    return -x


def chained(x: Any) -> Any:
    return 0 < x[0] < 1


def builtin_max(x: Any) -> Any:
    return max(x[0], x[1])


def assigned(x: Any) -> Any:
    x[0] = 1.0
    return x


def added_at(x: Any) -> Any:
    np.add.at(x, [0], 1.0)
    return x


def put_along(x: Any) -> Any:
    np.put_along_axis(x, np.array([0]), 1.0, 0)
    return x


def in_bins(x: Any) -> Any:
    return np.histogram(x)[0]


def counted(x: Any) -> Any:
    return np.bincount(np.argsort(x), x)


def transformed(x: Any) -> Any:
    return np.fft.rfft(x)


def distinct(x: Any) -> Any:
    return np.unique(x)


def nonzero(x: Any) -> Any:
    return x.nonzero()[0]


def augmented(x: Any) -> Any:
    x[0] += 1.0
    return x


def converted(x: Any) -> Any:
    return np.asarray(x)


def built(x: Any) -> Any:
    return np.array([x[0], 1.0])


def full(x: Any) -> Any:
    return np.full((3,), x[0])


def filled(x: Any) -> Any:
    table = np.zeros(3)
    table[0] = x[0]
    return table


def accumulated(x: Any) -> Any:
    table = np.zeros(3)
    table += x
    return table


def as_float(x: Any) -> Any:
    return float(x[0])


def as_int(x: Any) -> Any:
    return int(x[0])


def math_sine(x: Any) -> Any:
    return math.sin(x[0])


def math_arc(x: Any) -> Any:
    return math.atan2(x[0], x[1])


def math_gamma(x: Any) -> Any:
    return math.gamma(x[0])


def ranged(x: Any) -> Any:
    return [0.0 for _ in range(x[0].astype(np.int64))]


def looked_up(x: Any) -> Any:
    return [1.0, 2.0][np.argmax(x)]


def looked_up_in_array(x: Any) -> Any:
    return X[np.argmax(x)]


def rounded(x: Any) -> Any:
    return round(x[0], 2)


def by_python(x: Any) -> Any:
    return sorted(x)[0]


def contained(x: Any) -> Any:
    return 1.0 in x


def as_list(x: Any) -> Any:
    return x.tolist()


def as_item(x: Any) -> Any:
    return x[0].item()


def sorted_in_place(x: Any) -> Any:
    x.sort()
    return x


def masked(x: Any) -> Any:
    return x[x > 0]


def one_armed_where(x: Any) -> Any:
    return np.where(x > 0)


def vectorized(x: Any) -> Any:
    add_one = np.vectorize(lambda v: v + 1)
    return add_one(x)


def with_out(x: Any) -> Any:
    return np.add(x, x, out=np.zeros(3))


def iterated_scalar(x: Any) -> Any:
    return list(np.sum(x))


def attribute(x: Any) -> Any:
    return x.iloc[0]


def unknown_attribute(x: Any) -> Any:
    return x.foo


def mismatched(x: Any) -> Any:
    return x + np.zeros(4)


def scipy_convolution(x: Any) -> Any:
    from scipy.signal import fftconvolve

    return fftconvolve(x, x)


def scipy_logsumexp(x: Any) -> Any:
    from scipy.special import logsumexp

    return logsumexp(x)


def ragged(x: Any) -> Any:
    return np.sum(np.array([[x[0], x[1]], [x[2]]]))


def ragged_numbers(x: Any) -> Any:
    return np.add(x, [[1.0, 2.0, 3.0], [4.0]])


def factorial(x: Any) -> Any:
    return np.where(x <= 1, 1.0, x * factorial(x - 1))


def with_eigenvalues(x: Any) -> Any:
    return np.linalg.eigvals(np.outer(x, x))


CASES: list[tuple[Callable[[Any], Any], str, str]] = [
    (branch, "if x[0] > 0:", r"np\.where.*gw\.cond"),
    (chained, "0 < x[0] < 1", "np.logical_and"),
    (builtin_max, "max(x[0], x[1])", "np.maximum"),
    (assigned, "x[0] = 1.0", r"gw.special.at_set\(x, i, v\)"),
    (augmented, "x[0] += 1.0", r"gw.special.at_add\(x, i, v\)"),
    (added_at, "np.add.at(", "gw.special.at_set"),
    (put_along, "np.put_along_axis(", "gw.special.at_set"),
    (in_bins, "np.histogram(x)", r"np.digitize\(x, edges\)"),
    (counted, "np.bincount(", r"gw.special.at_add\(np.zeros\(length\), x, weights\)"),
    (transformed, "np.fft.rfft(x)", "complex numbers are not supported"),
    (distinct, "np.unique(x)", "depend on numbers"),
    (nonzero, "x.nonzero()", "depend on numbers"),
    (converted, "np.asarray(x)", "Leave x as it is"),
    (built, "np.array([x[0], 1.0])", "np.stack"),
    (full, "np.full(", "np.broadcast_to"),
    (filled, "table[0] = x[0]", r"y = gw.special.at_set\(y, i, x\)"),
    (accumulated, "table += x", r"a = a \+ x"),
    (as_float, "float(x[0])", "x.astype"),
    (as_int, "int(x[0])", "np.trunc"),
    (math_sine, "math.sin(x[0])", "Write np.sin instead"),
    (math_arc, "math.atan2", "Write np.arctan2 instead"),
    (math_gamma, "math.gamma", "Write gw.special.gamma instead"),
    (ranged, "range(", "Python integer"),
    (looked_up, "[1.0, 2.0]", "np.take_along_axis"),
    (looked_up_in_array, "X[np.argmax(x)]", "np.take_along_axis"),
    (rounded, "round(x[0], 2)", "np.round"),
    (by_python, "sorted(x)", r"Write np.sort\(x\)"),
    (contained, "1.0 in x", "np.any"),
    (as_list, "x.tolist()", "return it"),
    (as_item, ".item()", "return it"),
    (sorted_in_place, "x.sort()", "np.sort"),
    (masked, "x[x > 0]", r"np.where\(mask, x, 0\)"),
    (one_armed_where, "np.where(x > 0)", r"np.where\(mask, x, 0\)"),
    (vectorized, "add_one(x)", r"np.vectorize calls .* Write gw.vmap\(function\)\(x\)"),
    (with_out, "out=np.zeros(3)", "leave out= away"),
    (iterated_scalar, "list(np.sum(x))", "0-d"),
    (attribute, "x.iloc[0]", r"no attribute 'iloc'"),
    (unknown_attribute, "x.foo", "no attribute 'foo'"),
    (mismatched, "x + np.zeros(4)", "could not be broadcast"),
    (scipy_convolution, "return fftconvolve(x, x)", "Write gw.special.convolve"),
    (scipy_logsumexp, "return logsumexp(x)", "Write gw.special.logsumexp"),
    (ragged, "[[x[0], x[1]], [x[2]]]", "different lengths.*np.where"),
    (ragged_numbers, "[[1.0, 2.0, 3.0], [4.0]]", "different lengths.*np.where"),
    (factorial, "factorial(x - 1)", r"gw\.while_loop or gw\.scan"),
    (with_eigenvalues, "np.linalg.eigvals", r"complex; for a symmetric matrix write np\.linalg\.eigh"),
]


@pytest.mark.parametrize(("function", "text", "advice"), CASES, ids=[case[0].__name__ for case in CASES])
def test_the_message_names_the_line_and_what_to_write(function: Callable[[Any], Any], text: str, advice: str) -> None:
    with pytest.raises(TracingError, match=advice) as caught:
        gw.remote(function)(X)
    message = str(caught.value)
    code = function.__code__
    named = re.search(re.escape(HERE) + r":(\d+): (.*)", message)
    assert named, message
    assert code.co_firstlineno < int(named[1]) < code.co_firstlineno + 6
    assert text in named[2]


def test_every_complaint_is_a_type_error() -> None:
    for function, _, _ in CASES:
        with pytest.raises((TypeError, AttributeError)):
            gw.remote(function)(X)


def test_values_that_numpy_refuses_are_value_or_index_errors_too() -> None:
    with pytest.raises(ValueError, match="broadcast"):
        gw.remote(mismatched)(X)
    with pytest.raises(IndexError, match="out of bounds"):
        gw.remote(lambda x: x[5])(X)


def test_a_traced_value_that_escapes_is_named() -> None:
    kept: list[Any] = []
    gw.remote(lambda x: kept.append(x) or x)(X)
    with pytest.raises(TracingError, match="used after its function has returned") as caught:
        kept[0] + 1
    assert caught.value.reason == "TRACER_LEAKED"
    with pytest.raises(TracingError, match="used after its function has returned"):
        gw.remote(lambda x: x + kept[0])(X)
    with pytest.raises(TracingError, match="used after its function has returned"):
        gw.remote(lambda x: kept[0])(X)
    with pytest.raises(TracingError, match="used after its function has returned"):
        gw.remote(lambda x: x)(kept[0])


def test_a_value_of_an_inner_function_that_escapes_into_the_outer_is_named() -> None:
    kept: list[Any] = []

    def outer(x: Any) -> Any:
        gw.grad(lambda y: (kept.append(y * 2), y * y)[1])(x)
        return kept[0] + x

    with pytest.raises(TracingError, match="used after its function has returned"):
        gw.remote(outer)(2.0)


def test_results_must_be_numbers_and_arrays() -> None:
    for result, message in (
        ("text", "returned a str"),
        (object(), "returned a object"),
        (np.zeros(2, "f2"), "float16"),
    ):
        with pytest.raises(TypeError, match=message):
            gw.remote(lambda x, result=result: result)(1.0)


def test_traced_values_can_be_shown_and_copied_but_not_pickled() -> None:
    def function(x: Any) -> Any:
        assert repr(x) == "<traced float64[3]>"
        assert f"{x:.3f}" == "<traced float64[3]>"
        assert copy.copy(x) is x
        assert copy.deepcopy([x])[0] is x
        with pytest.raises(TypeError, match="unhashable"):
            hash(x)
        with pytest.raises(TracingError, match="cannot be pickled"):
            pickle.dumps(x)
        assert not hasattr(x, "foo")
        return x

    traced(function, X)


def test_other_types_may_take_over_an_operation() -> None:
    class Other:
        __array_ufunc__ = None

        def __radd__(self, other: Any) -> Any:
            return "theirs"

    assert traced(lambda x: (x, [None, "theirs"].index(x + Other()))[0], X).shape == (3,)


def test_requests_cannot_be_made_inside_a_trace() -> None:
    for call in (
        lambda x: gw.grad(np.sin).submit(x),
        lambda x: gw.grad(np.sin).map(x),
        lambda x: gw.cost(np.sin, x),
        lambda x: gw.explain(np.sin, x),
    ):
        with pytest.raises(TracingError, match="traced function cannot"):
            gw.remote(call)(1.0)
