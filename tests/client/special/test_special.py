"""gw.special against scipy, traced and on plain arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.kit.client.evaluating import assert_same, traced

import gradwire as gw

scipy_special = pytest.importorskip("scipy.special")

POINTS = np.array([-800.0, -30.0, -1.5, -1e-9, 0.0, 1e-9, 0.7, 30.0, 800.0, np.inf, -np.inf, np.nan])
PROBABILITIES = np.array([0.0, 1e-300, 1e-9, 0.3, 0.5, 0.5 + 1e-12, 0.74, 0.76, 1.0, 1.5])


@pytest.mark.parametrize("name", ["expit", "log_expit", "erf", "erfc", "logit"])
def test_elementwise(name: str) -> None:
    ours, theirs = getattr(gw.special, name), getattr(scipy_special, name)
    x = PROBABILITIES if name == "logit" else POINTS
    expected = theirs(x)
    assert_same(ours(x), expected)
    assert_same(traced(ours, x), expected)
    assert_same(ours(0.25), np.float64(theirs(0.25)))
    single = np.float32([0.25, 0.75])
    assert_same(ours(single), theirs(single))
    assert_same(traced(ours, single), theirs(single))
    assert traced(ours, np.array([1, 0])).dtype == np.float64


def test_softplus_and_relu() -> None:
    finite = POINTS[:9]
    for x in (finite, np.float32(finite)):
        assert_same(gw.special.softplus(x), np.logaddexp(0, x))
        assert_same(traced(gw.special.softplus, x), np.logaddexp(0, x))
    for x in (finite, np.array([-1, 2], np.int32), np.float32(-3.0)):
        assert_same(gw.special.relu(x), np.maximum(x, x.dtype.type(0)))
        assert_same(traced(gw.special.relu, x), np.maximum(x, x.dtype.type(0)))
    assert gw.grad(gw.special.relu)(0.0) == 0.0


TABLE = np.random.default_rng(0).normal(size=(2, 3, 4)) * 10


@pytest.mark.parametrize("axis", [None, 0, -1, (0, 2)])
@pytest.mark.parametrize("name", ["logsumexp", "softmax", "log_softmax"])
def test_over_axes(name: str, axis: Any) -> None:
    ours, theirs = getattr(gw.special, name), getattr(scipy_special, name)
    expected = theirs(TABLE, axis=axis)
    assert_same(ours(TABLE, axis=axis), expected)
    assert_same(traced(lambda x: ours(x, axis=axis), TABLE), expected)
    if name == "logsumexp":
        kept = theirs(TABLE, axis=axis, keepdims=True)
        assert_same(ours(TABLE, axis=axis, keepdims=True), kept)
        assert_same(traced(lambda x: ours(x, axis=axis, keepdims=True), TABLE), kept)


def test_weights_of_logsumexp() -> None:
    weights = np.array([0.0, 1.0, 2.5, 0.5])
    expected = scipy_special.logsumexp(TABLE, axis=-1, b=weights)
    assert_same(gw.special.logsumexp(TABLE, axis=-1, b=weights), expected)
    assert_same(traced(lambda x: gw.special.logsumexp(x, axis=-1, b=weights), TABLE), expected)


def test_rows_without_mass() -> None:
    empty = np.full(3, -np.inf)
    assert gw.special.logsumexp(empty) == -np.inf
    assert traced(gw.special.logsumexp, empty) == -np.inf
    np.testing.assert_array_equal(gw.grad(gw.special.logsumexp)(empty), np.zeros(3))
    assert np.isnan(gw.special.softmax(empty)).all()
