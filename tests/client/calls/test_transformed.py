"""A transformation is a step: calls, graphs, maps and tables take one that none of them knows."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from tests.kit.client.evaluating import assert_same
from tests.kit.client.local import LocalClient

import gradwire as gw
from gradwire.calls.arguments import Call, refuse
from gradwire.calls.signature import CallSignature, Port, Step
from gradwire.calls.transformed import TransformedFunction
from gradwire.tracing.trees import tuple_of
from gradwire_engine.program import Grad


@dataclass(frozen=True)
class Sensitivity(Step):
    """The value of a function of two arguments with its gradient by the first, called as (y, x)."""

    label: str = "sensitivity"

    @property
    def is_reverse(self) -> bool:
        return True

    def inner_call(self, call: Call, function: str) -> Call:
        if len(call.types) != 2:
            raise refuse(f"{self.label}: {function} is called with two arguments, y and x")
        swapped = tuple_of(tuple_of(*call.positional[::-1]), call.tree.children[1])
        return Call(swapped, call.types[::-1], call.weak[::-1], call.names[::-1])

    def apply(self, inner: CallSignature, call: Call, inner_call: Call, function: str) -> CallSignature:
        [value], x = inner.outputs, inner.inputs[0]
        return inner.then(
            Grad((inner.arguments[0],), keep_value=True),
            arguments=inner.arguments[::-1],
            outputs=(value, Port(x.type, x.axis, value.power + x.power)),
            results=(0, 1),
            result=tuple_of(inner.result, inner.result),
        )


def f(x: Any, y: Any) -> Any:
    return np.sum(np.sin(x) * y)


X, Y = np.array([0.5, -1.0]), np.array([2.0, 3.0])
EXPECTED = np.sum(np.sin(X) * Y), np.cos(X) * Y


def sensitivity() -> Any:
    return gw.remote(f).then(Sensitivity())


def test_a_call_is_one_request(service: LocalClient) -> None:
    assert_same(sensitivity()(Y, X), EXPECTED)
    assert_same(sensitivity().submit(Y, X).result(), EXPECTED)
    assert len(service.requests) == 2


def test_it_composes_with_the_others(service: LocalClient) -> None:
    rows = np.stack([X, X])
    assert_same(gw.vmap(sensitivity(), (None, 0))(Y, rows)[1], np.stack([EXPECTED[1]] * 2))
    assert service.last.rows == 2
    assert_same(gw.grad(lambda x: np.sum(sensitivity()(Y, x)[1]))(X), -np.sin(X) * Y)
    assert_same(gw.jacobian(sensitivity())(Y, X)[1], np.diag(np.cos(X)))


def test_it_is_mapped_shown_and_explained() -> None:
    rows = np.stack([X, Y, X])
    value, gradient = sensitivity().map(rows, rows, chunk=2)
    assert_same(value, np.sum(np.sin(rows) * rows, axis=1))
    assert_same(gradient, np.cos(rows) * rows)
    assert len(sensitivity().graph(Y, X).outputs) == 2
    assert sensitivity().explain(X, Y).mode == "reverse"
    assert repr(gw.vmap(sensitivity())) == "<gradwire.Remote vmap of sensitivity of f>"
    assert_same(pickle.loads(pickle.dumps(sensitivity()))(Y, X), EXPECTED)


def test_its_mistakes_are_found_before_anything_is_sent(service: LocalClient) -> None:
    with pytest.raises(TypeError, match="sensitivity: f is called with two arguments, y and x") as caught:
        sensitivity()(X)
    assert "test_transformed.py" in str(caught.value)
    assert not service.requests


def test_a_function_that_is_transformed_already_is_taken_as_it_is() -> None:
    gradient = gw.grad(f)
    assert TransformedFunction.of(gradient) is gradient
    assert gw.remote(gradient) is gradient
    assert [step.label for step in gw.hessian(gradient).steps] == ["grad", "hessian"]
    assert gradient.base.steps == ()
