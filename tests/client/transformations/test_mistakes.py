"""Every kind of mistake is refused before anything is sent."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.kit.client.evaluating import assert_same
from tests.kit.client.local import LocalClient

import gradwire as gw


def f(x: Any, y: Any) -> Any:
    return np.sin(x) + x * y


X = np.array([0.5, -1.0, 2.0])


def refused(service: LocalClient, message: str, call: Any, kind: type[Exception] = TypeError) -> None:
    with pytest.raises(kind, match=message) as caught:
        call()
    assert isinstance(caught.value, gw.GradwireError)
    assert service.requests == []


def test_integers_cannot_be_differentiated(service: LocalClient) -> None:
    refused(service, r"argument x of f is int64.*float\(", lambda: gw.grad(f)(3, 2.0))
    refused(service, r"argument y of f is int32\[2\].*astype\(np\.float64\).*gw\.remote",
            lambda: gw.jacobian(f, 1)(1.0, np.zeros(2, np.int32)))  # fmt: skip
    refused(service, r"argument w\['b'\] of", lambda: gw.grad(lambda w: w["a"])({"a": 1.0, "b": 2}))
    refused(service, "argument x .* has no tangent", lambda: gw.jvp(f, (3, 2.0), (1.0, 0.0)))


def test_a_result_that_is_no_scalar_has_no_gradient(service: LocalClient) -> None:
    refused(service, r"returns float64\[3\]. Use gw.jacobian", lambda: gw.grad(lambda x: x)(X))
    refused(service, r"returns int64", lambda: gw.grad(lambda x: 3)(1.0))
    refused(service, r"returns \(\*, \*\).*has_aux", lambda: gw.grad(lambda x: (x, x))(1.0))
    refused(service, r"must return \(value, auxiliary\)", lambda: gw.grad(lambda x: x, has_aux=True)(1.0))
    refused(service, r"gw.vmap\(gw.grad", lambda: gw.grad(gw.vmap(lambda x: x))(X))
    refused(service, "result.*is int64.*only floating", lambda: gw.jacobian(lambda x: (x, 1))(1.0))


def test_argnums_must_name_arguments(service: LocalClient) -> None:
    refused(service, "argnums=2, but f is called with 2", lambda: gw.grad(f, 2)(1.0, 2.0))
    refused(service, "names an argument twice", lambda: gw.grad(f, (0, -2))(1.0, 2.0))
    refused(service, "position of an argument", lambda: gw.grad(f, "x"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.float16(1.0), r"float16.*astype\(np.float64\)"), (np.zeros(2, np.uint8), r"uint8.*astype\(np.int64\)"),
        (1j, "complex.*real and imaginary"), (np.zeros(2, complex), "x.real, x.imag"), ("text", "is a str"),
        (np.array([None]), "object"), (np.array(["a"]), "<U1"), ({1, 2}, "is a set"), (2**70, "does not fit int64"),
    ],
    ids=str,
)  # fmt: skip
def test_other_types_are_refused_with_the_cast(service: LocalClient, value: Any, message: str) -> None:
    refused(service, message, lambda: gw.remote(lambda x: x)(value))


def test_vmap_says_what_does_not_fit(service: LocalClient) -> None:
    refused(service, r"y of f is float64 and has no axis 0.*None", lambda: gw.vmap(f)(X, 2.0))
    refused(service, "lengths .* differ: x has 3 along axis 0, y has 2", lambda: gw.vmap(f)(X, np.zeros(2)))
    refused(service, "maps no argument", lambda: gw.vmap(f, in_axes=None)(X, X))
    refused(service, "one entry for each of the 2", lambda: gw.vmap(f, in_axes=(0,))(X, X))
    refused(service, "keys", lambda: gw.vmap(lambda w: w["a"], in_axes=({"b": 0},))({"a": X}))
    refused(service, "in_axes holds 'x'", lambda: gw.vmap(f, in_axes="x")(X, X))
    refused(service, "out_axes holds 2", lambda: gw.vmap(f, out_axes=2)(X, X))
    refused(service, "'sum', 'mean' or None", lambda: gw.vmap(f, reduce="max")(X, X))
    refused(service, "bool and cannot be summed", lambda: gw.vmap(lambda x: x > 0, reduce="sum")(X))


def test_tangents_and_cotangents_must_fit(service: LocalClient) -> None:
    refused(service, r"tangent of x is float64\[2\], expected float64\[3\]",
            lambda: gw.jvp(lambda x: x, (X,), (np.ones(2),)))  # fmt: skip
    refused(service, "pass the arguments in a tuple", lambda: gw.jvp(f, X, X))
    refused(service, "has 1 entries, expected 2", lambda: gw.jvp(f, (X, X), (X,)))
    refused(service, r"cotangent of result of .* is float32\[3\]", lambda: gw.vjp(lambda x: x, (X,), np.float32(X)))
    refused(service, "cotangents", lambda: gw.vjp(lambda x: (x, x), (X,), (X,)))
    refused(service, "no floating-point argument", lambda: gw.vjp(lambda x: x * 2.0, (1,), 1.0))


def test_what_does_not_move_and_what_does_not_count() -> None:
    assert_same(gw.jvp(f, (1.5, 2.0), (None, 1.0))[1], np.float64(1.5))
    out, tangent = gw.jvp(lambda x, n: (x * n, n), (2.0, 3), (1, None))
    assert_same(out, (np.float64(6.0), np.int64(3)))
    assert tangent[1] is None
    assert tangent[0] == 3.0
    _, grads = gw.vjp(lambda x, n: (x * n, x, n), (2.0, 3), (1.0, None, None))
    assert grads == (3.0, None)
    batched = gw.vmap(lambda x: (x * 2, x * 3))
    assert_same(gw.vjp(batched, (X,), (X, None))[1], (2 * X,))


def test_a_python_number_takes_the_type_of_what_it_belongs_to() -> None:
    x = np.float32(2.0)
    assert gw.jvp(lambda x: x * x, (x,), (1.0,))[1].dtype == np.float32
    assert gw.vjp(lambda x: x * x, (x,), 1)[1][0].dtype == np.float32


def test_only_functions_can_be_transformed() -> None:
    with pytest.raises(TypeError, match="expected a function, got int"):
        gw.grad(3)  # type: ignore[arg-type]


def test_a_remote_knows_what_it_is_made_of() -> None:
    assert repr(gw.vmap(gw.grad(f))) == "<gradwire.Remote vmap of grad of f>"
    assert gw.grad(f).__name__ == "f"
    assert gw.remote(f).__wrapped__ is f
