"""check_grads accepts right derivatives, and finds wrong ones: a planted wrong rule of each mode is caught."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.client.local import LocalClient

import gradwire as gw
from gradwire_engine.op import Partials
from gradwire_engine.ops.table import OPS

X = np.array([0.5, -1.0, 2.0])


def f(x: Any, y: Any) -> Any:
    return {"a": np.sin(x) * y, "b": (np.sum(x**3),)}


@pytest.mark.parametrize("order", [1, 2, 3])
def test_right_derivatives_pass(order: int) -> None:
    gw.check_grads(f, (X, 2.0), order=order)
    gw.check_grads(lambda w: np.sum(np.tanh(w["a"]) ** 2), ({"a": X},), order=order)


def test_single_precision_has_its_own_tolerance() -> None:
    gw.check_grads(lambda x: np.sum(np.sin(x)), (X.astype(np.float32),))


@pytest.mark.parametrize("modes", [("forward",), ("reverse",), ("forward", "reverse")])
def test_modes(modes: tuple[str, ...], service: LocalClient) -> None:
    gw.check_grads(f, (X, 2.0), order=1, modes=modes)


@pytest.mark.parametrize(("order", "modes"), [(1, ("forward",)), (1, ("reverse",)), (2, ("forward", "reverse"))])
def test_a_wrong_rule_is_found(monkeypatch: pytest.MonkeyPatch, order: int, modes: tuple[str, ...]) -> None:
    wrong = Partials(lambda attributes, x, r: (x[0].emit("cos") * 1.01,))
    monkeypatch.setitem(OPS["sin"].__dict__, "derivative", wrong)
    with pytest.raises(gw.CheckError, match=r"mode of .*got .*, expected .*, relative error .*, allowed"):
        gw.check_grads(f, (X, 2.0), order=order, modes=modes)


def test_a_wrong_second_derivative_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = Partials(lambda attributes, x, r: (-x[0].emit("sin") * 1.01,))
    monkeypatch.setitem(OPS["cos"].__dict__, "derivative", wrong)
    gw.check_grads(f, (X, 2.0), order=1)
    with pytest.raises(gw.CheckError, match="derivative of f"):
        gw.check_grads(f, (X, 2.0), order=2)


def test_a_hidden_dependence_is_found() -> None:
    with pytest.raises(AssertionError, match="central differences"):
        gw.check_grads(lambda x: np.sum(gw.stop_gradient(x) * x), (X,), order=1)


def test_a_nan_is_found() -> None:
    with pytest.raises(gw.CheckError):
        gw.check_grads(lambda x: np.sum(np.sqrt(x - 10.0)), (X,), order=1)


def test_arguments_are_checked() -> None:
    with pytest.raises(TypeError, match="floating point"):
        gw.check_grads(f, (X, 2), order=1)
    with pytest.raises(TypeError, match="'forward' and 'reverse'"):
        gw.check_grads(f, (X, 2.0), modes=("backward",))
    with pytest.raises(TypeError, match="at least 1"):
        gw.check_grads(f, (X, 2.0), order=0)
