"""check_grads accepts right derivatives, and finds wrong ones: a planted wrong rule of each mode is caught."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from tests.kit.client.local import LocalClient

import gradwire as gw
from gradwire import checking
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


def test_a_failure_shows_the_direction_both_numbers_and_the_likely_operand(monkeypatch: pytest.MonkeyPatch) -> None:
    def g(w: Any, x: Any) -> Any:
        return np.sum(np.cos(w["scale"]) * np.sin(w["shift"] + x))

    wrong = Partials(lambda attributes, x, r: (x[0].emit("sin"),))  # the sign is missing
    monkeypatch.setitem(OPS["cos"].__dict__, "derivative", wrong)
    for modes in (("forward",), ("reverse",)):
        with pytest.raises(gw.CheckError) as caught:
            gw.check_grads(g, ({"scale": 0.5, "shift": 0.25}, X), order=1, modes=modes)
        first, direction, blamed, others = str(caught.value).splitlines()
        assert re.match(rf"{modes[0]} mode of g does not agree with central differences.*got .*, expected ", first)
        assert re.fullmatch(r"  along w\['scale'\] = \S+, w\['shift'\] = \S+, x = \[.*\]", direction)
        numbers = re.fullmatch(
            r"  likely operand: argument w\['scale'\]: got (\S+), expected (\S+), relative error .*", blamed
        )
        assert numbers is not None
        assert float(numbers[1]) == pytest.approx(-float(numbers[2]))
        assert others == "  no fault along w['shift'], x"


def test_the_likely_operand_of_a_wrong_second_derivative(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = Partials(lambda attributes, x, r: (x[0].emit("sin"),))
    monkeypatch.setitem(OPS["cos"].__dict__, "derivative", wrong)
    with pytest.raises(gw.CheckError, match=r"(?s)derivative of <lambda> .*likely operand: argument x"):
        gw.check_grads(lambda x, y: np.sum(np.sin(x)) + np.sum(y) ** 2, (X, 2.0))


def test_a_hidden_dependence_is_blamed_on_its_argument() -> None:
    with pytest.raises(gw.CheckError, match=r"likely operand: argument y: got 0.0, expected .*\n  no fault along x$"):
        gw.check_grads(lambda x, y: np.sin(x) + gw.stop_gradient(np.exp(y)), (0.5, 0.25))


def test_modes_that_disagree_with_each_other_only_slightly_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = checking._Probe.gradients

    def nearly(self: Any, weights: Any) -> list[Any]:
        first, second = right(self, weights)
        return [first, second * (1 + 1e-7)]

    monkeypatch.setattr(checking._Probe, "gradients", nearly)
    with pytest.raises(gw.CheckError, match=r"does not agree with forward mode(?s:.*)likely operand: argument y"):
        gw.check_grads(lambda x, y: x * y, (0.5, 0.25), order=1)


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
