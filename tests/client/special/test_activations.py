"""Activation functions against torch where it is installed, and at their corners."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tests.kit.client.evaluating import assert_same, traced

import gradwire as gw

POINTS = np.array([-800.0, -30.0, -1.5, -1e-9, 0.0, 1e-9, 0.7, 30.0, 800.0])
FUNCTIONS: dict[str, tuple[Callable[..., Any], Callable[[Any, Any], Any]]] = {
    "leaky_relu": (gw.special.leaky_relu, lambda f, x: f.leaky_relu(x)),
    "leaky_relu, steep": (lambda x: gw.special.leaky_relu(x, 0.3), lambda f, x: f.leaky_relu(x, 0.3)),
    "elu": (gw.special.elu, lambda f, x: f.elu(x)),
    "elu, steep": (lambda x: gw.special.elu(x, 1.5), lambda f, x: f.elu(x, 1.5)),
    "silu": (gw.special.silu, lambda f, x: f.silu(x)),
    "gelu": (gw.special.gelu, lambda f, x: f.gelu(x)),
    "gelu by tanh": (lambda x: gw.special.gelu(x, True), lambda f, x: f.gelu(x, approximate="tanh")),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_values_and_derivatives_are_those_of_torch(name: str) -> None:
    torch = pytest.importorskip("torch")
    ours, theirs = FUNCTIONS[name]
    x = torch.tensor(POINTS, requires_grad=True)
    expected = theirs(torch.nn.functional, x)
    expected.sum().backward()
    assert_same(ours(POINTS), expected.detach().numpy())
    assert_same(traced(ours, POINTS), expected.detach().numpy())
    slopes = gw.grad(lambda x: np.sum(ours(x)))(POINTS)
    np.testing.assert_allclose(slopes, x.grad.numpy(), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_element_types_are_kept_and_integers_become_floating(name: str) -> None:
    ours, _ = FUNCTIONS[name]
    assert_same(traced(ours, np.float32(POINTS)), ours(np.float32(POINTS)))
    assert ours(np.float32(0.5)).dtype == np.float32
    assert ours(np.array([1, -1])).dtype == traced(ours, np.array([1, -1])).dtype == np.float64


@pytest.mark.parametrize(
    ("name", "at", "value", "slope", "curvature"),
    [
        ("leaky_relu", 0.0, 0.0, 0.01, 0.0),
        ("leaky_relu", -np.inf, -np.inf, 0.01, 0.0),
        ("elu", 0.0, 0.0, 1.0, 1.0),
        ("elu, steep", 0.0, 0.0, 1.5, 1.5),
        ("elu", np.inf, np.inf, 1.0, 0.0),
        ("elu", -np.inf, -1.0, 0.0, 0.0),
        ("elu", 1000.0, 1000.0, 1.0, 0.0),
        ("silu", 0.0, 0.0, 0.5, 0.5),
        ("silu", np.inf, np.inf, 1.0, 0.0),
        ("silu", -np.inf, 0.0, 0.0, 0.0),
        ("silu", -1000.0, 0.0, 0.0, 0.0),
        ("gelu", 0.0, 0.0, 0.5, 2 / np.sqrt(2 * np.pi)),
        ("gelu", np.inf, np.inf, 1.0, 0.0),
        ("gelu", -np.inf, 0.0, 0.0, 0.0),
        ("gelu", -1000.0, 0.0, 0.0, 0.0),
        ("gelu by tanh", -np.inf, 0.0, 0.0, 0.0),
        ("gelu by tanh", 1e100, 1e100, 1.0, 0.0),
    ],
)
def test_corners(name: str, at: float, value: float, slope: float, curvature: float) -> None:
    ours, _ = FUNCTIONS[name]
    assert traced(ours, at) == ours(at) == value
    for derivative in (gw.grad, gw.jacfwd):
        np.testing.assert_allclose(derivative(ours)(at), slope, rtol=1e-14)
        for inner in (gw.grad, gw.jacfwd):
            np.testing.assert_allclose(derivative(inner(ours))(at), curvature, rtol=1e-14)
