"""The functions of gw.special that are made from a table: traced, on plain arrays, and where scipy is not installed."""

from __future__ import annotations

import inspect
import pickle
import sys
from typing import Any

import numpy as np
import pytest
from tests.kit.client.evaluating import assert_same, traced

import gradwire as gw
from gradwire.errors import GradwireError, ShapeError, TracingError
from gradwire.numpy_functions.special_functions import SPECIAL_FUNCTIONS
from gradwire.special.stub import PATH, stub

scipy_special = pytest.importorskip("scipy.special")

OF_SCIPY = [function for function in SPECIAL_FUNCTIONS if function.ufunc is not None]
ONE = [*[function.name for function in OF_SCIPY if len(function.operands) == 1], "psi"]
TWO = [function.name for function in OF_SCIPY if len(function.operands) == 2]
WITHOUT_SCIPY = [function.name for function in OF_SCIPY if function.numbers is not None]
POINTS = np.array([0.0, 1e-9, 0.25, 0.5, 0.75, 0.999])


@pytest.fixture
def without_scipy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.special", None)
    monkeypatch.setitem(sys.modules, "scipy", None)


@pytest.mark.parametrize("record", SPECIAL_FUNCTIONS, ids=lambda record: record.name)
def test_what_is_made_from_a_record_is_a_function_like_any_other(record: Any) -> None:
    function = getattr(gw.special, record.name)
    assert (function.__name__, function.__qualname__, function.__doc__) == (record.name, record.name, record.text)
    parameters = inspect.signature(function).parameters
    assert [(one.name, one.kind, one.annotation) for one in parameters.values()] == [
        (operand, inspect.Parameter.POSITIONAL_OR_KEYWORD, "Any") for operand in record.operands
    ]
    assert inspect.signature(function).return_annotation == "Array"
    assert pickle.loads(pickle.dumps(function)) is function
    half = dict.fromkeys(record.operands, 0.5)
    assert function(**half) == function(*half.values())
    with pytest.raises(TypeError, match=rf"{record.name}\(\) missing \d required positional argument"):
        function()


def test_psi_is_digamma() -> None:
    assert gw.special.psi is gw.special.digamma


def test_type_checkers_are_told_what_is_there() -> None:
    assert PATH.read_text(encoding="utf-8") == stub(), "write it again: python -m gradwire.special.stub"


@pytest.mark.parametrize("name", ONE)
def test_of_one_argument(name: str) -> None:
    ours, theirs = getattr(gw.special, name), getattr(scipy_special, name)
    for x in (POINTS, POINTS.astype(np.float32), 0.25):
        assert_same(ours(x), theirs(x))
        assert_same(traced(ours, x), theirs(x))
    assert traced(ours, np.array([1, 0])).dtype == np.float64


@pytest.mark.parametrize("name", TWO)
def test_of_two_arguments(name: str) -> None:
    ours, theirs = getattr(gw.special, name), getattr(scipy_special, name)
    x, y = POINTS[1:, np.newaxis], POINTS[1:]
    assert_same(ours(x, y), theirs(x, y))
    assert_same(traced(ours, x, y), theirs(x, y))
    single, whole = y.astype(np.float32), np.array([1, 2, 3, 4, 5])
    half = np.float32(0.5)
    assert_same(ours(0.5, single), theirs(half, single))
    assert_same(traced(lambda y: ours(0.5, y), single), theirs(half, single))
    assert_same(ours(y, whole), theirs(y, whole))
    assert_same(traced(lambda x: ours(x, whole), y), theirs(y, whole))


def test_polygamma_on_both_sides_of_its_poles() -> None:
    """scipy sums below 0 where this reflects."""
    x = np.array([-20.3, -2.5, -1.25, -0.3, 0.1, 1.0, 7.5, 1e6])
    for n in (0, 1, 2, 3, 5):
        expected = scipy_special.polygamma(n, x)
        assert_same(gw.special.polygamma(n, x), expected)
        assert gw.special.polygamma(n, np.float32(0.5)).dtype == np.float32
        assert_same(traced(lambda x, n=n: gw.special.polygamma(n, x), x), expected, rtol=1e-11)
    with pytest.raises(ShapeError, match="n is -1, expected 0 to 100"):
        gw.special.polygamma(-1, 1.0)
    with pytest.raises(TracingError, match=r"Write gw\.special\.polygamma"):
        traced(lambda x: scipy_special.polygamma(2, x), 1.0)


def test_multigammaln() -> None:
    x = np.array([1.75, 2.0, 9.5])
    for d in (1, 2, 4):
        expected = scipy_special.multigammaln(x, d)
        assert_same(gw.special.multigammaln(x, d), expected)
        assert_same(traced(lambda x, d=d: gw.special.multigammaln(x, d), x), expected)
    with pytest.raises(ShapeError, match="d is 0, expected at least 1"):
        gw.special.multigammaln(2.0, 0)


def test_the_order_of_a_derivative_that_is_too_high_is_refused() -> None:
    with pytest.raises(GradwireError, match="order 101, expected 0 to 100"):
        gw.grad(lambda x: gw.special.polygamma(100, x))(2.0)


@pytest.mark.parametrize("name", WITHOUT_SCIPY)
@pytest.mark.usefixtures("without_scipy")
def test_without_scipy_some_are_computed_by_numpy_and_the_standard_library(name: str) -> None:
    ours, theirs = getattr(gw.special, name), getattr(scipy_special, name)
    operands: tuple[Any, ...] = (POINTS[:, np.newaxis], POINTS) if theirs.nin == 2 else (POINTS,)
    with np.errstate(all="ignore"):
        assert_same(ours(*operands), theirs(*operands))
        assert_same(ours(*[x.astype(np.float32) for x in operands]), theirs(*[x.astype(np.float32) for x in operands]))
    assert_same(ours(*[1] * theirs.nin), theirs(*[1] * theirs.nin))
    corner = [-0.5] if theirs.nin == 1 else [np.nan, 0.0]
    assert_same(ours(*corner), theirs(*corner))


@pytest.mark.usefixtures("without_scipy")
def test_without_scipy_the_others_say_what_to_install() -> None:
    with pytest.raises(GradwireError, match=r"erfinv of plain numbers needs scipy.*pip install 'gradwire\[service\]'"):
        gw.special.erfinv(0.5)


def test_a_likelihood_and_its_gradient() -> None:
    """Beta-binomial, in scipy's words; against differences."""
    counts = np.array([0.0, 3.0, 7.0])

    def loss(p: Any) -> Any:
        a, b = np.exp(p)
        return -np.sum(scipy_special.betaln(counts + a, 10.0 - counts + b) - scipy_special.betaln(a, b))

    p, step = np.array([0.3, -0.2]), 1e-5
    expected = [(loss(p + step * e) - loss(p - step * e)) / (2 * step) for e in np.eye(2)]
    np.testing.assert_allclose(gw.grad(loss)(p), expected, rtol=1e-8)
